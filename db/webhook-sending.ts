import {
  and,
  asc,
  desc,
  eq,
  gt,
  gte,
  inArray,
  isNull,
  lte,
  notInArray,
  or,
  sql,
  type SQL,
} from "drizzle-orm";
import { groupBy } from "../src/platform/group-by.ts";
import type { Locks } from "../src/platform/contention.ts";
import type { Database } from "./database.ts";
import type { LoggedEvent } from "./event-log.ts";
import type { Reads, Statement } from "./queries.ts";
import { rowLocks } from "./row-locks.ts";
import { webhookAttempts, webhookDeliveries, type DeliveryState } from "./schema.ts";
import { insertInto, read, selectFrom, type Selection } from "./statements.ts";
import type { WebhookAttempt, WebhookDelivery } from "./webhook-deliveries.ts";
import type { WebhookEndpoint } from "./webhook-endpoints.ts";
import { timestamp } from "../src/platform/clock.ts";

/* What the sender of webhooks reads and writes. */

/** Deliveries brought forward by one statement. */
const FORWARD_BATCH = 1_000;

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
    readonly endpoints: readonly Pick<WebhookEndpoint, "id" | "eventTypes" | "afterEventId">[];
    readonly position: number;
  },
): Promise<Map<string, Set<string>>> {
  const now = timestamp();
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

/**
 * When the next delivery of each of these endpoints is due; endpoints without one are left out. One index lookup for each:
 * GROUP BY would read all waiting deliveries. @throws {DatabaseError}
 */
export async function findNextDue(
  database: Database,
  endpointIds: readonly string[],
): Promise<Map<string, Date>> {
  if (endpointIds.length === 0) return new Map();
  const next: Selection<{ readonly id: string; readonly dueAt: Date | null }> = {
    sql: `SELECT id, (
        SELECT due_at FROM webhook_deliveries FORCE INDEX (webhook_deliveries_by_due)
        WHERE endpoint_id = webhook_endpoints.id AND state = 'pending' ORDER BY due_at LIMIT 1
      ) AS dueAt FROM webhook_endpoints WHERE id IN (?)`,
    values: [endpointIds],
    shape: (rows) => rows,
  };
  const rows = await database.query((queries) => read(queries, next));
  return new Map(rows.flatMap(({ id, dueAt }) => (dueAt === null ? [] : [[id, dueAt] as const])));
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
    now = timestamp(),
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
    const due = await findDue(queries, endpointId, { limit, except, newestFirst, untriedAfter, now });
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

/** The due deliveries of an endpoint, along the index by due time. */
async function findDue(
  queries: Reads,
  endpointId: string,
  options: {
    readonly limit: number;
    readonly except: readonly string[];
    readonly newestFirst: boolean;
    readonly untriedAfter: DuePlace | undefined;
    readonly now: Date;
  },
) {
  const { limit, except, newestFirst, untriedAfter, now } = options;
  const { id, orderId, state, dueAt, lastStatus, lastError } = webhookDeliveries;
  const untried =
    untriedAfter &&
    and(
      isNull(lastStatus),
      isNull(lastError),
      // The index is read by this condition.
      gte(dueAt, untriedAfter.dueAt),
      or(gt(dueAt, untriedAfter.dueAt), gt(id, untriedAfter.id)),
    );
  const direction = newestFirst ? desc : asc;
  return queries
    .select({ orderId, dueAt, id })
    .from(webhookDeliveries)
    .where(
      and(
        eq(webhookDeliveries.endpointId, endpointId),
        eq(state, "pending"),
        untried,
        lte(dueAt, now),
        except.length === 0 ? undefined : notInArray(orderId, [...except]),
      ),
    )
    .orderBy(direction(dueAt), direction(id))
    .limit(limit);
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
  const now = timestamp();
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
