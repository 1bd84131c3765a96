import { max } from "drizzle-orm";
import type { RowDataPacket } from "mysql2";
import type { Database } from "./database.ts";
import type { StageRecord } from "../src/order/order.ts";
import type { Reads } from "./queries.ts";
import { orderEvents } from "./schema.ts";
import { parseDocuments, read, type Selection } from "./statements.ts";

export type LoggedEvent = Pick<
  typeof orderEvents.$inferSelect,
  "id" | "orderId" | "type" | "stage" | "attempt" | "startedAt" | "at"
> & {
  readonly from: string | null;
  readonly to: string;
  readonly details?: StageRecord | null;
};

/** The public part of an event: without free text, and without the stage's record, which is not for everybody. */
const COLUMNS = `id, order_id AS orderId, type, from_status AS \`from\`, to_status AS \`to\`, stage, attempt,
  started_at AS startedAt, at, IF(type IN ('changed', 'hold.placed', 'hold.released'), record, NULL) AS details`;

const selectAfter = logged("WHERE id > ? ORDER BY id LIMIT ?");
const selectOfOrder = logged("WHERE order_id = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?");
const selectByIds = logged("WHERE id IN (?)");

/** As in statements.ts: every event of every order is read here. */
function logged(rest: string): (...values: readonly unknown[]) => Selection<LoggedEvent> {
  const sql = `SELECT ${COLUMNS} FROM order_events ${rest}`;
  return (...values) => ({ sql, values, shape: (rows) => parseDocuments(rows, "details") });
}

/**
 * Milliseconds after which a missing id never appears. An INSERT that has its ids writes the first row at once,
 * unless it waits for a lock (at most 1 s, see `innodb_lock_wait_timeout` in database.ts) or for the disk.
 */
const GRACE_MS = 5_000;
/** Which ids are assigned: every so many, beginning with the offset. */
interface Numbers {
  readonly increment: number;
  readonly offset: number;
}
const ALL: Numbers = { increment: 1, offset: 1 };

/**
 * How ids are assigned, and the ids that stand between two others, uncommitted ones included. The isolation level is for the
 * next statement only. Another index may lack an entry whose row exists already.
 */
const STANDING = `SELECT @@auto_increment_increment AS increment, @@auto_increment_offset AS \`offset\`;
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;
SELECT id FROM order_events FORCE INDEX (PRIMARY) WHERE id > ? AND id < ? ORDER BY id`;

/** If the server takes this long to report an id missing, it may have frozen before it looked. */
const PROMPT_MS = 1_000;
/** Ids kept with the time they were seen: this many, then one for each such fraction of the grace period. */
const SAMPLES = 10;
/** Events scanned for one page of events with a given status. */
const SCANNED = 1_000;
/** How many ids before the newest one to search for the last settled event. */
const UNSETTLED = 1_000;

/**
 * Events of one order, oldest first. Failed attempts may be written out of order, so this returns only events
 * up to an id known to be settled. @throws {DatabaseError}
 */
export async function listEventsAfter(
  database: Database,
  orderId: string,
  { after, upTo, limit }: { readonly after: number; readonly upTo: number; readonly limit: number },
): Promise<LoggedEvent[]> {
  return database.query((queries) => read(queries, selectOfOrder(orderId, after, upTo, limit)));
}

/** These events, by id. @throws {DatabaseError} */
export async function findEvents(
  database: Database,
  ids: readonly number[],
): Promise<Map<number, LoggedEvent>> {
  if (ids.length === 0) return new Map();
  const rows = await database.query((queries) => read(queries, selectByIds(ids)));
  return new Map(rows.map((row) => [row.id, row]));
}

export interface EventPage {
  readonly events: readonly LoggedEvent[];
  /** The cursor of the next page. */
  readonly next: number;
  /** Whether another page is available now. */
  readonly more: boolean;
}

/**
 * The event log in order of id. A reader that remembers the last id it has seen never misses an event.
 *
 * Querying `id > last` is not enough: ids are assigned on insert but become visible on commit, so a reader that
 * sees 7 and continues after it misses a 6 that commits later. So a page ends before the first unsettled id.
 * Each missing id
 *
 * 1. belongs to an open transaction. READ UNCOMMITTED shows it, without locking or waiting, as a locking read
 *   would. It runs after the committed rows were read, so it also shows rows committed in between. Such an id
 *   is unsettled;
 * 2. or will never exist: its transaction was rolled back, or the counter advances in larger steps, as in a cluster. What
 *   the server says of the steps (`auto_increment_increment`) tells most of these, see {@link EventLog.#believed};
 * 3. or was assigned to an INSERT that has not written it yet. InnoDB assigns a statement's ids together and
 *   inserts its rows in order, so this lasts only until the first row is written; then case 1 covers the
 *   others. The statement waits there only for a gap lock of a session with another isolation level, for at
 *   most a second, or for the disk.
 *
 * Only time tells the others apart: a missing id counts as lost once a higher id was seen more than {@link
 * GRACE_MS} ago. That settles all lower ids, however many are missing, so a replay of millions waits at most
 * once. Ids must come from one counter, so all writers must use the same primary: with several (Galera,
 * multi-primary group replication), ids are not in order of time.
 */
