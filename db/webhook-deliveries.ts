import {
  and,
  asc,
  desc,
  eq,
  gt,
  gte,
  inArray,
  isNull,
  lt,
  lte,
  ne,
  notInArray,
  or,
  sql,
  type SQL,
} from "drizzle-orm";
import type { EventType } from "../src/order/event.ts";
import { insertInto, read, selectFrom, type Selection } from "./statements.ts";
import type { Database } from "./database.ts";
import type { Reads, Statement, Transaction } from "./queries.ts";
import type { NewAction } from "../src/engine/ports.ts";
import { insertAction } from "./operator-actions.ts";
import { LOGGED_COLUMNS, type LoggedEvent } from "./event-log.ts";
import type { Locks } from "../src/platform/group-commit.ts";
import { rowLocks } from "./row-locks.ts";
import { orderEvents, webhookAttempts, webhookDeliveries, webhookEndpoints } from "./schema.ts";
import type { DeliveryState } from "./schema.ts";

export type { DeliveryState } from "./schema.ts";
export type WebhookDelivery = typeof webhookDeliveries.$inferSelect;
export type WebhookAttempt = typeof webhookAttempts.$inferSelect;

/** Milliseconds after which an endpoint that was deleted, and all that was sent to it, is forgotten. */
const FORGOTTEN_AFTER_MS = 60_000;
/** Deliveries brought forward by one statement. */
const BROUGHT_AT_ONCE = 1_000;

/** Who wants which events. */
export interface Subscription {
  readonly id: string;
  /** Null for all. */
  readonly eventTypes: readonly EventType[] | null;
  /** Only events after this one. */
  readonly afterEventId: number;
}

/** A delivery whose turn it is, or that stands behind one. */
export type DueDelivery = Pick<
  WebhookDelivery,
  "id" | "eventId" | "orderId" | "attempts" | "dueAt" | "lastStatus" | "lastError" | "createdAt"
>;

/** A place in the line of what is due. */
export type DuePlace = Pick<DueDelivery, "dueAt" | "id">;

/** Whether it was sent before, and so has failed, or is sent again by hand. */
export function wasTried({ attempts, lastStatus, lastError }: DueDelivery): boolean {
  return attempts > 0 || lastStatus !== null || lastError !== null;
}

/**
 * Makes a delivery of each event for each endpoint that wants it, and notes that the log has been read up to the last of
 * them: both, or none. Twice is harmless.
 *
 * @returns the orders that they are about, by the id of the endpoint. @throws {DatabaseError}
 */
export async function makeDeliveries(
  database: Database,
  {
    events,
    endpoints,
    position,
  }: {
    readonly events: readonly LoggedEvent[];
    readonly endpoints: readonly Subscription[];
    readonly position: number;
  },
): Promise<Map<string, Set<string>>> {
  const now = new Date();
  const rows = events.flatMap(({ id, orderId, type }) =>
    endpoints
      .filter(({ eventTypes, afterEventId }) => id > afterEventId && (eventTypes?.includes(type) ?? true))
      .map((endpoint) => ({
        endpointId: endpoint.id,
        eventId: id,
        orderId,
        state: "pending" as const,
        attempts: 0,
        dueAt: now,
        createdAt: now,
      })),
  );
  await database.transaction(async (queries) => {
    await queries.commit([
      ...(rows.length > 0 ? [insertDeliveries(rows)] : []),
      {
        sql: `INSERT INTO relay_positions (name, event_id, updated_at) VALUES ('webhooks', ?, ?)
          ON DUPLICATE KEY UPDATE event_id = GREATEST(event_id, VALUES(event_id)), updated_at = VALUES(updated_at)`,
        values: [position, now],
      },
    ]);
  });
  const orderIds = new Map<string, Set<string>>();
  for (const { endpointId, orderId } of rows) {
    const known = orderIds.get(endpointId);
    if (known) known.add(orderId);
    else orderIds.set(endpointId, new Set([orderId]));
  }
  return orderIds;
}

const insertDeliveries = insertInto(
  webhookDeliveries,
  ["endpointId", "eventId", "orderId", "state", "attempts", "dueAt", "createdAt"],
  // One that is there already stays as it is.
  "id = id",
);

