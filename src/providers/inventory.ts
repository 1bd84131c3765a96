import type { Database } from "../../db/database.ts";
import { failureKindOf } from "../platform/storage-error.ts";
import { moveStock, stockLocks, type StockMove } from "../../db/reservations.ts";
import { grouped, type Commit } from "../platform/group-commit.ts";
import type { Inventory, Reservation } from "../order/ports.ts";
import type { Simulation } from "./simulation.ts";

/**
 * The stock in MySQL. Orders of one moment share a transaction: a hot product costs one lock, not one an order. It can be
 * slowed down and switched off like the simulated providers, to see what an inventory service would do to us.
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
  const whenReached = async (move: StockMove): Promise<Reservation> => {
    await simulation.reach("inventory");
    return moves.submit(move);
  };
  return {
    ping: async () => void (await simulation.upSince("inventory")),
    reserve: (order) => whenReached({ ...order, operation: "reserve" }),
    ship: async (order) => void (await whenReached({ ...order, operation: "ship" })),
    release: async (order) => void (await whenReached({ ...order, operation: "release" })),
  };
}
