import { and, asc, eq, gt, lt, lte, max, sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import type { Reads } from "./queries.ts";
import { orderEvents } from "./schema.ts";

/** An event as everybody may hear of it: without what a stage left behind, and without free text. */
export const LOGGED_COLUMNS = {
  id: orderEvents.id,
  orderId: orderEvents.orderId,
  type: orderEvents.type,
  from: orderEvents.fromStatus,
  to: orderEvents.toStatus,
  stage: orderEvents.stage,
  attempt: orderEvents.attempt,
  startedAt: orderEvents.startedAt,
  at: orderEvents.at,
};

export type LoggedEvent = Pick<
  typeof orderEvents.$inferSelect,
  "id" | "orderId" | "type" | "stage" | "attempt" | "startedAt" | "at"
> & { readonly from: string | null; readonly to: string };

/**
 * Milliseconds after which an id that stands nowhere never will. An INSERT that has taken its ids writes the first of them
 * at once, unless it waits for a lock (1 s at most, see `innodb_lock_wait_timeout` in database.ts) or for the disk.
 */
const GRACE_MS = 5_000;
/** A server that takes this long to say that an id stands nowhere may have stood still before it looked. */
const PROMPT_MS = 1_000;
/** Ids that are remembered with the time of their sight: some at any rate, and further ones in that many steps of the grace. */
const SAMPLES = 10;
/** Events looked at for one page of those with a certain status. */
const SCANNED = 1_000;
/** How far before the newest event the end of what is settled is looked for. */
const UNSETTLED = 1_000;

/**
 * Events of one order, oldest first. What one order goes through is written one after the other, but for failed attempts:
 * so they are told only up to where somebody has found everything settled. @throws {DatabaseError}
 */
export async function listEventsAfter(
  database: Database,
  orderId: string,
  { after, upTo, limit }: { readonly after: number; readonly upTo: number; readonly limit: number },
): Promise<LoggedEvent[]> {
  const { id, orderId: order } = orderEvents;
  return database.query((queries) =>
    queries
      .select(LOGGED_COLUMNS)
      .from(orderEvents)
      .where(and(eq(order, orderId), gt(id, after), lte(id, upTo)))
      .orderBy(asc(id))
      .limit(limit),
  );
}

export interface EventPage {
  readonly events: readonly LoggedEvent[];
  /** The id to go on after. */
  readonly next: number;
  /** Whether there is more to read at once. */
  readonly more: boolean;
}

/**
 * The log of events in the order of their ids, for readers that remember the last id they have seen: none of them ever
 * misses an event.
 *
 * Asking for `id > last` is not enough, since ids are taken when an event is inserted and seen when its transaction
 * commits: a reader that sees 7 and goes on after it misses a 6 that commits later. So an answer ends before the first id
 * whose fate is open. When ids are missing from those that were read, each of them
 *
 * 1. stands in an open transaction. What is not committed yet is seen by READ UNCOMMITTED, which locks nothing and waits
 *    for nobody (a locking read would do both). Asked after the committed rows were read, it also shows what was committed
 *    in between, so that nothing slips through between the two. Such an id is open;
 * 2. or will never be there: its transaction was rolled back, or the counter was advanced in larger steps;
 * 3. or was taken by an INSERT that has not written it yet. InnoDB hands out the ids of a statement together and inserts
 *    its rows in their order, so this is seen only until the first row stands: then the open transaction covers the
 *    others. The statement waits there for nothing but a gap lock of a session with another isolation level, for a second
 *    at the longest, or for the disk.
 *
 * The last two look the same, and only time tells them apart: an id that stands nowhere is taken for lost when an id above
 * it was seen more than {@link GRACE_MS} ago. One such sight settles all ids below, however many are missing: a replay of
 * millions waits once at the most. Ids come from the server's one counter, so all writers must use the same primary:
 * several (Galera, group replication with many primaries) hand out ids that say nothing about time.
 */
export class EventLog {
  readonly #database: Database;
  readonly #graceMs: number;
  readonly #now: () => number;
  /** The newest id that had been seen at a time, oldest first. */
  #samples: { readonly at: number; readonly id: number }[] = [];
  /** Every id up to this one was taken so long ago that it stands there, or never will. */
  #taken = 0;

  constructor(
    database: Database,
    { graceMs = GRACE_MS, now = () => performance.now() }: { graceMs?: number; now?: () => number } = {},
  ) {
    this.#database = database;
    this.#graceMs = graceMs;
    this.#now = now;
  }

  /**
   * Up to `limit` events after an id. Fewer than that do not mean the end: what follows may not be settled yet.
   *
   * @param settled an id up to which somebody else has found everything settled. @throws {DatabaseError}
   */
  async read({
    after,
    limit,
    settled = 0,
  }: {
    readonly after: number;
    readonly limit: number;
    readonly settled?: number;
  }): Promise<LoggedEvent[]> {
    return this.#database.query(async (queries) => {
      const events = await queries
        .select(LOGGED_COLUMNS)
        .from(orderEvents)
        .where(gt(orderEvents.id, after))
        .orderBy(asc(orderEvents.id))
        .limit(limit);
      const last = events.at(-1)?.id;
      if (last === undefined) return [];
      this.#remember(last);
      if (last - after === events.length) return events;
      const end = await this.#firstOpen(queries, { after, last, events, settled });
      return end === undefined ? events : events.filter(({ id }) => id < end);
    });
  }

  /** A page for a client: after an id, and only the transitions to a status, if one is given. @throws {DatabaseError} */
  async page({
    after,
    status,
    limit,
  }: {
    readonly after: number;
    readonly status?: string | undefined;
    readonly limit: number;
  }): Promise<EventPage> {
    if (status === undefined) {
      const events = await this.read({ after, limit });
      return { events, next: events.at(-1)?.id ?? after, more: events.length === limit };
    }
    const scanned = await this.read({ after, limit: SCANNED });
    const found = scanned.filter(({ type, to }) => type === "status" && to === status);
    const events = found.slice(0, limit);
    const isCut = found.length > limit;
    const last = isCut ? events.at(-1) : scanned.at(-1);
    return { events, next: last?.id ?? after, more: isCut || scanned.length === SCANNED };
  }

  /** The id of the last event that is settled; 0 where there is none. @throws {DatabaseError} */
  async end(): Promise<number> {
    const newest = await this.newest();
    const after = Math.max(0, newest - UNSETTLED);
    return (await this.read({ after, limit: UNSETTLED })).at(-1)?.id ?? after;
  }

  /** The greatest id that is committed, though not all below may be; 0 where there is none. @throws {DatabaseError} */
  async newest(): Promise<number> {
    return this.#database.query((queries) => this.#newest(queries));
  }

  async #newest(queries: Reads): Promise<number> {
    const [row] = await queries.select({ id: max(orderEvents.id) }).from(orderEvents);
    const id = row?.id ?? 0;
    this.#remember(id);
    return id;
  }

  /** The first id among those read that may still be committed; undefined if there is none. */
  async #firstOpen(
    queries: Reads,
    read: {
      readonly after: number;
      readonly last: number;
      readonly events: readonly LoggedEvent[];
      readonly settled: number;
    },
  ): Promise<number | undefined> {
    const { after, last, events, settled } = read;
    const askedAt = this.#now();
    // For the next statement only.
    await queries.execute(sql`SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED`);
    const standing = await queries
      .select({ id: orderEvents.id })
      // Another index might not have an entry yet whose row stands already.
      .from(orderEvents, { forceIndex: "PRIMARY" })
      .where(and(gt(orderEvents.id, after), lt(orderEvents.id, last)))
      .orderBy(asc(orderEvents.id));
    const known = new Set(events.map(({ id }) => id));
    const uncommitted = standing.find(({ id }) => !known.has(id))?.id ?? Infinity;
    const isPrompt = this.#now() - askedAt < PROMPT_MS;
    const decided = Math.max(settled, isPrompt ? this.#takenUpTo(askedAt) : 0);
    const missing = firstMissing(after, events, decided) ?? Infinity;
    if (missing < uncommitted) await this.#newest(queries);
    const open = Math.min(uncommitted, missing);
    return open === Infinity ? undefined : open;
  }

  #remember(id: number): void {
    const at = this.#now();
    const last = this.#samples.at(-1);
    if (id <= (last?.id ?? this.#taken)) return;
    this.#takenUpTo(at);
    const isSoon = last !== undefined && at - last.at < this.#graceMs / SAMPLES;
    if (this.#samples.length < SAMPLES || !isSoon) this.#samples.push({ at, id });
  }

  #takenUpTo(now: number): number {
    const old = this.#samples.findLastIndex(({ at }) => now - at >= this.#graceMs);
    this.#taken = this.#samples[old]?.id ?? this.#taken;
    this.#samples = this.#samples.slice(old + 1);
    return this.#taken;
  }
}

/** The first id between events that is missing, of those above `decided`. */
function firstMissing(after: number, events: readonly LoggedEvent[], decided: number): number | undefined {
  let expected = after + 1;
  for (const { id } of events) {
    if (id > expected && id - 1 > decided) return Math.max(expected, decided + 1);
    expected = id + 1;
  }
  return undefined;
}