/** A message that is about no event, to try an endpoint; noted with it. @returns its id. @throws {DatabaseError} */
export async function makeTestDelivery(
  database: Database,
  delivery: { readonly endpointId: string; readonly id: string },
  note: NewAction,
): Promise<number> {
  const now = new Date();
  const { endpointId, id: orderId } = delivery;
  return database.transaction(async (queries) => {
    const [{ insertId }] = await queries.insert(webhookDeliveries).values({
      endpointId,
      orderId,
      eventId: null,
      state: "pending",
      attempts: 0,
      dueAt: now,
      createdAt: now,
    });
    await queries.commit([insertAction({ ...note, details: { delivery: insertId } })]);
    return insertId;
  });
}

/**
 * When the next delivery of each of these endpoints is due; those that have none are left out. One look into the index for
 * each, however many wait: grouped, all that wait would be read. @throws {DatabaseError}
 */
export async function findNextDue(
  database: Database,
  endpointIds: readonly string[],
): Promise<Map<string, Date>> {
  if (endpointIds.length === 0) return new Map();
  const rows = await database.query((queries) => read(queries, nextDueOf(endpointIds)));
  return new Map(rows.flatMap(({ id, dueAt }) => (dueAt === null ? [] : [[id, dueAt] as const])));
}

function nextDueOf(
  endpointIds: readonly string[],
): Selection<{ readonly id: string; readonly dueAt: Date | null }> {
  return {
    sql: `SELECT id, (
        SELECT due_at FROM webhook_deliveries FORCE INDEX (webhook_deliveries_by_due)
        WHERE endpoint_id = webhook_endpoints.id AND state = 'pending' ORDER BY due_at LIMIT 1
      ) AS dueAt FROM webhook_endpoints WHERE id IN (?)`,
    values: [endpointIds],
    shape: (rows) => rows,
  };
}

/**
 * The deliveries of an endpoint that wait, order by order: of orders of which one is due, the longest due first, or those
 * that came last. Within an
 * order, oldest event first: each may be sent when the one before is settled, and none when the first one is not due yet.
 * Those behind such a one are put off until it is, so that they are not looked at again and again.
 *
 * A look costs what the rows cost that it reads from the index. To find what was never tried behind a thousand that were,
 * it reads on from where the last look ended: nothing becomes due before that.
 *
 * @param limit deliveries that are looked at. @param except orders that are being worked on.
 * @param untriedAfter only what was never tried, after this place. @returns the lanes, whether there is nothing else that is
 * due, and the place of the last that was looked at. @throws {DatabaseError}
 */
export async function findDueLanes(
  database: Database,
  endpointId: string,
  {
    limit,
    except,
    newestFirst = false,
    untriedAfter,
    now = new Date(),
  }: {
    readonly limit: number;
    readonly except: readonly string[];
    readonly newestFirst?: boolean;
    readonly untriedAfter?: DuePlace | undefined;
    readonly now?: Date;
  },
): Promise<{
  readonly lanes: DueDelivery[][];
  readonly isAll: boolean;
  readonly last: DuePlace | undefined;
}> {
  const found = await database.query(async (queries) => {
    const { id: deliveryId, orderId, state, dueAt, lastStatus, lastError } = webhookDeliveries;
    const waits = and(eq(webhookDeliveries.endpointId, endpointId), eq(state, "pending"));
    const untried =
      untriedAfter &&
      and(
        isNull(lastStatus),
        isNull(lastError),
        // The first half is what the index is read by.
        gte(dueAt, untriedAfter.dueAt),
        or(gt(dueAt, untriedAfter.dueAt), gt(deliveryId, untriedAfter.id)),
      );
    const direction = newestFirst ? desc : asc;
    const due = await queries
      .select({ orderId, dueAt, id: deliveryId })
      .from(webhookDeliveries)
      .where(
        and(
          waits,
          untried,
          lte(dueAt, now),
          except.length === 0 ? undefined : notInArray(orderId, [...except]),
        ),
      )
      .orderBy(direction(dueAt), direction(deliveryId))
      .limit(limit);
    if (due.length === 0) return { lanes: [], isAll: true, last: undefined };
    const orderIds = [...new Set(due.map((row) => row.orderId))];
    const lanes = new Map<string, DueDelivery[]>(orderIds.map((id) => [id, []]));
    for (const row of await read(queries, waitingOf(endpointId, orderIds))) lanes.get(row.orderId)?.push(row);
    return { lanes: [...lanes.values()], isAll: due.length < limit, last: due.at(-1) };
  });
  const held = found.lanes.filter(([first]) => first !== undefined && first.dueAt > now);
  await putOffBehind(database, held);
  return { ...found, lanes: found.lanes.filter(([first]) => first !== undefined && first.dueAt <= now) };
}

