import { quantitiesBySku, type OrderLine } from "../src/order/order.ts";
import { hasLeft } from "../src/order/shipment.ts";
import { cancelledBySku } from "./cancelled-pieces.ts";
import { insertInto, read, readBoth, selectFrom } from "./statements.ts";
import type { Database } from "./database.ts";
import type { Statement, Transaction } from "./queries.ts";
import type { Locks } from "../src/platform/contention.ts";
import { rowLocks } from "./row-locks.ts";
import { reservations, shipments, stock, type ReservationState } from "./schema.ts";
import { insertMovements, type NewMovement } from "./stock-movements.ts";
import { lockStock, writeStock, type AlsoCommit, type StockLevel } from "./stock.ts";
import { timestamp } from "../src/platform/clock.ts";

export const lockStates = selectFrom(reservations, ["orderId", "state"], "WHERE order_id IN (?) FOR UPDATE");
const lockShipments = selectFrom(
  shipments,
  ["orderId", "state", "lines"],
  "WHERE order_id IN (?) ORDER BY order_id, number FOR UPDATE",
);
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

export type Reservation =
  | { readonly ok: true }
  | { readonly ok: false; /** SKUs without enough stock. */ readonly soldOut: readonly string[] };

/** An operation on an order's stock. */
export interface StockMove extends Holding {
  readonly operation: keyof typeof OPERATIONS;
}

/**
 * Moves stock by itself, first come, first served, in one transaction. Moves that come with a new status are made by
 * `applyTransitions` (transitions.ts).
 *
 * @returns whether each move succeeded; only `reserve` may not. @throws {InvalidMoveError} {DatabaseError}
 */
export async function moveStock(
  database: Database,
  moves: readonly StockMove[],
  alsoCommit: AlsoCommit = async () => [],
): Promise<Reservation[]> {
  const work = async (transaction: Transaction): Promise<Reservation[]> => {
    const warehouse = await lockWarehouse(transaction, moves);
    const made = moves.map((move) => warehouse.make(move));
    const further = await alsoCommit(transaction, warehouse.levels());
    await transaction.commit([...warehouse.writes(), ...further]);
    return made;
  };
  // While it waits for one product it holds others, so not for long.
  return database.transaction(work, { lockWaits: 1 });
}

/**
 * Locks the stock and the reservations that moves need. Stock rows are locked before reservations are read: two
 * transactions for one order lock the same SKUs, so the second waits and then sees the first one's changes. Everyone who
 * also locks orders locks them after that. @throws {DatabaseError}
 */
export async function lockWarehouse(
  transaction: Transaction,
  moves: readonly StockMove[],
): Promise<Warehouse> {
  const skus = new Set(moves.flatMap(({ lines }) => lines.map((line) => line.sku)));
  const [levels, states] = await readBoth(
    transaction,
    lockStock(skus.size > 0 ? skus : NO_SKUS),
    lockStates(moves.map((move) => move.orderId)),
  );
  const released = moves.filter(({ operation }) => operation === "release").map(({ orderId }) => orderId);
  const parcels = released.length > 0 ? await read(transaction, lockShipments(released)) : [];
  const cancelled = await cancelledBySku(transaction, released);
  return new Warehouse(states, levels, { gone: goneWith(parcels), cancelled });
}

/** SQL has no empty lists. */
const NO_SKUS = [""];

/** The pieces that have left with parcels, by order and SKU. */
function goneWith(
  parcels: readonly Pick<typeof shipments.$inferSelect, "orderId" | "state" | "lines">[],
): Map<string, Map<string, number>> {
  const gone = new Map<string, Map<string, number>>();
  for (const { orderId, lines } of parcels.filter(hasLeft)) {
    const bySku = gone.get(orderId) ?? new Map<string, number>();
    for (const { sku, quantity } of lines) bySku.set(sku, (bySku.get(sku) ?? 0) + quantity);
    gone.set(orderId, bySku);
  }
  return gone;
}

/** The rows that moves lock, by which {@link rowLocks} knows them. */
export const STOCK_ROWS = {
  stock: { table: stock, column: stock.sku },
  reservation: { table: reservations, column: reservations.orderId },
};

/** The rows that moves lock: their products and their orders' reservations. */
export function stockLocks(database: Database): Locks<Holding> {
  const locks = rowLocks(database, STOCK_ROWS);
  return { ...locks, keysOf: (holding) => stockKeysOf(holding, locks.key) };
}

