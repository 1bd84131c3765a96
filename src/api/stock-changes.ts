import { hash } from "node:crypto";
import type { z } from "zod";
import { filling, type FillingListener } from "../../db/backorders.ts";
import { adjustStock } from "../../db/stock-adjustments.ts";
import { setStock, type StockLevel } from "../../db/stock.ts";
import { describeError } from "../platform/describe-error.ts";
import { noSuch } from "./route.ts";
import type { stockAdjustment } from "./schemas.ts";
import type { Services } from "./services.ts";

/* What the API and the console change of the stock. Orders that have waited for it go on. */

/** Sets levels. @throws what {@link setStock} does */
export function setLevels(
  services: Services,
  ...[items, options]: Tail<Parameters<typeof setStock>>
): Promise<StockLevel[]> {
  const { database } = services;
  return filling(
    database,
    (alsoCommit) => setStock(database, items, { ...options, alsoCommit }),
    waiting(services),
  );
}

/**
 * Adds to the stock of a SKU, or takes from it.
 *
 * @param by `key`: makes the adjustment only once; absent if each request is one of its own.
 * @returns the level that it led to, and whether an earlier request with the same key did.
 * @throws {Problem} 404 if there is nothing to take from; what {@link adjustStock} throws
 */
export async function adjustLevel(
  services: Services,
  sku: string,
  adjustment: z.output<typeof stockAdjustment>,
  by: {
    readonly actor: string;
    readonly key?: { readonly client: string; readonly key: string } | undefined;
  },
): Promise<{ readonly level: StockLevel; readonly repeated: boolean }> {
  const { database } = services;
  const { delta, reason, reference = null } = adjustment;
  const requestHash = hash("sha256", JSON.stringify([sku, adjustment]), "base64");
  const idempotency = by.key ? { ...by.key, requestHash } : null;
  const adjusted = await filling(
    database,
    (alsoCommit) =>
      adjustStock(database, { sku, delta, reason, reference, actor: by.actor, idempotency }, alsoCommit),
    waiting(services),
  );
  if (adjusted === undefined) throw noSuch("SKU", sku);
  return adjusted;
}

type Tail<List extends readonly unknown[]> = List extends readonly [unknown, ...infer Rest] ? Rest : never;

/** Wakes orders that got their goods, in the background: the sweeper finds those that are missed. */
function waiting({ waking, log }: Services): FillingListener {
  return {
    onFilled: (orderIds) => {
      for (const orderId of orderIds)
        waking.wake(orderId).catch((error: unknown) => {
          log.warn({ orderId, error: describeError(error) }, "got its stock, but not woken yet");
        });
    },
    onLeft: (error) => {
      log.warn({ error: describeError(error) }, "stock came in, but not all who wait for it have theirs yet");
    },
  };
}