/** Until the first of their lane is due. */
async function putOffBehind(database: Database, lanes: readonly DueDelivery[][]): Promise<void> {
  if (!lanes.some(({ length }) => length > 1)) return;
  const { id, state } = webhookDeliveries;
  await database.transaction(async (queries) =>
    queries.commit(
      lanes.flatMap(([first, ...behind]) => {
        if (first === undefined || behind.length === 0) return [];
        const those = behind.map((delivery) => delivery.id);
        return [
          queries
            .update(webhookDeliveries)
            .set({ dueAt: first.dueAt })
            .where(and(inArray(id, those), eq(state, "pending"))),
        ];
      }),
    ),
  );
}

const waitingOf = selectFrom(
  webhookDeliveries,
  ["id", "eventId", "orderId", "attempts", "dueAt", "lastStatus", "lastError", "createdAt"],
  "WHERE endpoint_id = ? AND order_id IN (?) AND state = 'pending' ORDER BY event_id, id",
);

/** How an attempt ended, and what is to become of its delivery. */
export interface AttemptResult {
  readonly deliveryId: number;
  readonly attempt: Omit<WebhookAttempt, "id" | "deliveryId">;
  readonly state: DeliveryState;
  /** Of attempts, which this one makes one more. */
  readonly attempts: number;
  /** When the next one is due; or when this one settled it. */
  readonly dueAt: Date;
}

/** Writes down how attempts ended, of many deliveries at once. @throws {DatabaseError} */
export async function saveAttempts(database: Database, results: readonly AttemptResult[]): Promise<void> {
  const settled = groupBy(results, groupOf);
  const updates = [...settled.values()].flatMap((group): Statement[] => {
    const [first] = group;
    if (first === undefined) return [];
    const { state, attempts, dueAt, attempt } = first;
    const ids = group.map(({ deliveryId }) => deliveryId);
    return [
      {
        sql: `UPDATE webhook_deliveries SET state = ?, attempts = ?, due_at = ?, last_status = ?, last_error = ?
          WHERE id IN (?) AND state = 'pending'`,
        values: [state, attempts, dueAt, attempt.status, attempt.error, ids],
      },
    ];
  });
  const attempts = insertAttempts(results.map(({ deliveryId, attempt }) => ({ deliveryId, ...attempt })));
  await database.transaction((queries) => queries.commit([...updates, attempts]), { lockWaits: 1 });
}

/** What attempts lock: the rows of their deliveries. */
export function attemptLocks(database: Database): Locks<AttemptResult> {
  const locks = rowLocks(database, { delivery: { table: webhookDeliveries, column: webhookDeliveries.id } });
  return { ...locks, keysOf: ({ deliveryId }) => [locks.key("delivery", deliveryId)] };
}

const insertAttempts = insertInto(webhookAttempts, [
  "deliveryId",
  "at",
  "url",
  "durationMs",
  "status",
  "error",
  "response",
]);

