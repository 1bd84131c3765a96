import type { Database } from "../../db/database.ts";
import { failureKindOf } from "../platform/storage-error.ts";
import { moveStock, stockLocks, type StockMove } from "../../db/reservations.ts";
import { grouped, type Commit } from "../platform/group-commit.ts";
import { offTheClock } from "../platform/time-limit.ts";
import type { Inventory, Reservation, StockRequest } from "../order/ports.ts";
import type { Simulation } from "./simulation.ts";

/**
 * The inventory, with stock in MySQL. Concurrent orders share a transaction, so a popular product is locked
 * once per batch and not once per order. Like the simulated providers it can be slowed down and switched off.
 */
export function mysqlInventory(
  database: Database,
  simulation: Simulation,
  commit: Commit = grouped,
): Inventory {
  const moves = commit<StockMove, Reservation>({
    name: "stock_moves",
    flush: (all) => moveStock(database, all),
    kindOf: failureKindOf,
    locks: stockLocks(database),
  });
  const whenReached = async (
    operation: StockMove["operation"],
    { orderId, lines, signal }: StockRequest,
  ): Promise<Reservation> => {
    await simulation.reach("inventory", signal);
    return offTheClock(signal, () => moves.submit({ orderId, lines, operation }));
  };
  return {
    ping: async () => void (await simulation.upSince("inventory")),
    reserve: (request) => whenReached("reserve", request),
    ship: async (request) => void (await whenReached("ship", request)),
    release: async (request) => void (await whenReached("release", request)),
  };
}
