import { and, asc, desc, eq, gt, gte, inArray, lt, type SQL } from "drizzle-orm";
import type { Database } from "./database.ts";
import { FAILED, stagesWith, WAITING, type Mark } from "./marked.ts";
import type { Reads } from "./queries.ts";
import { orders } from "./schema.ts";

/*
 * Finds orders among millions. If an index covers the filter, only the page's rows are read. Otherwise the
 * closest index is scanned, up to a limit.
 */

export interface OrderFilter {
  readonly status?: string | undefined;
  readonly customerId?: string | undefined;
  readonly reference?: string | undefined;
  readonly failed?: boolean | undefined;
  /** Only orders that failed in this stage. */
  readonly failedStage?: string | undefined;
  /** Only orders that wait for somebody else to act, or only the others. */
  readonly waiting?: boolean | undefined;
  /** Only orders that wait so in this stage. */
  readonly waitingStage?: string | undefined;
  /** Only orders created since or before this time. */
  readonly since?: Date | undefined;
  readonly until?: Date | undefined;
}

/** The newest orders that are older than `before`, or the oldest that are newer than `after`. */
export interface PagePlace {
  readonly limit: number;
  readonly before?: string | undefined;
  readonly after?: string | undefined;
}

export type OrderRow = typeof orders.$inferSelect;

/** Newest first. If few orders match, a page may have fewer than its limit, or none, without being the last. */
export interface OrderRows {
  readonly rows: readonly OrderRow[];
  /** The `before` and `after` of the adjacent pages; null if there is none. */
  readonly older: string | null;
  readonly newer: string | null;
}

/** Maximum rows scanned for one page. */
const LOOKED_AT_MOST = 5_000;
const LARGEST_READ = 1_000;

/** One page of the matching orders. Stable while orders arrive, since new ones come before the first page. */
export async function findPage(queries: Reads, filter: OrderFilter, place: PagePlace): Promise<OrderRows> {
  const walks = await walksFor(queries, filter);
  const { rows, ...onwards } = await walkAlong(
    place,
    (size, position) => readOn(queries, walks, { filter, place, position, size }),
    (row) => matches(filter, row),
  );
  return { rows: await rowsOf(queries, rows), ...onwards };
}

/** The columns that filters use. Many rows may be scanned for each match, so only these are read. */
const LOOKED_AT = {
  id: orders.id,
  status: orders.status,
  customerId: orders.customerId,
  reference: orders.reference,
  failedStage: orders.failedStage,
  waitingStage: orders.waitingStage,
};
type LookedAt = Pick<OrderRow, keyof typeof LOOKED_AT>;

function matches(filter: OrderFilter, row: LookedAt): boolean {
  return (
    (filter.status === undefined || row.status === filter.status) &&
    (filter.customerId === undefined || row.customerId === filter.customerId) &&
    (filter.reference === undefined || row.reference === filter.reference) &&
    (filter.failed === undefined || (row.failedStage !== null) === filter.failed) &&
    (filter.failedStage === undefined || row.failedStage === filter.failedStage) &&
    (filter.waiting === undefined || (row.waitingStage !== null) === filter.waiting) &&
    (filter.waitingStage === undefined || row.waitingStage === filter.waitingStage)
  );
}

/** The full rows of the matches, in the same order. */
async function rowsOf(queries: Reads, found: readonly { readonly id: string }[]): Promise<OrderRow[]> {
  if (found.length === 0) return [];
  const ids = found.map(({ id }) => id);
  const rows = await queries.select().from(orders).where(inArray(orders.id, ids));
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.flatMap((id) => byId.get(id) ?? []);
}

/** Reads until the page is full or the scan limit is reached. */
async function walkAlong(
  { limit, before, after }: PagePlace,
  read: (size: number, position: string | undefined) => Promise<Reading>,
  isWanted: (row: LookedAt) => boolean,
): Promise<Omit<OrderRows, "rows"> & { readonly rows: readonly LookedAt[] }> {
  const found: LookedAt[] = [];
  let position = after ?? before;
  let more = true;
  let looked = 0;
  for (let size = limit + 1; more && found.length <= limit && looked < LOOKED_AT_MOST;) {
    const reading = await read(size, position);
    found.push(...reading.rows.filter(isWanted));
    looked += reading.rows.length;
    ({ position, more } = reading);
    size = Math.min(size * 2, LARGEST_READ);
  }
  const rows = found.slice(0, limit);
  // The next page begins after the last row shown, or after the last row scanned.
  const onwards = found.length > limit ? (rows.at(-1)?.id ?? null) : more ? (position ?? null) : null;
  const backwards = (after ?? before) === undefined ? null : (rows[0]?.id ?? position ?? null);
  return after === undefined
    ? { rows, older: onwards, newer: backwards }
    : { rows: rows.toReversed(), older: backwards, newer: onwards };
}

