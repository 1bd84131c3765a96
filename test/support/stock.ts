import type { Database } from "../../db/database.ts";
import {
  moveStock,
  stockLocks,
  type Holding,
  type Reservation,
  type StockMove,
} from "../../db/reservations.ts";

import type { Commit } from "../../src/platform/group-commit.ts";
import { failureKindOf } from "../../src/platform/storage-error.ts";

/** Sets the goods of orders aside, in one transaction. */
export const reserveStock = (database: Database, orders: readonly Holding[]): Promise<Reservation[]> =>
  moveStock(
    database,
    orders.map((order) => ({ ...order, operation: "reserve" })),
  );

/** Takes them out of the house. */
export const shipStock = (database: Database, orders: readonly Holding[]): Promise<Reservation[]> =>
  moveStock(
    database,
    orders.map((order) => ({ ...order, operation: "ship" })),
  );

/** Gives them back. */
export const releaseStock = (database: Database, orders: readonly Holding[]): Promise<Reservation[]> =>
  moveStock(
    database,
    orders.map((order) => ({ ...order, operation: "release" })),
  );

/** Sets goods aside, in transactions that concurrent callers share. */
export function sharedReservations(
  database: Database,
  commit: Commit,
): (order: Holding) => Promise<Reservation> {
  const moves = commit<StockMove, Reservation>({
    name: "stock_moves",
    flush: (all) => moveStock(database, all),
    kindOf: failureKindOf,
    locks: stockLocks(database),
  });
  return (order) => moves.submit({ ...order, operation: "reserve" });
}
