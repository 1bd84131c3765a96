import { and, asc, count, desc, eq, gt, gte, inArray, lt, max, min, sql, type SQL } from "drizzle-orm";
import type { Database } from "./database.ts";
import type { Reads } from "./queries.ts";
import { orders } from "./schema.ts";

/*
 * Finding orders among a million: what an index answers reads the rows of a page and no others. What no index answers
 * by itself is answered by walking along the one that comes nearest, looking at each row, up to a limit.
 */

export interface OrderFilter {
  readonly status?: string | undefined;
  readonly customerId?: string | undefined;
  readonly reference?: string | undefined;
  readonly failed?: boolean | undefined;
  /** The stage in whose failed set the orders rest. */
  readonly failedStage?: string | undefined;
  /** Only orders that were created since then, or before then. */
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

/** Newest first. Where few orders match, a page that is not the last one may have fewer than its limit, or none. */
export interface OrderRows {
  readonly rows: readonly OrderRow[];
  /** What to ask for as `before` and `after` to go on; null where there is nothing more. */
  readonly older: string | null;
  readonly newer: string | null;
}

/** Rows looked at for one page, at most. */
const LOOKED_AT_MOST = 5_000;
const LARGEST_READ = 1_000;

/** One page of the orders that the filter is for. Stable while orders arrive: new ones come before the first page. */
export async function findPage(queries: Reads, filter: OrderFilter, place: PagePlace): Promise<OrderRows> {
  const walks = await walksFor(queries, filter);
  if (isAnsweredByIndex(filter)) {
    return walkAlong(place, (size, position) =>
      readOn(walks, { filter, place, position, size }, (walk) =>
        queries
          .select()
          .from(orders, { forceIndex: walk.index })
          .where(walk.where)
          .orderBy(walk.order)
          .limit(size),
      ),
    );
  }
  // Many are looked at for each that is found: of those, only what the filter asks for.
  const { rows, ...onwards } = await walkAlong(
    place,
    (size, position) =>
      readOn(walks, { filter, place, position, size }, (walk) =>
        queries
          .select(LOOKED_AT)
          .from(orders, { forceIndex: walk.index })
          .where(walk.where)
          .orderBy(walk.order)
          .limit(size),
      ),
    (row) => matches(filter, row),
  );
  return { rows: await rowsOf(queries, rows), ...onwards };
}

/** The columns that a filter can be about. */
const LOOKED_AT = {
  id: orders.id,
  status: orders.status,
  customerId: orders.customerId,
  reference: orders.reference,
  failedStage: orders.failedStage,
};
type LookedAt = Pick<OrderRow, keyof typeof LOOKED_AT>;

/** Whether what {@link walksFor} finds is what the filter is for, and nothing else. */
function isAnsweredByIndex({ reference, customerId, status, failed, failedStage }: OrderFilter): boolean {
  const asked = [reference, customerId, status, failedStage ?? (failed || undefined)];
  return failed !== false && asked.filter((each) => each !== undefined).length <= 1;
}

function matches(filter: OrderFilter, row: LookedAt): boolean {
  return (
    (filter.status === undefined || row.status === filter.status) &&
    (filter.customerId === undefined || row.customerId === filter.customerId) &&
    (filter.reference === undefined || row.reference === filter.reference) &&
    (filter.failed === undefined || (row.failedStage !== null) === filter.failed) &&
    (filter.failedStage === undefined || row.failedStage === filter.failedStage)
  );
}

/** The whole rows of orders that were found, in the same order. */
async function rowsOf(queries: Reads, found: readonly { readonly id: string }[]): Promise<OrderRow[]> {
  if (found.length === 0) return [];
  const ids = found.map(({ id }) => id);
  const rows = await queries.select().from(orders).where(inArray(orders.id, ids));
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.flatMap((id) => byId.get(id) ?? []);
}

/** Reads on until there is a page of rows that match, or as many have been looked at as may be. */
async function walkAlong<Row extends { readonly id: string }>(
  { limit, before, after }: PagePlace,
  read: (size: number, position: string | undefined) => Promise<Reading<Row>>,
  isWanted: (row: Row) => boolean = () => true,
): Promise<{ readonly rows: readonly Row[]; readonly older: string | null; readonly newer: string | null }> {
  const found: Row[] = [];
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
  // The next page begins after the last row that is shown, or after the last one that was looked at for nothing.
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

/** A way along an index, in order of id. */
interface Walk {
  readonly index: string;
  readonly where: SQL | undefined;
}

interface Direction {
  readonly beyond: (id: string) => SQL;
  readonly order: SQL;
  /** Which of two ids comes first. */
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

/** The indexes to walk along. Where the filter has more to say than they, each row is looked at. */
async function walksFor(queries: Reads, filter: OrderFilter): Promise<readonly Walk[]> {
  const { reference, customerId, failed, failedStage, status } = filter;
  if (reference !== undefined)
    return [{ index: "orders_by_reference", where: eq(orders.reference, reference) }];
  if (customerId !== undefined)
    return [{ index: "orders_by_customer", where: eq(orders.customerId, customerId) }];
  if (failedStage !== undefined) return [failuresOf(failedStage)];
  if (failed) return (await failedStages(queries)).map(failuresOf);
  if (status !== undefined) return [{ index: "orders_by_status", where: eq(orders.status, status) }];
  return [{ index: "PRIMARY", where: undefined }];
}

function failuresOf(stage: string): Walk {
  return { index: "orders_by_failure", where: eq(orders.failedStage, stage) };
}

/** The stages in whose failed sets orders rest: one look into the index for each. */
export async function failedStages(queries: Reads): Promise<string[]> {
  const stages: string[] = [];
  for (;;) {
    const [next] = await queries
      .select({ stage: orders.failedStage })
      .from(orders, { forceIndex: "orders_by_failure" })
      .where(gt(orders.failedStage, stages.at(-1) ?? ""))
      .orderBy(asc(orders.failedStage), asc(orders.id))
      .limit(1);
    if (next === undefined || next.stage === null) return stages;
    stages.push(next.stage);
  }
}

interface Reading<Row> {
  readonly rows: readonly Row[];
  /** Up to where rows have been read. */
  readonly position: string | undefined;
  readonly more: boolean;
}

/**
 * The next rows along all walks together, at most `size` of each. Where one walk has come less far than the others, rows
 * beyond that are left for the next time.
 *
 * @param read gives the rows of one walk. Left to themselves, MySQL and MariaDB take another index, or read all of its
 * entries up to the place: so it is forced upon them.
 */
async function readOn<Row extends { readonly id: string }>(
  walks: readonly Walk[],
  from: {
    readonly filter: OrderFilter;
    readonly place: PagePlace;
    readonly position: string | undefined;
    readonly size: number;
  },
  read: (walk: Walk & { readonly order: SQL }) => Promise<Row[]>,
): Promise<Reading<Row>> {
  const { filter, place, position, size } = from;
  const { beyond, order, isFirst } = place.after === undefined ? OLDER : NEWER;
  const reads: Row[][] = [];
  for (const { index, where } of walks) {
    reads.push(
      await read({
        index,
        order,
        where: and(
          where,
          position === undefined ? undefined : beyond(position),
          filter.since && gte(orders.id, firstIdOf(filter.since)),
          filter.until && lt(orders.id, firstIdOf(filter.until)),
        ),
      }),
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

/** What the ids of all orders that were created since then come after: a UUIDv7 begins with its milliseconds. */
function firstIdOf(time: Date): string {
  const digits = Math.max(0, time.getTime()).toString(16).padStart(12, "0");
  return `${digits.slice(0, 8)}-${digits.slice(8)}`;
}

/** A count that stopped at a limit, when there are more. */
export interface BoundedCount {
  readonly count: number;
  readonly more: boolean;
}

/** How many orders rest in the failed set of each stage. @throws {DatabaseError} */
export async function countFailures(database: Database, limit: number): Promise<Map<string, BoundedCount>> {
  return database.query(async (queries) => {
    const counts = new Map<string, BoundedCount>();
    for (const stage of await failedStages(queries)) {
      const rows = await queries
        .select({ id: orders.id })
        .from(orders, { forceIndex: "orders_by_failure" })
        .where(eq(orders.failedStage, stage))
        .limit(limit + 1);
      counts.set(stage, { count: Math.min(rows.length, limit), more: rows.length > limit });
    }
    return counts;
  });
}

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi;

/** A reason without the order's own id in it, or others: so that orders that failed alike are one group. */
export function kindOfReason(reason: string): string {
  return reason.replaceAll(UUID, "…").trimEnd();
}

/** Orders that failed in the same stage for the same kind of reason. */
export interface FailureGroup {
  readonly stage: string;
  readonly reason: string;
  readonly count: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
}

/**
 * The newest failed orders of each stage, at most `limit` of them, by reason: the largest groups first.
 *
 * @returns `more` names the stages in which more have failed than were looked at. @throws {DatabaseError}
 */
export async function groupFailures(
  database: Database,
  limit: number,
): Promise<{ readonly groups: readonly FailureGroup[]; readonly more: ReadonlySet<string> }> {
  return database.query(async (queries) => {
    const groups = new Map<string, FailureGroup>();
    const more = new Set<string>();
    for (const stage of await failedStages(queries)) {
      if (await hasMore(queries, stage, limit)) more.add(stage);
      for (const { reason, count: failed, firstAt, lastAt } of await countReasons(queries, stage, limit)) {
        const kind = kindOfReason(reason);
        const key = `${stage} ${kind}`;
        const group = { stage, reason: kind, count: failed, firstAt, lastAt };
        groups.set(key, merged(groups.get(key), group));
      }
    }
    return { groups: [...groups.values()].toSorted((a, b) => b.count - a.count), more };
  });
}

function merged(known: FailureGroup | undefined, group: FailureGroup): FailureGroup {
  if (known === undefined) return group;
  return {
    ...group,
    count: known.count + group.count,
    firstAt: known.firstAt < group.firstAt ? known.firstAt : group.firstAt,
    lastAt: known.lastAt > group.lastAt ? known.lastAt : group.lastAt,
  };
}

/** The reasons for which the newest `limit` orders in a stage's failed set rest there: counted where they lie. */
async function countReasons(
  queries: Reads,
  stage: string,
  limit: number,
): Promise<Pick<FailureGroup, "reason" | "count" | "firstAt" | "lastAt">[]> {
  const newest = queries
    .select({ reason: orders.failedReason, at: orders.failedAt })
    .from(orders, { forceIndex: "orders_by_failure" })
    .where(eq(orders.failedStage, stage))
    .orderBy(desc(orders.id))
    .limit(limit)
    .as("newest");
  const rows = await queries
    .select({ reason: newest.reason, count: count(), firstAt: min(newest.at), lastAt: max(newest.at) })
    .from(newest)
    .groupBy(newest.reason);
  return rows.map(({ reason, firstAt, lastAt, count: failed }) => ({
    reason: reason ?? "",
    count: failed,
    firstAt: firstAt ?? new Date(0),
    lastAt: lastAt ?? new Date(0),
  }));
}

/** Whether more orders than that rest in a stage's failed set. */
async function hasMore(queries: Reads, stage: string, limit: number): Promise<boolean> {
  const [next] = await queries
    .select({ id: orders.id })
    .from(orders, { forceIndex: "orders_by_failure" })
    .where(eq(orders.failedStage, stage))
    .orderBy(desc(orders.id))
    .limit(1)
    .offset(limit);
  return next !== undefined;
}

function isOfKind(reason: string | null, kind: string): boolean {
  return kindOfReason(reason ?? "") === kindOfReason(kind);
}

/** Orders looked at for the oldest one: those that have failed wait for somebody else. */
const LOOKED_AT_FOR_OLDEST = 100;

/**
 * The oldest order of a status that is on its way, as far as the first ones tell; undefined where there is none.
 * @throws {DatabaseError}
 */
export async function findOldest(
  database: Database,
  status: string,
): Promise<{ readonly id: string; readonly createdAt: Date; readonly updatedAt: Date } | undefined> {
  const first = database.query((queries) =>
    queries
      .select({
        id: orders.id,
        failedAt: orders.failedAt,
        createdAt: orders.createdAt,
        updatedAt: orders.updatedAt,
      })
      .from(orders, { forceIndex: "orders_by_status" })
      .where(eq(orders.status, status))
      .orderBy(asc(orders.id))
      .limit(LOOKED_AT_FOR_OLDEST),
  );
  return (await first).find(({ failedAt }) => failedAt === null);
}

/**
 * How many of the newest orders in a stage's failed set rest there for this kind of reason: of `limit` that are looked at, each of
 * which may be anywhere in the table. @returns `more` when there were others. @throws {DatabaseError}
 */
export async function countGroup(
  database: Database,
  { stage, reason }: { readonly stage: string; readonly reason: string },
  limit: number,
): Promise<BoundedCount> {
  return database.query(async (queries) => {
    const reasons = await countReasons(queries, stage, limit);
    const alike = reasons.filter((each) => isOfKind(each.reason, reason));
    return {
      count: alike.reduce((sum, each) => sum + each.count, 0),
      more: await hasMore(queries, stage, limit),
    };
  });
}

/** How many orders rest in a stage's failed set. Reads the index alone. @throws {DatabaseError} */
export async function countStage(database: Database, stage: string, limit: number): Promise<BoundedCount> {
  return database.query(async (queries) => {
    const failures = queries
      .select({ id: orders.id })
      .from(orders, { forceIndex: "orders_by_failure" })
      .where(eq(orders.failedStage, stage))
      .limit(limit + 1)
      .as("failures");
    const [counted] = await queries.select({ all: sql<string>`COUNT(*)` }).from(failures);
    const all = Number(counted?.all ?? 0);
    return { count: Math.min(all, limit), more: all > limit };
  });
}

/** A failed order, as far as it takes to have it go on. */
export interface FailedOrder {
  readonly id: string;
  readonly status: string;
  readonly cancelRequested: boolean;
}

/**
 * Of the next `limit` orders in a stage's failed set, in order of id, those that failed for this kind of reason (if one is
 * given) and until then.
 *
 * @returns how many were looked at, and `next`: the id to go on after; undefined at the end. @throws {DatabaseError}
 */
export async function listGroup(
  database: Database,
  group: { readonly stage: string; readonly reason?: string | undefined; readonly until: Date },
  page: { readonly limit: number; readonly after?: string | undefined },
): Promise<{
  readonly orders: readonly FailedOrder[];
  readonly looked: number;
  readonly next: string | undefined;
}> {
  const rows = await database.query((queries) =>
    queries
      .select({
        id: orders.id,
        status: orders.status,
        reason: orders.failedReason,
        at: orders.failedAt,
        cancelRequestedAt: orders.cancelRequestedAt,
      })
      .from(orders, { forceIndex: "orders_by_failure" })
      .where(and(eq(orders.failedStage, group.stage), gt(orders.id, page.after ?? "")))
      .orderBy(asc(orders.id))
      .limit(page.limit),
  );
  return {
    orders: rows
      .filter(
        ({ reason, at }) =>
          (group.reason === undefined || isOfKind(reason, group.reason)) && at !== null && at <= group.until,
      )
      .map(({ id, status, cancelRequestedAt }) => ({
        id,
        status,
        cancelRequested: cancelRequestedAt !== null,
      })),
    looked: rows.length,
    next: rows.length === page.limit ? rows.at(-1)?.id : undefined,
  };
}