/** The keys of the rows that a move locks. */
export function stockKeysOf(
  { orderId, lines }: Holding,
  key: (name: keyof typeof STOCK_ROWS, value: string) => string,
): string[] {
  return [...lines.map(({ sku }) => key("stock", sku)), key("reservation", orderId)];
}

/** The order's reservation does not allow the move. */
export class InvalidMoveError extends Error {
  override name = "InvalidMoveError";
}

const MADE: Reservation = { ok: true };

/**
 * - `reserve` reserves all lines of an order or none, and keeps an existing reservation. It throws if the reservation was
 *   released, since the order is being cancelled.
 * - `ship` takes the reserved stock out of the warehouse, with the order's last parcel. Repeating it does nothing.
 * - `sendAgain` takes unreserved stock for a parcel that replaces a lost one.
 * - `dispatch` takes out what leaves with an earlier parcel, and `takeBack` brings that back when the parcel is voided;
 *   `restock` does so for `sendAgain`. Whoever makes them sees to it that they are not repeated.
 * - `unreserve` makes pieces available that are not shipped after all, and `writeOff` takes them out of the stock, since nobody
 *   can sell them; `putBack` takes in what was out of it. They do nothing where the stock is kept elsewhere.
 * - `release` returns an order's stock: reserved stock becomes available, shipped stock returns to the warehouse. An order
 *   without a reservation is marked as released, so that a late one is refused.
 */
const OPERATIONS = {
  reserve(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const state = warehouse.stateOf(orderId);
    if (state === "RELEASED") throw new InvalidMoveError(`the reservation of order ${orderId} was released`);
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
    if (state !== "HELD") throw new InvalidMoveError(`order ${orderId} holds no reservation to ship`);
    warehouse.move(orderId, "SHIPPED", quantitiesBySku(lines), { onHand: -1, reserved: -1 });
    return MADE;
  },

  dispatch(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const state = warehouse.stateOf(orderId);
    // SHIPPED if a parcel was voided after all had been booked, and its goods are sent anew.
    if (state !== "HELD" && state !== "SHIPPED")
      throw new InvalidMoveError(`order ${orderId} holds no reservation to ship`);
    warehouse.move(orderId, state, quantitiesBySku(lines), { onHand: -1, reserved: -1 });
    return MADE;
  },

  sendAgain(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const quantities = quantitiesBySku(lines);
    const soldOut = [...quantities].flatMap(([sku, count]) =>
      warehouse.available(sku) < count ? [sku] : [],
    );
    if (soldOut.length > 0) return { ok: false, soldOut };
    warehouse.move(orderId, warehouse.stateOf(orderId) ?? "SHIPPED", quantities, { onHand: -1, reserved: 0 });
    return MADE;
  },

  takeBack(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const state = warehouse.stateOf(orderId);
    const isReleased = state === undefined || state === "RELEASED";
    const back = { onHand: 1, reserved: isReleased ? 0 : 1 };
    warehouse.move(orderId, state ?? "RELEASED", quantitiesBySku(lines), back);
    return MADE;
  },

  restock(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const back = { onHand: 1, reserved: 0 };
    warehouse.move(orderId, warehouse.stateOf(orderId) ?? "RELEASED", quantitiesBySku(lines), back);
    return MADE;
  },

  unreserve: (warehouse: Warehouse, holding: Holding) =>
    refunded(warehouse, holding, { onHand: 0, reserved: -1 }),

  writeOff: (warehouse: Warehouse, holding: Holding) =>
    refunded(warehouse, holding, { onHand: -1, reserved: -1 }),

  putBack: (warehouse: Warehouse, holding: Holding) =>
    refunded(warehouse, holding, { onHand: 1, reserved: 0 }),

  release(warehouse: Warehouse, { orderId, lines }: Holding): Reservation {
    const state = warehouse.stateOf(orderId);
    if (state === "RELEASED") return MADE;
    const back =
      state === "HELD"
        ? { onHand: 0, reserved: -1 }
        : state === "SHIPPED"
          ? { onHand: 1, reserved: 0 }
          : { onHand: 0, reserved: 0 };
    const gone = state === "HELD" ? warehouse.goneOf(orderId) : undefined;
    const cancelled = warehouse.cancelledOf(orderId);
    const quantities = [...quantitiesBySku(lines)].map(
      // More have gone than were ordered if some were sent once more.
      ([sku, count]) =>
        [sku, Math.max(0, count - (gone?.get(sku) ?? 0) - (cancelled?.get(sku) ?? 0))] as const,
    );
    warehouse.move(orderId, "RELEASED", new Map(quantities), back);
    return MADE;
  },
};

