import { and, eq } from "drizzle-orm";
import { LIMITS } from "../src/order/limits.ts";
import type { Idempotency } from "../src/order/order.ts";
import type { Database } from "./database.ts";
import { DatabaseError } from "./errors.ts";
import type { Transaction } from "./queries.ts";
import { stockAdjustments } from "./schema.ts";
import { insertMovements } from "./stock-movements.ts";
import {
  findStock,
  lockLevels,
  StockReservedError,
  writeStock,
  type AlsoCommit,
  type StockLevel,
} from "./stock.ts";
import { insertInto } from "./statements.ts";
import { timestamp } from "../src/platform/clock.ts";

/** Goods that came or went, as somebody counted them. */
export interface StockAdjustment {
  readonly sku: string;
  /** Not 0. */
  readonly delta: number;
  readonly reason: string;
  readonly reference: string | null;
  readonly actor: string;
  /** Null if each request is an adjustment of its own. */
  readonly idempotency: Idempotency | null;
}

/** There would be more on hand than can be counted. Nothing was changed. */
export class TooMuchStockError extends Error {
  override name = "TooMuchStockError";
}

/** The idempotency key was used for something else. Nothing was changed. */
export class AdjustmentKeyReusedError extends Error {
  override name = "AdjustmentKeyReusedError";
}

const insertAnswer = insertInto(stockAdjustments, [
  "client",
  "key",
  "requestHash",
  "sku",
  "onHand",
  "reserved",
  "at",
]);

/**
 * Adds to the stock on hand of a SKU, or takes from it, once for each idempotency key.
 *
 * @returns the level as this adjustment left it; undefined if there is none to take from.
 * @throws {StockReservedError} if more is reserved than would be left; {@link TooMuchStockError};
 * {@link AdjustmentKeyReusedError}; {DatabaseError}
 */
export async function adjustStock(
  database: Database,
  adjustment: StockAdjustment,
  alsoCommit: AlsoCommit = async () => [],
): Promise<{ readonly level: StockLevel; readonly repeated: boolean } | undefined> {
  const earlier = await answered(database, adjustment);
  if (earlier) return { level: earlier, repeated: true };
  const [known] = await findStock(database, [adjustment.sku]);
  if (known === undefined && adjustment.delta < 0) return undefined;
  try {
    const level = await database.transaction((transaction) => adjust(transaction, adjustment, alsoCommit), {
      lockWaits: 1,
    });
    return { level, repeated: false };
  } catch (error) {
    if (!(error instanceof DatabaseError && error.isDuplicateKey)) throw error;
    const other = await answered(database, adjustment);
    if (other === undefined) throw error;
    return { level: other, repeated: true };
  }
}

async function adjust(
  transaction: Transaction,
  adjustment: StockAdjustment,
  alsoCommit: AlsoCommit,
): Promise<StockLevel> {
  const { sku, delta, reason, reference, actor, idempotency } = adjustment;
  const { levels } = await lockLevels(transaction, [sku]);
  const { onHand = 0, reserved = 0 } = levels[0] ?? {};
  const level = { sku, onHand: onHand + delta, reserved };
  if (level.onHand < 0) throw new StockReservedError([level], `there are only ${onHand} of ${sku} on hand`);
  if (level.onHand < reserved) throw new StockReservedError([level]);
  if (level.onHand > LIMITS.onHand)
    throw new TooMuchStockError(`there would be ${level.onHand} of ${sku} on hand`);
  const at = timestamp();
  const further = await alsoCommit(transaction, [level]);
  await transaction.commit([
    ...writeStock([level]),
    ...insertMovements([{ sku, at, kind: "adjustment", delta, reason, reference, actor }]),
    ...(idempotency ? [insertAnswer([{ ...idempotency, ...level, at }])] : []),
    ...further,
  ]);
  return level;
}

/** The answer to an earlier request under the same key, if there was one. */
async function answered(
  database: Database,
  { idempotency }: StockAdjustment,
): Promise<StockLevel | undefined> {
  if (idempotency === null) return undefined;
  const { client, key } = stockAdjustments;
  const [row] = await database.query((queries) =>
    queries
      .select()
      .from(stockAdjustments)
      .where(and(eq(key, idempotency.key), eq(client, idempotency.client))),
  );
  if (row === undefined) return undefined;
  if (row.requestHash !== idempotency.requestHash)
    throw new AdjustmentKeyReusedError(
      `the key was used for an adjustment of ${row.sku}, with another body; use a new key for a new adjustment`,
    );
  return { sku: row.sku, onHand: row.onHand, reserved: row.reserved };
}
