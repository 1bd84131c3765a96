import { and, desc, eq, inArray, lt, ne } from "drizzle-orm";
import type { BoundedCount, NewAction } from "../src/engine/ports.ts";
import type { EventType } from "../src/order/event.ts";
import type { Database } from "./database.ts";
import { insertAction } from "./operator-actions.ts";
import type { Reads, Transaction } from "./queries.ts";
import {
  orderEvents,
  webhookAttempts,
  webhookDeliveries,
  webhookEndpoints,
  type DeliveryState,
} from "./schema.ts";
import { nowMs, timestamp } from "../src/platform/clock.ts";

/* Webhook deliveries as clients and operators see them. What the sender does with them is in webhook-sending.ts. */

export type { DeliveryState } from "./schema.ts";
export type WebhookDelivery = typeof webhookDeliveries.$inferSelect;
export type WebhookAttempt = typeof webhookAttempts.$inferSelect;

/** Milliseconds after which a deleted endpoint's row is removed. */
const REMOVED_AFTER_MS = 60_000;
/** Creates a test message, about no event, and records the action. @returns the delivery's id. @throws {DatabaseError} */
export async function makeTestDelivery(
  database: Database,
  delivery: { readonly endpointId: string; readonly id: string },
  note: NewAction,
): Promise<number> {
  const now = timestamp();
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
      .set({ state: "pending", attempts: 0, dueAt: timestamp() })
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
    const isLongGone = disabledAt !== null && nowMs() - disabledAt.getTime() > REMOVED_AFTER_MS;
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
