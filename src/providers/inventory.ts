import type { Database } from "../../db/database.ts";
import { failureKindOf } from "../platform/storage-error.ts";
import { moveStock, stockLocks, type Holding } from "../../db/reservations.ts";
import { grouped, type Commit } from "../platform/group-commit.ts";
import { offTheClock } from "../platform/time-limit.ts";
import type { Inventory, Reservation } from "../order/ports.ts";
import type { Simulation } from "./simulation.ts";

/**
 * The inventory, with stock in the orders' database: it moves in the transaction that changes an order's status (see
 * `applyTransitions` in db/transitions.ts). Only a cancelled order's stock moves by itself, so that it need not wait for
 * the payment provider. Like the simulated providers it can be slowed down and switched off.
 */
export function mysqlInventory(
  database: Database,
  simulation: Simulation,
  commit: Commit = grouped,
): Inventory {
  const releases = commit<Holding, Reservation>({
    name: "stock_releases",
    flush: (holdings) =>
      moveStock(
        database,
        holdings.map((holding) => ({ ...holding, operation: "release" })),
      ),
    kindOf: failureKindOf,
    locks: stockLocks(database),
  });
  return {
    ping: async () => void (await simulation.upSince("inventory")),
    move: async (_operation, { signal }) => {
      await simulation.reach("inventory", signal);
      return "at commit";
    },
    release: async ({ orderId, lines, signal }) => {
      await simulation.reach("inventory", signal);
      await offTheClock(signal, () => releases.submit({ orderId, lines }));
    },
  };
}
