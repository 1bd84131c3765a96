import { sql } from "drizzle-orm";
import { deleteBackorders, filling } from "../../db/backorders.ts";
import type { Database } from "../../db/database.ts";
import { moveStock, stockLocks, type Holding, type Reservation } from "../../db/reservations.ts";
import { findStock } from "../../db/stock.ts";
import { quantitiesBySku } from "../order/order.ts";
import { grouped, type Commit } from "../platform/group-commit.ts";
import { offTheClock } from "../platform/time-limit.ts";
import type { Inventory } from "../order/ports.ts";

/**
 * The inventory, with stock in the orders' database: it moves in the transaction that changes an order's status (see
 * `applyTransitions` in db/transitions.ts). Only a cancelled order's stock moves by itself, so that it need not wait for
 * the payment provider.
 */
export function mysqlInventory(database: Database, commit: Commit = grouped): Inventory {
  const releases = commit<Holding, Reservation>({
    name: "stock_releases",
    flush: (holdings) =>
      filling(database, async (fill) => {
        const moves = holdings.map((holding) => ({ ...holding, operation: "release" as const }));
        const ids = holdings.map(({ orderId }) => orderId);
        return moveStock(database, moves, async (transaction, levels) => [
          ...deleteBackorders(ids),
          ...(await fill(transaction, levels)),
        ]);
      }),
    locks: stockLocks(database),
    weightOf: ({ lines }) => lines.length,
  });
  return {
    inDatabase: true,
    ping: async (signal) =>
      void (await offTheClock(signal, () => database.query((queries) => queries.execute(sql`SELECT 1`)))),
    move: async () => "at commit",
    async lacking({ lines, signal }) {
      const wanted = [...quantitiesBySku(lines)];
      const skus = wanted.map(([sku]) => sku);
      const levels = await offTheClock(signal, () => findStock(database, skus));
      return skus.filter((_, index) => {
        const { onHand = 0, reserved = 0 } = levels[index] ?? {};
        return onHand - reserved < (wanted[index]?.[1] ?? 0);
      });
    },
    release: async ({ orderId, lines, signal }) => {
      await offTheClock(signal, () => releases.submit({ orderId, lines }));
    },
  };
}
