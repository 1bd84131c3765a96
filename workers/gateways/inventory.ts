import type { Database } from "../../db/database.ts";
import { mayBeOneItem } from "../../db/errors.ts";
import { releaseStock, reserveStock, shipStock, type Holding } from "../../db/reservations.ts";
import { grouped, withoutResults, type Commit, type Committer } from "../../src/group-commit.ts";
import type { Inventory, Reservation } from "../../src/order/ports.ts";
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
  const reserving = commit<Holding, Reservation>({
    name: "reservations",
    flush: (orders) => reserveStock(database, orders),
    mayBeOneItem,
  });
  const shipping = commit<Holding, void>({
    name: "stock_shipped",
    flush: withoutResults((orders) => shipStock(database, orders)),
    mayBeOneItem,
  });
  const releasing = commit<Holding, void>({
    name: "stock_released",
    flush: withoutResults((orders) => releaseStock(database, orders)),
    mayBeOneItem,
  });
  const whenReached =
    <Result>(operation: Committer<Holding, Result>) =>
    async (holding: Holding): Promise<Result> => {
      await simulation.reach("inventory");
      return operation.submit(holding);
    };
  return {
    ping: async () => void (await simulation.upSince("inventory")),
    reserve: whenReached(reserving),
    ship: whenReached(shipping),
    release: whenReached(releasing),
  };
}