/** Like {@link findPage}, on a connection of its own. @throws {DatabaseError} */
export async function listRows(
  database: Database,
  filter: OrderFilter,
  place: PagePlace,
): Promise<OrderRows> {
  return database.query((queries) => findPage(queries, filter, place));
}

/** A scan of an index, in order of id. */
interface Walk {
  readonly index: string;
  readonly where: SQL | undefined;
}

interface Direction {
  readonly beyond: (id: string) => SQL;
  readonly order: SQL;
  /** Compares two ids. */
  readonly isFirst: (a: string, b: string) => boolean;
}

const OLDER: Direction = {
  beyond: (id) => lt(orders.id, id),
  order: desc(orders.id),
  isFirst: (a, b) => a > b,
};
const NEWER: Direction = {
  beyond: (id) => gt(orders.id, id),
  order: asc(orders.id),
  isFirst: (a, b) => a < b,
};

/** The indexes to scan. If they don't cover the filter, each row is checked. */
async function walksFor(queries: Reads, filter: OrderFilter): Promise<readonly Walk[]> {
  const { reference, customerId, failed, failedStage, waiting, waitingStage, status } = filter;
  if (reference !== undefined)
    return [{ index: "orders_by_reference", where: eq(orders.reference, reference) }];
  if (customerId !== undefined)
    return [{ index: "orders_by_customer", where: eq(orders.customerId, customerId) }];
  if (failedStage !== undefined) return [walkOf(FAILED, failedStage)];
  if (failed) return (await stagesWith(queries, FAILED)).map((stage) => walkOf(FAILED, stage));
  if (waitingStage !== undefined) return [walkOf(WAITING, waitingStage)];
  if (waiting) return (await stagesWith(queries, WAITING)).map((stage) => walkOf(WAITING, stage));
  if (status !== undefined) return [{ index: "orders_by_status", where: eq(orders.status, status) }];
  return [{ index: "PRIMARY", where: undefined }];
}

function walkOf({ index, stage: column }: Mark, stage: string): Walk {
  return { index, where: eq(column, stage) };
}

interface Reading {
  readonly rows: readonly LookedAt[];
  /** How far rows have been read. */
  readonly position: string | undefined;
  readonly more: boolean;
}

/**
 * Merges the next rows of all walks, at most `size` of each. Rows beyond the walk that is furthest behind are
 * left for the next call.
 */
async function readOn(
  queries: Reads,
  walks: readonly Walk[],
  from: {
    readonly filter: OrderFilter;
    readonly place: PagePlace;
    readonly position: string | undefined;
    readonly size: number;
  },
): Promise<Reading> {
  const { filter, place, position, size } = from;
  const { beyond, order, isFirst } = place.after === undefined ? OLDER : NEWER;
  const reads: LookedAt[][] = [];
  for (const { index, where } of walks) {
    reads.push(
      await queries
        .select(LOOKED_AT)
        // Forced: MySQL and MariaDB would choose another one, or read all of its entries up to the cursor.
        .from(orders, { forceIndex: index })
        .where(
          and(
            where,
            position === undefined ? undefined : beyond(position),
            filter.since && gte(orders.id, firstIdOf(filter.since)),
            filter.until && lt(orders.id, firstIdOf(filter.until)),
          ),
        )
        .orderBy(order)
        .limit(size),
    );
  }
  const ends = reads.flatMap((rows) => (rows.length === size ? (rows.at(-1)?.id ?? []) : []));
  const nearest = ends.reduce<string | undefined>(
    (first, id) => (first === undefined || isFirst(id, first) ? id : first),
    undefined,
  );
  const rows = reads
    .flat()
    .filter(({ id }) => nearest === undefined || !isFirst(nearest, id))
    .toSorted((a, b) => (isFirst(a.id, b.id) ? -1 : 1));
  return { rows, position: nearest ?? rows.at(-1)?.id ?? position, more: nearest !== undefined };
}

/** A lower bound for the ids of orders created since then: a UUIDv7 begins with its milliseconds. */
function firstIdOf(time: Date): string {
  const digits = Math.max(0, time.getTime()).toString(16).padStart(12, "0");
  return `${digits.slice(0, 8)}-${digits.slice(8)}`;
}
