import { inArray, sql } from "drizzle-orm";
import { insertInto, read, selectFrom, type Selection } from "./statements.ts";
import type { Database } from "./database.ts";
import type { Statement, Transaction } from "./queries.ts";
import { stock } from "./schema.ts";

export type StockLevel = Readonly<typeof stock.$inferSelect>;

const lockRows = selectFrom(stock, ["sku", "onHand", "reserved"], "WHERE sku IN (?) ORDER BY sku FOR UPDATE");
const writeRows = insertInto(
  stock,
  ["sku", "onHand", "reserved"],
  "on_hand = VALUES(on_hand), reserved = VALUES(reserved)",
);

/** The levels of these SKUs, in the same order; undefined for unknown ones. @throws {DatabaseError} */
export async function findStock(
  database: Database,
  skus: readonly string[],
): Promise<(StockLevel | undefined)[]> {
  const rows = await database.query((queries) =>
    queries
      .select()
      .from(stock)
      .where(inArray(stock.sku, [...skus])),
  );
  const levels = new Map(rows.map((row) => [row.sku, row]));
  return skus.map((sku) => levels.get(sku));
}

/** More units of these SKUs are reserved than the new level. Nothing was changed. */
export class StockReservedError extends Error {
  override name = "StockReservedError";
  readonly levels: readonly StockLevel[];
  constructor(levels: readonly StockLevel[]) {
    super(`reserved already: ${levels.map(({ sku, reserved }) => `${reserved} of ${sku}`).join(", ")}`);
    this.levels = levels;
  }
}

/**
 * Sets the stock on hand of each SKU, known or new; all or none.
 *
 * @throws {StockReservedError} if more is reserved. @throws {DatabaseError}
 */
export async function setStock(
  database: Database,
  items: readonly { readonly sku: string; readonly onHand: number }[],
): Promise<StockLevel[]> {
  const work = async (queries: Transaction): Promise<StockLevel[]> => {
    const skus = items.map((item) => item.sku);
    const before = await read(queries, lockStock(skus));
    const reserved = new Map(before.map((level) => [level.sku, level.reserved]));
    const after = items.map(({ sku, onHand }) => ({ sku, onHand, reserved: reserved.get(sku) ?? 0 }));
    const short = after.filter((level) => level.onHand < level.reserved);
    if (short.length > 0) throw new StockReservedError(short);
    await queries
      .insert(stock)
      .values(after.toSorted((a, b) => (a.sku < b.sku ? -1 : 1)))
      .onDuplicateKeyUpdate({ set: { onHand: sql`VALUES(${sql.identifier("on_hand")})` } });
    return after;
  };
  // While it waits for one product it holds others that orders need.
  return database.transaction(work, { lockWaits: 1 });
}

/**
 * Locks stock rows in order of SKU. Every transaction that touches stock does this first, which prevents
 * deadlocks.
 */
export function lockStock(skus: Iterable<string>): Selection<StockLevel> {
  return lockRows([...skus]);
}

/** Writes new levels of locked rows. */
export function writeStock(levels: readonly StockLevel[]): Statement[] {
  return levels.length > 0 ? [writeRows(levels)] : [];
}
