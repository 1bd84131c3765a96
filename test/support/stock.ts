import type { Database } from "../../db/database.ts";
import { moveStock, type Holding } from "../../db/reservations.ts";
import type { Reservation } from "../../src/order/ports.ts";

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
