import { piecesBySku, type OrderLine } from "../src/order/order.ts";
import type { Reservation } from "../src/order/ports.ts";
import { insertInto, readBoth, selectFrom } from "./statements.ts";
import type { Database } from "./database.ts";
import type { Statement, Transaction } from "./queries.ts";
import type { Locks } from "../src/platform/group-commit.ts";
import { rowLocks } from "./row-locks.ts";
import { reservations, stock, type ReservationState } from "./schema.ts";
import { lockStock, writeStock, type StockLevel } from "./stock.ts";

const lockStates = selectFrom(reservations, ["orderId", "state"], "WHERE order_id IN (?) FOR UPDATE");
const insertStates = insertInto(
  reservations,
  ["orderId", "state", "updatedAt"],
  "state = VALUES(state), updated_at = VALUES(updated_at)",
);

/** An order and the lines that it wants, holds or gives back. */
export interface Holding {
  readonly orderId: string;
  readonly lines: readonly OrderLine[];
}

/** What is to become of the goods of an order. */
export interface StockMove extends Holding {
  readonly operation: keyof typeof OPERATIONS;
}

/**
 * Moves goods, first come first served, in one transaction: whatever is done to stock of the same moment waits for one
 * lock on a product in demand and for one commit.
 *
 * - `reserve` sets aside all lines of an order or none. An order that holds a reservation keeps it. It fails for an order
 *   whose reservation was released: it is being cancelled.
 * - `ship` takes the reserved pieces out of the house. What was shipped stays shipped.
 * - `release` gives back what an order holds: reserved pieces become available, shipped ones return to the house. An order
 *   that holds nothing is noted as released, so that no late reservation is made for it.
 *
 * Stock rows are locked before reservations are read: two transactions for one order want the same SKUs, so the second one
 * waits and then sees what the first one did.
 *
 * @returns for each move whether it was made; only a reservation may not be. @throws {Error} for a move that makes no
 * sense. @throws {DatabaseError}
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
  // While it waits for one product it holds others, which must not be for long.
  return database.transaction(work, { lockWaits: 1 });
}

/** What moves of stock lock: the rows of their products and of their orders' reservations. */
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
    const pieces = piecesBySku(lines);
    const soldOut = [...pieces]
      .filter(([sku, count]) => warehouse.available(sku) < count)
      .map(([sku]) => sku);
    if (soldOut.length > 0) return { ok: false, soldOut };
    warehouse.move(orderId, "HELD", pieces, { onHand: 0, reserved: 1 });
    return MADE;
  },

  ship(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const state = warehouse.stateOf(orderId);
    if (state === "SHIPPED") return MADE;
    if (state !== "HELD") throw new Error(`order ${orderId} holds no reservation to ship`);
    warehouse.move(orderId, "SHIPPED", piecesBySku(lines), { onHand: -1, reserved: -1 });
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
    warehouse.move(orderId, "RELEASED", piecesBySku(lines), back);
    return MADE;
  },
};

/** The locked stock and reservations of some orders, and the changes to write. */
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

  /** Of the SKUs whose levels change, in the order in which they are locked. */
  newLevels(): StockLevel[] {
    return [...this.stock].flatMap(([sku, { onHand, reserved }]) => {
      const change = this.changes.get(sku);
      if (change === undefined || (change.onHand === 0 && change.reserved === 0)) return [];
      return [{ sku, onHand: onHand + change.onHand, reserved: reserved + change.reserved }];
    });
  }

  /** Puts an order into a state; each of its pieces changes the levels by `perPiece`. */
  move(
    orderId: string,
    state: ReservationState,
    pieces: ReadonlyMap<string, number>,
    perPiece: { readonly onHand: number; readonly reserved: number },
  ): void {
    this.states.set(orderId, state);
    this.moved.add(orderId);
    for (const [sku, count] of pieces) {
      const change = this.changes.get(sku) ?? { onHand: 0, reserved: 0 };
      change.onHand += perPiece.onHand * count;
      change.reserved += perPiece.reserved * count;
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
