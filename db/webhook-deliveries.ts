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
import type { BoundedCount, NewAction } from "../src/engine/ports.ts";
import { insertAction } from "./operator-actions.ts";
import { LOGGED_COLUMNS, type LoggedEvent } from "./event-log.ts";
import { groupBy } from "../src/platform/group-by.ts";
import type { Locks } from "../src/platform/group-commit.ts";
import { rowLocks } from "./row-locks.ts";
import { orderEvents, webhookAttempts, webhookDeliveries, webhookEndpoints } from "./schema.ts";
import type { DeliveryState } from "./schema.ts";

export type { DeliveryState } from "./schema.ts";
export type WebhookDelivery = typeof webhookDeliveries.$inferSelect;
export type WebhookAttempt = typeof webhookAttempts.$inferSelect;

/** Milliseconds after which a deleted endpoint's row is removed. */
const REMOVED_AFTER_MS = 60_000;
/** Deliveries brought forward by one statement. */
const FORWARD_BATCH = 1_000;

/** An endpoint's subscription to events. */
export interface Subscription {
  readonly id: string;
  /** Null for all types. */
  readonly eventTypes: readonly EventType[] | null;
  /** Only events after this one. */
  readonly afterEventId: number;
}

/** A delivery that is due, or waits behind one that is. */
export type DueDelivery = Pick<
  WebhookDelivery,
  "id" | "eventId" | "orderId" | "attempts" | "dueAt" | "lastStatus" | "lastError" | "createdAt"
>;

/** A cursor in the list of due deliveries. */
export type DuePlace = Pick<DueDelivery, "dueAt" | "id">;

/** Whether it was sent before: it has failed, or is being resent. */
export function wasTried({ attempts, lastStatus, lastError }: DueDelivery): boolean {
  return attempts > 0 || lastStatus !== null || lastError !== null;
}

/**
 * Creates a delivery of each event for each subscribed endpoint, and saves the position in the log, in one transaction.
 * Idempotent.
 *
 * @returns the orders with new deliveries, by endpoint id. @throws {DatabaseError}
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
  const groups = groupBy(rows, ({ endpointId }) => endpointId);
  return new Map([...groups].map(([id, group]) => [id, new Set(group.map(({ orderId }) => orderId))]));
}

const insertDeliveries = insertInto(
  webhookDeliveries,
  ["endpointId", "eventId", "orderId", "state", "attempts", "dueAt", "createdAt"],
  // Keeps existing rows as they are.
  "id = id",
);

/** Creates a test message, about no event, and records the action. @returns the delivery's id. @throws {DatabaseError} */
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
 * When the next delivery of each of these endpoints is due; endpoints without one are left out. One index lookup for each:
 * GROUP BY would read all waiting deliveries. @throws {DatabaseError}
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
 * An endpoint's waiting deliveries, one lane for each order with a due delivery: longest due or newest first. Within a lane,
 * oldest event first: each may be sent when the previous one is settled, and none before the first one is due. Deliveries
 * behind one that is not due are postponed until it is, so that they are not read repeatedly.
 *
 * The cost is that of the index rows read. To find untried deliveries behind thousands of tried ones, pass the place where
 * the last read ended: nothing becomes due before it.
 *
 * @param limit deliveries to read. @param except orders to leave out. @param untriedAfter only untried deliveries, after
 * this place. @returns the lanes; `isAll`: whether nothing else is due; `last`: the place of the last delivery read.
 * @throws {DatabaseError}
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
        // The index is read by this condition.
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
  await postponeBehind(database, held);
  return { ...found, lanes: found.lanes.filter(([first]) => first !== undefined && first.dueAt <= now) };
}

/** Postpones the others in each lane until the first is due. */
async function postponeBehind(database: Database, lanes: readonly DueDelivery[][]): Promise<void> {
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

/** The result of an attempt, and its delivery's new state. */
export interface AttemptResult {
  readonly deliveryId: number;
  readonly attempt: Omit<WebhookAttempt, "id" | "deliveryId">;
  readonly state: DeliveryState;
  /** The number of attempts, including this one. */
  readonly attempts: number;
  /** When the next attempt is due, or when this one settled the delivery. */
  readonly dueAt: Date;
}

/** Saves the results of attempts at many deliveries. @throws {DatabaseError} */
export async function saveAttempts(database: Database, results: readonly AttemptResult[]): Promise<void> {
  const updates = [...groupBy(results, groupOf).values()].map((group): Statement => {
    const { state, attempts, dueAt, attempt } = group[0];
    const ids = group.map(({ deliveryId }) => deliveryId);
    return {
      sql: `UPDATE webhook_deliveries SET state = ?, attempts = ?, due_at = ?, last_status = ?, last_error = ?
        WHERE id IN (?) AND state = 'pending'`,
      values: [state, attempts, dueAt, attempt.status, attempt.error, ids],
    };
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

/** Successes share one statement, since their exact times do not matter. */
function groupOf({ deliveryId, state, attempts, attempt }: AttemptResult): string {
  return state === "delivered" ? `${attempts} ${attempt.status}` : `only ${deliveryId}`;
}

/**
 * Makes all of an endpoint's waiting deliveries due now. @param failedSince only those with a failure since then; those that
 * failed while the endpoint accepted others keep their backoff. @throws {DatabaseError}
 */
export async function bringAllForward(
  database: Database,
  endpointId: string,
  failedSince?: Date,
): Promise<void> {
  const now = new Date();
  const options = { now, failedSince, limit: FORWARD_BATCH };
  while ((await bringForward(database, endpointId, options)) === FORWARD_BATCH);
}

/** Deliveries behind such a one need not match: they are sent once it is delivered. */
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
  // Retried after a deadlock with attempts that are being saved.
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
 * Resends a delivery, with all its attempts, and records the action. @returns undefined if there is no such delivery.
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

/** A delivery with its event's type and status; null for a test message. */
export type ListedDelivery = WebhookDelivery & {
  readonly eventType: EventType | null;
  readonly eventTo: string | null;
};

/** A delivery and its newest attempts, newest first. @throws {DatabaseError} */
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

/** Finds a delivery unless its endpoint is deleted. */
async function findVisible(queries: Reads, id: number): Promise<ListedDelivery | undefined> {
  const [row] = await queries
    .select(LISTED)
    .from(webhookDeliveries)
    .innerJoin(webhookEndpoints, eq(webhookEndpoints.id, webhookDeliveries.endpointId))
    .leftJoin(orderEvents, eq(orderEvents.id, webhookDeliveries.eventId))
    .where(and(eq(webhookDeliveries.id, id), ne(webhookEndpoints.state, "deleted")));
  return row;
}

/** Reads events from the log by id. @throws {DatabaseError} */
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

/** Counts an endpoint's deliveries in a state, up to a limit. @throws {DatabaseError} */
export async function countDeliveries(
  database: Database,
  endpointId: string,
  state: DeliveryState,
  atMost = 1_000,
): Promise<BoundedCount> {
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
 * Removes some of the old attempts and deliveries, and those of deleted endpoints.
 *
 * @returns the number of removed rows; if it is not 0, there may be more. @throws {DatabaseError}
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
    // Not at once: deliveries for it may be being created.
    const isLongGone = disabledAt !== null && Date.now() - disabledAt.getTime() > REMOVED_AFTER_MS;
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
