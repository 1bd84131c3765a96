import { and, asc, count, eq, isNull, ne, type SQL } from "drizzle-orm";
import type { EventType } from "../src/order/event.ts";
import type { Database, Queries } from "./database.ts";
import { webhookEndpoints } from "./schema.ts";

/** Where events are sent to, as whoever sends knows it: its secrets are for nobody else. */
export type WebhookEndpoint = typeof webhookEndpoints.$inferSelect;

/** What can be said of an endpoint when it is made, and changed later. */
export interface EndpointSettings {
  readonly url: string;
  readonly description: string | null;
  /** Null for all. */
  readonly eventTypes: readonly EventType[] | null;
}

/** @returns undefined where there are as many as there may be. @throws {DatabaseError} */
export async function createEndpoint(
  database: Database,
  endpoint: EndpointSettings & {
    readonly id: string;
    readonly secret: string;
    /** Only events after this one are for it. */
    readonly afterEventId: number;
  },
  atMost: number,
): Promise<WebhookEndpoint | undefined> {
  const now = new Date();
  return database.query(async (queries) => {
    const [there] = await queries.select({ count: count() }).from(webhookEndpoints).where(notDeleted);
    if ((there?.count ?? 0) >= atMost) return undefined;
    await queries
      .insert(webhookEndpoints)
      .values({ ...endpoint, state: "enabled", createdAt: now, updatedAt: now });
    return find(queries, endpoint.id);
  });
}

/** All of them, in the order in which they were made. @throws {DatabaseError} */
export async function listEndpoints(database: Database): Promise<WebhookEndpoint[]> {
  const rows = await database.query((queries) =>
    queries.select().from(webhookEndpoints).where(notDeleted).orderBy(asc(webhookEndpoints.id)),
  );
  return rows.map(shaped);
}

/** @throws {DatabaseError} */
export async function findEndpoint(database: Database, id: string): Promise<WebhookEndpoint | undefined> {
  return database.query((queries) => find(queries, id));
}

/**
 * Changes what is given, and leaves the rest. At another address nothing has failed yet.
 *
 * @returns undefined if there is none. @throws {DatabaseError}
 */
export async function changeEndpoint(
  database: Database,
  id: string,
  change: Partial<EndpointSettings>,
): Promise<WebhookEndpoint | undefined> {
  return update(database, id, change.url === undefined ? change : { ...change, failingSince: null });
}

/**
 * Enables an endpoint: what waits for it is sent, and events after this one. One that is enabled stays as it is.
 *
 * @returns undefined if there is none. @throws {DatabaseError}
 */
export async function enableEndpoint(
  database: Database,
  id: string,
  afterEventId: number,
): Promise<WebhookEndpoint | undefined> {
  const enabled = {
    state: "enabled",
    disabledReason: null,
    disabledAt: null,
    failingSince: null,
    afterEventId,
  } as const;
  return update(database, id, enabled, eq(webhookEndpoints.state, "disabled"));
}

/**
 * Disables an endpoint: nothing is sent to it, and what happens meanwhile is not for it. One that is disabled stays as it
 * is, with its reason.
 *
 * @returns undefined if there is none. @throws {DatabaseError}
 */
export async function disableEndpoint(
  database: Database,
  id: string,
  reason: string,
): Promise<WebhookEndpoint | undefined> {
  const disabled = { state: "disabled", disabledReason: reason, disabledAt: new Date() } as const;
  return update(database, id, disabled, eq(webhookEndpoints.state, "enabled"));
}

/** Takes it out of sight at once; what was sent to it is removed by and by. @throws {DatabaseError} */
export async function deleteEndpoint(database: Database, id: string): Promise<void> {
  await update(database, id, {
    state: "deleted",
    disabledReason: "deleted",
    disabledAt: new Date(),
    secret: "",
    previousSecret: null,
    previousSecretUntil: null,
  });
}

/** Gives it another secret; the one before is valid until then. @returns undefined if there is none. @throws {DatabaseError} */
export async function rotateSecret(
  database: Database,
  id: string,
  { secret, previousUntil }: { readonly secret: string; readonly previousUntil: Date },
): Promise<WebhookEndpoint | undefined> {
  return database.transaction(async (queries) => {
    const isThere = and(eq(webhookEndpoints.id, id), notDeleted);
    const [row] = await queries
      .select({ secret: webhookEndpoints.secret })
      .from(webhookEndpoints)
      .where(isThere)
      .for("update");
    if (row === undefined) return undefined;
    await queries
      .update(webhookEndpoints)
      .set({
        secret,
        previousSecret: row.secret,
        previousSecretUntil: previousUntil,
        updatedAt: new Date(),
      })
      .where(isThere);
    return find(queries, id);
  });
}

/** Since when every attempt has failed, or null after one that did not. @throws {DatabaseError} */
export async function noteFailingSince(database: Database, id: string, since: Date | null): Promise<void> {
  await database.query((queries) =>
    queries
      .update(webhookEndpoints)
      .set({ failingSince: since })
      .where(
        and(eq(webhookEndpoints.id, id), since === null ? undefined : isNull(webhookEndpoints.failingSince)),
      ),
  );
}

const notDeleted = ne(webhookEndpoints.state, "deleted");

async function update(
  database: Database,
  id: string,
  change: Partial<typeof webhookEndpoints.$inferInsert>,
  condition?: SQL,
): Promise<WebhookEndpoint | undefined> {
  return database.query(async (queries) => {
    await queries
      .update(webhookEndpoints)
      .set({ ...change, updatedAt: new Date() })
      .where(and(eq(webhookEndpoints.id, id), notDeleted, condition));
    return find(queries, id);
  });
}

async function find(queries: Queries, id: string): Promise<WebhookEndpoint | undefined> {
  const [row] = await queries
    .select()
    .from(webhookEndpoints)
    .where(and(eq(webhookEndpoints.id, id), notDeleted));
  return row && shaped(row);
}

/** MariaDB's JSON is text, which the driver may give as such. */
function shaped(row: WebhookEndpoint): WebhookEndpoint {
  const { eventTypes } = row;
  return typeof eventTypes === "string" ? { ...row, eventTypes: JSON.parse(eventTypes) } : row;
}
