import type { Database } from "../../db/database.ts";
import { releaseStock, reserveStock, shipStock, type Holding } from "../../db/reservations.ts";
import { GroupCommit, withoutResults } from "../../src/group-commit.ts";
import type { Inventory, Reservation } from "../../src/order/ports.ts";
import { mayBeOneItem } from "../store.ts";

/** The stock in MySQL. Orders of one moment share a transaction: a hot product costs one lock, not one an order. */
export function mysqlInventory(database: Database): Inventory {
  const reserving = new GroupCommit<Holding, Reservation>({
    flush: (orders) => reserveStock(database, orders),
    mayBeOneItem,
  });
  const shipping = new GroupCommit<Holding, void>({
    flush: withoutResults((orders) => shipStock(database, orders)),
    mayBeOneItem,
  });
  const releasing = new GroupCommit<Holding, void>({
    flush: withoutResults((orders) => releaseStock(database, orders)),
    mayBeOneItem,
  });
  return {
    reserve: (holding) => reserving.submit(holding),
    ship: (holding) => shipping.submit(holding),
    release: (holding) => releasing.submit(holding),
  };
}