export class EventLog {
  readonly #database: Database;
  readonly #graceMs: number;
  readonly #now: () => number;
  /** The newest id seen at each time, oldest first. */
  #samples: { readonly at: number; readonly id: number }[] = [];
  /** Every id up to this one is settled: it exists, or never will. */
  #taken = 0;
  /** What the server says of how ids are assigned, and since when. */
  #numbers: (Numbers & { readonly since: number }) | undefined;

  constructor(
    database: Database,
    { graceMs = GRACE_MS, now = () => performance.now() }: { graceMs?: number; now?: () => number } = {},
  ) {
    this.#database = database;
    this.#graceMs = graceMs;
    this.#now = now;
  }

  /**
   * Up to `limit` events after an id. Fewer than that does not mean the end: later events may be unsettled.
   *
   * @param settled an id up to which another reader found everything settled. @throws {DatabaseError}
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
      const events = await read(queries, selectAfter(after, limit));
      const last = events.at(-1)?.id;
      if (last === undefined) return [];
      this.#remember(last);
      if (last - after === events.length) return events;
      const end = await this.#firstOpen(queries, { after, last, events, settled });
      return end === undefined ? events : events.filter(({ id }) => id < end);
    });
  }

  /** A page for a client, optionally only of the transitions to a status. @throws {DatabaseError} */
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

  /** The id of the last settled event; 0 if there is none. @throws {DatabaseError} */
  async end(): Promise<number> {
    const newest = await this.newest();
    const after = Math.max(0, newest - UNSETTLED);
    return (await this.read({ after, limit: UNSETTLED })).at(-1)?.id ?? after;
  }

  /** The highest committed id; lower ones may be uncommitted. 0 if there is none. @throws {DatabaseError} */
  async newest(): Promise<number> {
    return this.#database.query((queries) => this.#newest(queries));
  }

  async #newest(queries: Reads): Promise<number> {
    const [row] = await queries.select({ id: max(orderEvents.id) }).from(orderEvents);
    const id = row?.id ?? 0;
    this.#remember(id);
    return id;
  }

  /** The first unsettled id in the range that was read, if any. */
  async #firstOpen(
    queries: Reads,
    page: {
      readonly after: number;
      readonly last: number;
      readonly events: readonly LoggedEvent[];
      readonly settled: number;
    },
  ): Promise<number | undefined> {
    const { after, last, events, settled } = page;
    const askedAt = this.#now();
    const [[[numbering], , standing]] = await queries.$client.query<
      [(RowDataPacket & Numbers)[], never, (RowDataPacket & { readonly id: number })[]]
    >(STANDING, [after, last]);
    const known = new Set(events.map(({ id }) => id));
    const uncommitted = standing.find(({ id }) => !known.has(id))?.id ?? Infinity;
    const isPrompt = this.#now() - askedAt < PROMPT_MS;
    const taken = isPrompt ? this.#takenUpTo(askedAt) : 0;
    const numbers = this.#believed(numbering, events, askedAt);
    const missing = firstMissing({ after, events, decided: Math.max(settled, taken), numbers }) ?? Infinity;
    if (missing < uncommitted) await this.#newest(queries);
    const open = Math.min(uncommitted, missing);
    return open === Infinity ? undefined : open;
  }

  /**
   * How ids are assigned, if the server has said the same for the grace period and all ids that appeared meanwhile agree: a
   * session may have other settings than this one, and a cluster changes them when a node comes or goes.
   */
  #believed(said: Numbers | undefined, events: readonly LoggedEvent[], at: number): Numbers {
    const known = this.#numbers;
    const isSame = said !== undefined && known?.increment === said.increment && known.offset === said.offset;
    const fit = isSame && events.every(({ id }) => id <= this.#taken || assigned(said, id) === id);
    if (!fit) this.#numbers = said && { ...said, since: at };
    return fit && at - known.since >= this.#graceMs ? said : ALL;
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

/** The first id above `decided` that is missing between the events. */
function firstMissing({
  after,
  events,
  decided,
  numbers,
}: {
  readonly after: number;
  readonly events: readonly LoggedEvent[];
  readonly decided: number;
  readonly numbers: Numbers;
}): number | undefined {
  let expected = after + 1;
  for (const { id } of events) {
    const missing = assigned(numbers, Math.max(expected, decided + 1));
    if (missing < id) return missing;
    expected = id + 1;
  }
  return undefined;
}

/** The first id from this one on that is ever assigned. */
function assigned({ increment, offset }: Numbers, from: number): number {
  // As MySQL does, which ignores such an offset.
  if (offset > increment) return from;
  return from + ((((offset - from) % increment) + increment) % increment);
}