/** Those that succeed together become one statement: when exactly each was settled does not matter. */
function groupOf({ deliveryId, state, attempts, attempt }: AttemptResult): string {
  return state === "delivered" ? `${attempts} ${attempt.status}` : `only ${deliveryId}`;
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

/**
 * Has all that waits for an endpoint sent now, whenever it would have been due. @param failedSince only what has failed
 * since then: what failed while the endpoint took others' waits out its own backoff. @throws {DatabaseError}
 */
export async function bringAllForward(
  database: Database,
  endpointId: string,
  failedSince?: Date,
): Promise<void> {
  const now = new Date();
  const options = { now, failedSince, limit: BROUGHT_AT_ONCE };
  while ((await bringForward(database, endpointId, options)) === BROUGHT_AT_ONCE);
}

/** Of those that wait behind such a one nothing is asked: they are sent when that is delivered. */
function hasFailedSince(since: Date): SQL {
  return sql`EXISTS (SELECT 1 FROM ${webhookAttempts}
    WHERE ${webhookAttempts.deliveryId} = ${webhookDeliveries.id} AND ${gte(webhookAttempts.at, since)})`;
}

async function bringForward(
  database: Database,
  endpointId: string,
  {
    now,
    failedSince,
    limit,
  }: { readonly now: Date; readonly failedSince: Date | undefined; readonly limit: number },
): Promise<number> {
  const { state, dueAt } = webhookDeliveries;
  // Tried again after a deadlock with attempts that are written down meanwhile.
  const [{ affectedRows }] = await database.transaction((queries) =>
    queries
      .update(webhookDeliveries)
      .set({ dueAt: now })
      .where(
        and(
          eq(webhookDeliveries.endpointId, endpointId),
          eq(state, "pending"),
          gt(dueAt, now),
          failedSince && hasFailedSince(failedSince),
        ),
      )
      .limit(limit),
  );
  return affectedRows;
}

/**
 * Has a delivery sent again, with all its attempts; noted with it. @returns undefined if there is none.
 * @throws {DatabaseError}
 */
export async function resendDelivery(
  database: Database,
  id: number,
  note: Omit<NewAction, "target">,
): Promise<ListedDelivery | undefined> {
  return database.transaction(async (queries) => {
    const found = await findVisible(queries, id);
    if (found === undefined) return undefined;
    await queries
      .update(webhookDeliveries)
      .set({ state: "pending", attempts: 0, dueAt: new Date() })
      .where(eq(webhookDeliveries.id, id));
    const resent = await findVisible(queries, id);
    await queries.commit([insertAction({ ...note, target: found.endpointId })]);
    return resent;
  });
}

/** The newest deliveries of an endpoint before this one. @throws {DatabaseError} */
export async function listDeliveries(
  database: Database,
  endpointId: string,
  page: {
    readonly limit: number;
    readonly before?: number | undefined;
    readonly state?: DeliveryState | undefined;
  },
): Promise<{ readonly items: readonly ListedDelivery[]; readonly older: number | null }> {
  const { limit, before, state } = page;
  const rows = await database.query((queries) =>
    queries
      .select(LISTED)
      .from(webhookDeliveries)
      .leftJoin(orderEvents, eq(orderEvents.id, webhookDeliveries.eventId))
      .where(
        and(
          eq(webhookDeliveries.endpointId, endpointId),
          before === undefined ? undefined : lt(webhookDeliveries.id, before),
          state === undefined ? undefined : eq(webhookDeliveries.state, state),
        ),
      )
      .orderBy(desc(webhookDeliveries.id))
      .limit(limit + 1),
  );
  const items = rows.slice(0, limit);
  return { items, older: rows.length > limit ? (items.at(-1)?.id ?? null) : null };
}

const LISTED = {
  id: webhookDeliveries.id,
  endpointId: webhookDeliveries.endpointId,
  eventId: webhookDeliveries.eventId,
  orderId: webhookDeliveries.orderId,
  state: webhookDeliveries.state,
  attempts: webhookDeliveries.attempts,
  dueAt: webhookDeliveries.dueAt,
  lastStatus: webhookDeliveries.lastStatus,
  lastError: webhookDeliveries.lastError,
  createdAt: webhookDeliveries.createdAt,
  eventType: orderEvents.type,
  eventTo: orderEvents.toStatus,
};

/** With what the event is; null for a test message. */
export type ListedDelivery = WebhookDelivery & {
  readonly eventType: EventType | null;
  readonly eventTo: string | null;
};

/** One delivery and its attempts, the newest first, up to so many. @throws {DatabaseError} */
export async function findDelivery(
  database: Database,
  id: number,
  mostAttempts = 50,
): Promise<{ readonly delivery: ListedDelivery; readonly attempts: readonly WebhookAttempt[] } | undefined> {
  return database.query(async (queries) => {
    const delivery = await findVisible(queries, id);
    if (delivery === undefined) return undefined;
    const attempts = await queries
      .select()
      .from(webhookAttempts)
      .where(eq(webhookAttempts.deliveryId, id))
      .orderBy(desc(webhookAttempts.id))
      .limit(mostAttempts);
    return { delivery, attempts };
  });
}

/** Of an endpoint that is there. */
async function findVisible(queries: Reads, id: number): Promise<ListedDelivery | undefined> {
  const [row] = await queries
    .select(LISTED)
    .from(webhookDeliveries)
    .innerJoin(webhookEndpoints, eq(webhookEndpoints.id, webhookDeliveries.endpointId))
    .leftJoin(orderEvents, eq(orderEvents.id, webhookDeliveries.eventId))
    .where(and(eq(webhookDeliveries.id, id), ne(webhookEndpoints.state, "deleted")));
  return row;
}

/** What is in the log under these ids. @throws {DatabaseError} */
export async function findEvents(
  database: Database,
  ids: readonly number[],
): Promise<Map<number, LoggedEvent>> {
  if (ids.length === 0) return new Map();
  const rows = await database.query((queries) =>
    queries
      .select(LOGGED_COLUMNS)
      .from(orderEvents)
      .where(inArray(orderEvents.id, [...ids])),
  );
  return new Map(rows.map((row) => [row.id, row]));
}

/** How many deliveries wait, or were given up, up to a limit. @throws {DatabaseError} */
export async function countDeliveries(
  database: Database,
  endpointId: string,
  state: DeliveryState,
  atMost = 1_000,
): Promise<{ readonly count: number; readonly more: boolean }> {
  const rows = await database.query((queries) =>
    queries
      .select({ id: webhookDeliveries.id })
      .from(webhookDeliveries)
      .where(and(eq(webhookDeliveries.endpointId, endpointId), eq(webhookDeliveries.state, state)))
      .limit(atMost + 1),
  );
  return { count: Math.min(rows.length, atMost), more: rows.length > atMost };
}

/**
 * Removes some of what is older than it need be, and of endpoints that were deleted.
 *
 * @returns how many rows were removed: when that is not 0, there may be more. @throws {DatabaseError}
 */
export async function pruneWebhooks(
  database: Database,
  { before, limit }: { readonly before: Date; readonly limit: number },
): Promise<number> {
  const endpoints = await database.query((queries) =>
    queries
      .select({
        id: webhookEndpoints.id,
        state: webhookEndpoints.state,
        disabledAt: webhookEndpoints.disabledAt,
      })
      .from(webhookEndpoints),
  );
  let removed = await removeSome(database, (queries) =>
    queries.delete(webhookAttempts).where(lt(webhookAttempts.at, before)).limit(limit),
  );
  for (const { id, state, disabledAt } of endpoints) {
    const isOld = and(
      inArray(webhookDeliveries.state, ["delivered", "failed"]),
      lt(webhookDeliveries.dueAt, before),
    );
    const ofEndpoint = await removeSome(database, (queries) =>
      queries
        .delete(webhookDeliveries)
        .where(and(eq(webhookDeliveries.endpointId, id), state === "deleted" ? undefined : isOld))
        .limit(limit),
    );
    removed += ofEndpoint;
    // Not at once: deliveries for it may be in the making.
    const isLongGone = disabledAt !== null && Date.now() - disabledAt.getTime() > FORGOTTEN_AFTER_MS;
    if (state === "deleted" && ofEndpoint === 0 && isLongGone)
      await removeSome(database, (queries) =>
        queries.delete(webhookEndpoints).where(eq(webhookEndpoints.id, id)),
      );
  }
  return removed;
}

async function removeSome(
  database: Database,
  remove: (queries: Transaction) => Promise<[{ readonly affectedRows: number }, unknown]>,
): Promise<number> {
  const [{ affectedRows }] = await database.transaction((queries) => remove(queries));
  return affectedRows;
}
