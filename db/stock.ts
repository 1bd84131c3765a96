import { asc, gt, inArray } from "drizzle-orm";
import { execute, insertInto, read, selectFrom, type Selection } from "./statements.ts";
import type { Database } from "./database.ts";
import type { Statement, Transaction } from "./queries.ts";
import { stock } from "./schema.ts";
import { insertMovements } from "./stock-movements.ts";
import { timestamp } from "../src/platform/clock.ts";

/** Further writes for a transaction that adds to stock. @param levels locked, as they will be. */
export type AlsoCommit = (
  transaction: Transaction,
  levels: readonly StockLevel[],
) => Promise<readonly Statement[]>;

export type StockLevel = Readonly<typeof stock.$inferSelect>;

const lockRows = selectFrom(stock, ["sku", "onHand", "reserved"], "WHERE sku IN (?) ORDER BY sku FOR UPDATE");
/** Levels as they are, without locking them. */
export const readStock = selectFrom(stock, ["sku", "onHand", "reserved"], "WHERE sku IN (?)");
const writeRows = insertInto(
  stock,
  ["sku", "onHand", "reserved"],
  "on_hand = VALUES(on_hand), reserved = VALUES(reserved)",
);

const insertNew = insertInto(stock, ["sku", "onHand", "reserved"], "sku = sku");

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
  constructor(
    levels: readonly StockLevel[],
    message = `reserved already: ${levels.map(({ sku, reserved }) => `${reserved} of ${sku}`).join(", ")}`,
  ) {
    super(message);
    this.levels = levels;
  }
}

/** The level is not the one that the caller has seen. Nothing was changed. */
export class StockChangedError extends Error {
  override name = "StockChangedError";
  /** Undefined if the SKU is unknown. */
  readonly level: StockLevel | undefined;
  constructor(level: StockLevel | undefined) {
    super(level ? `there are ${level.onHand} of ${level.sku} on hand now` : "the SKU is unknown");
    this.level = level;
  }
}

/**
 * Sets the stock on hand of each SKU, known or new; all or none.
 *
 * @param options `actor`: who does it. `isExpected`: whether the current level, undefined if the SKU is unknown, is the
 * one to be replaced.
 * @throws {StockReservedError} if more is reserved; {@link StockChangedError}; {DatabaseError}
 */
export async function setStock(
  database: Database,
  items: readonly { readonly sku: string; readonly onHand: number }[],
  options: {
    readonly actor?: string;
    readonly isExpected?: ((level: StockLevel | undefined) => boolean) | undefined;
    readonly alsoCommit?: AlsoCommit;
  } = {},
): Promise<StockLevel[]> {
  const { actor, isExpected = () => true, alsoCommit } = options;
  const work = async (transaction: Transaction): Promise<StockLevel[]> => {
    const { levels, isNew } = await lockLevels(
      transaction,
      items.map((item) => item.sku),
    );
    const unexpected = levels.find((level) => !isExpected(isNew(level.sku) ? undefined : level));
    if (unexpected) throw new StockChangedError(isNew(unexpected.sku) ? undefined : unexpected);
    const before = new Map(levels.map((level) => [level.sku, level]));
    const at = timestamp();
    const changes = items.map(({ sku, onHand }) => {
      const { onHand: current = 0, reserved = 0 } = before.get(sku) ?? {};
      return { after: { sku, onHand, reserved }, delta: onHand - current };
    });
    const after = changes.map((change) => change.after);
    const short = after.filter((level) => level.onHand < level.reserved);
    if (short.length > 0) throw new StockReservedError(short);
    const moved = changes.filter(({ delta }) => delta !== 0);
    const further = (await alsoCommit?.(transaction, after)) ?? [];
    await transaction.commit([
      ...writeStock(after.toSorted((a, b) => (a.sku < b.sku ? -1 : 1))),
      ...insertMovements(
        moved.map(({ after: { sku }, delta }) => ({ sku, at, kind: "count", delta, actor: actor ?? null })),
      ),
      ...further,
    ]);
    return after;
  };
  // While it waits for one product it holds others that orders need.
  return database.transaction(work, { lockWaits: 1 });
}

/**
 * Locks the levels of these SKUs, in order of SKU. New SKUs get a row first, since there is nothing else to lock: two
 * that add to a new one would otherwise both find none.
 */
export async function lockLevels(transaction: Transaction, skus: readonly string[]) {
  const known = await read(transaction, lockStock(skus));
  if (known.length === skus.length) return { levels: known, isNew: () => false };
  const isKnown = new Set(known.map(({ sku }) => sku));
  const added = skus.filter((sku) => !isKnown.has(sku)).toSorted();
  await execute(transaction, insertNew(added.map((sku) => ({ sku, onHand: 0, reserved: 0 }))));
  const levels = await read(transaction, lockStock(skus));
  // Another one may have made it meanwhile, with something on hand.
  const empty = new Set(
    levels.filter((level) => level.onHand === 0 && level.reserved === 0).map(({ sku }) => sku),
  );
  return { levels, isNew: (sku: string) => !isKnown.has(sku) && empty.has(sku) };
}

/** The levels of the SKUs after this one, in order of SKU. @throws {DatabaseError} */
export async function listStock(
  database: Database,
  page: { readonly limit: number; readonly after?: string | undefined },
): Promise<{ readonly items: readonly StockLevel[]; readonly next: string | null }> {
  const rows = await database.query((queries) =>
    queries
      .select()
      .from(stock)
      .where(page.after === undefined ? undefined : gt(stock.sku, page.after))
      .orderBy(asc(stock.sku))
      .limit(page.limit + 1),
  );
  const items = rows.slice(0, page.limit);
  return { items, next: rows.length > page.limit ? (items.at(-1)?.sku ?? null) : null };
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