function refunded(
  warehouse: Warehouse,
  { orderId, lines }: Holding,
  perUnit: { readonly onHand: number; readonly reserved: number },
): Reservation {
  const state = warehouse.stateOf(orderId);
  // SHIPPED if a parcel was voided after all had been booked, and its goods are not sent anew.
  if (state === "HELD" || state === "SHIPPED")
    warehouse.move(orderId, state, quantitiesBySku(lines), perUnit, "adjustment");
  return MADE;
}

/** Pieces by order and SKU. */
type PiecesOf = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Locked stock and reservations, and their changes. Moves are made first come, first served. */
export class Warehouse {
  readonly states: Map<string, ReservationState>;
  readonly stock: ReadonlyMap<string, StockLevel>;
  readonly changes = new Map<string, { onHand: number; reserved: number }>();
  readonly moved = new Set<string>();
  readonly #movements: NewMovement[] = [];
  readonly #at = timestamp();
  readonly #gone: PiecesOf | undefined;
  readonly #cancelled: PiecesOf | undefined;

  /** @param less what has left with parcels, and what was cancelled, by order and SKU: for orders that are released */
  constructor(
    states: readonly { readonly orderId: string; readonly state: ReservationState }[],
    levels: readonly StockLevel[],
    less: { readonly gone?: PiecesOf; readonly cancelled?: PiecesOf } = {},
  ) {
    this.#gone = less.gone;
    this.#cancelled = less.cancelled;
    this.states = new Map(states.map(({ orderId, state }) => [orderId, state]));
    this.stock = new Map(levels.map((level) => [level.sku, level]));
  }

  /** Makes a move if it can; only `reserve` may find too little. @throws {InvalidMoveError} */
  make(move: StockMove): Reservation {
    return OPERATIONS[move.operation](this, move);
  }

  /** Statements that write the changes. */
  writes(): Statement[] {
    return [...writeStock(this.newLevels()), ...writeStates(this), ...insertMovements(this.#movements)];
  }

  stateOf(orderId: string): ReservationState | undefined {
    return this.states.get(orderId);
  }

  goneOf(orderId: string): ReadonlyMap<string, number> | undefined {
    return this.#gone?.get(orderId);
  }

  cancelledOf(orderId: string): ReadonlyMap<string, number> | undefined {
    return this.#cancelled?.get(orderId);
  }

  available(sku: string): number {
    const level = this.stock.get(sku);
    if (level === undefined) return 0;
    const change = this.changes.get(sku);
    return level.onHand + (change?.onHand ?? 0) - level.reserved - (change?.reserved ?? 0);
  }

  /** All levels as they are now. */
  levels(): StockLevel[] {
    return [...this.stock].map(([sku, { onHand, reserved }]) => {
      const change = this.changes.get(sku);
      return {
        sku,
        onHand: onHand + (change?.onHand ?? 0),
        reserved: reserved + (change?.reserved ?? 0),
      };
    });
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
    kind: NewMovement["kind"] = perUnit.onHand < 0 ? "shipment" : "return",
  ): void {
    this.states.set(orderId, state);
    this.moved.add(orderId);
    for (const [sku, count] of quantities) {
      const change = this.changes.get(sku) ?? { onHand: 0, reserved: 0 };
      change.onHand += perUnit.onHand * count;
      change.reserved += perUnit.reserved * count;
      this.changes.set(sku, change);
      if (perUnit.onHand === 0 || count === 0) continue;
      const reason = kind === "adjustment" ? { reason: "refunded" } : {};
      this.#movements.push({ sku, at: this.#at, kind, delta: perUnit.onHand * count, orderId, ...reason });
    }
  }
}

function writeStates({ moved, states }: Warehouse): Statement[] {
  if (moved.size === 0) return [];
  const updatedAt = timestamp();
  const rows = [...moved].flatMap((orderId) => {
    const state = states.get(orderId);
    return state === undefined ? [] : [{ orderId, state, updatedAt }];
  });
  return [insertStates(rows)];
}
