import { quantitiesBySku, type OrderLine } from "../src/order/order.ts";
import type { Reservation } from "../src/order/ports.ts";
import { insertInto, readBoth, selectFrom } from "./statements.ts";
import type { Database } from "./database.ts";
import type { Statement, Transaction } from "./queries.ts";
import type { Locks } from "../src/platform/contention.ts";
import { rowLocks } from "./row-locks.ts";
import { reservations, stock, type ReservationState } from "./schema.ts";
import { lockStock, writeStock, type StockLevel } from "./stock.ts";

const lockStates = selectFrom(reservations, ["orderId", "state"], "WHERE order_id IN (?) FOR UPDATE");
const insertStates = insertInto(
  reservations,
  ["orderId", "state", "updatedAt"],
  "state = VALUES(state), updated_at = VALUES(updated_at)",
);

/** An order and the lines to reserve, ship or release. */
export interface Holding {
  readonly orderId: string;
  readonly lines: readonly OrderLine[];
}

/** An operation on an order's stock. */
export interface StockMove extends Holding {
  readonly operation: keyof typeof OPERATIONS;
}

/**
 * Moves stock, first come, first served, in one transaction, so that concurrent moves of a popular product wait
 * for one lock and one commit.
 *
 * - `reserve` reserves all lines of an order or none, and keeps an existing reservation. It throws if the
 *   reservation was released, since the order is being cancelled.
 * - `ship` takes the reserved stock out of the warehouse. Repeating it does nothing.
 * - `release` returns an order's stock: reserved stock becomes available, shipped stock returns to the
 *   warehouse. An order without a reservation is marked as released, so that a late one is refused.
 *
 * Stock rows are locked before reservations are read: two transactions for one order lock the same SKUs, so the
 * second waits and then sees the first one's changes.
 *
 * @returns whether each move succeeded; only `reserve` may not. @throws {Error} for an invalid move. @throws
 * {DatabaseError}
 */
export async function moveStock(database: Database, moves: readonly StockMove[]): Promise<Reservation[]> {
  const work = async (queries: Transaction): Promise<Reservation[]> => {
    const [levels, states] = await readBoth(
      queries,
      lockStock(new Set(moves.flatMap(({ lines }) => lines.map((line) => line.sku)))),
      lockStates(moves.map((move) => move.orderId)),
    );
    const warehouse = new Warehouse(states, levels);
    const made = moves.map((move) => OPERATIONS[move.operation](warehouse, move));
    await queries.commit([...writeStock(warehouse.newLevels()), ...writeStates(warehouse)]);
    return made;
  };
  // While it waits for one product it holds others, so not for long.
  return database.transaction(work, { lockWaits: 1 });
}

/** The rows that moves lock: their products and their orders' reservations. */
export function stockLocks(database: Database): Locks<StockMove> {
  const locks = rowLocks(database, {
    stock: { table: stock, column: stock.sku },
    reservation: { table: reservations, column: reservations.orderId },
  });
  return {
    ...locks,
    keysOf: ({ orderId, lines }) => [
      ...lines.map(({ sku }) => locks.key("stock", sku)),
      locks.key("reservation", orderId),
    ],
  };
}

const MADE: Reservation = { ok: true };

const OPERATIONS = {
  reserve(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const state = warehouse.stateOf(orderId);
    if (state === "RELEASED") throw new Error(`the reservation of order ${orderId} was released`);
    if (state !== undefined) return MADE;
    const quantities = quantitiesBySku(lines);
    const soldOut = [...quantities]
      .filter(([sku, count]) => warehouse.available(sku) < count)
      .map(([sku]) => sku);
    if (soldOut.length > 0) return { ok: false, soldOut };
    warehouse.move(orderId, "HELD", quantities, { onHand: 0, reserved: 1 });
    return MADE;
  },

  ship(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const state = warehouse.stateOf(orderId);
    if (state === "SHIPPED") return MADE;
    if (state !== "HELD") throw new Error(`order ${orderId} holds no reservation to ship`);
    warehouse.move(orderId, "SHIPPED", quantitiesBySku(lines), { onHand: -1, reserved: -1 });
    return MADE;
  },

  release(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const state = warehouse.stateOf(orderId);
    if (state === "RELEASED") return MADE;
    const back =
      state === "HELD"
        ? { onHand: 0, reserved: -1 }
        : state === "SHIPPED"
          ? { onHand: 1, reserved: 0 }
          : { onHand: 0, reserved: 0 };
    warehouse.move(orderId, "RELEASED", quantitiesBySku(lines), back);
    return MADE;
  },
};

/** The locked stock and reservations, and the changes to write. */
class Warehouse {
  readonly states: Map<string, ReservationState>;
  readonly stock: ReadonlyMap<string, StockLevel>;
  readonly changes = new Map<string, { onHand: number; reserved: number }>();
  readonly moved = new Set<string>();

  constructor(
    states: readonly { readonly orderId: string; readonly state: ReservationState }[],
    levels: readonly StockLevel[],
  ) {
    this.states = new Map(states.map(({ orderId, state }) => [orderId, state]));
    this.stock = new Map(levels.map((level) => [level.sku, level]));
  }

  stateOf(orderId: string): ReservationState | undefined {
    return this.states.get(orderId);
  }

  available(sku: string): number {
    const level = this.stock.get(sku);
    if (level === undefined) return 0;
    const change = this.changes.get(sku);
    return level.onHand + (change?.onHand ?? 0) - level.reserved - (change?.reserved ?? 0);
  }

  /** The changed levels, in lock order. */
  newLevels(): StockLevel[] {
    return [...this.stock].flatMap(([sku, { onHand, reserved }]) => {
      const change = this.changes.get(sku);
      if (change === undefined || (change.onHand === 0 && change.reserved === 0)) return [];
      return [{ sku, onHand: onHand + change.onHand, reserved: reserved + change.reserved }];
    });
  }

  /** Sets an order's state and changes the levels by `perUnit` for each unit. */
  move(
    orderId: string,
    state: ReservationState,
    quantities: ReadonlyMap<string, number>,
    perUnit: { readonly onHand: number; readonly reserved: number },
  ): void {
    this.states.set(orderId, state);
    this.moved.add(orderId);
    for (const [sku, count] of quantities) {
      const change = this.changes.get(sku) ?? { onHand: 0, reserved: 0 };
      change.onHand += perUnit.onHand * count;
      change.reserved += perUnit.reserved * count;
      this.changes.set(sku, change);
    }
  }
}

function writeStates({ moved, states }: Warehouse): Statement[] {
  if (moved.size === 0) return [];
  const updatedAt = new Date();
  const rows = [...moved].flatMap((orderId) => {
    const state = states.get(orderId);
    return state === undefined ? [] : [{ orderId, state, updatedAt }];
  });
  return [insertStates(rows)];
}
