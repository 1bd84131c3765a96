import { and, asc, count, desc, eq, inArray, isNotNull, ne, notLike, sql, type SQL } from "drizzle-orm";
import type { EventType } from "../src/order/event.ts";
import type { Database } from "./database.ts";
import type { Reads, Transaction } from "./queries.ts";
import { DatabaseError } from "./errors.ts";
import type { NewAction } from "../src/engine/ports.ts";
import { afterRotation } from "./previous-secrets.ts";
import { insertAction } from "./operator-actions.ts";
import { operatorActions, webhookEndpoints } from "./schema.ts";
import { nowMs, timestamp } from "../src/platform/clock.ts";

/** A webhook endpoint with its secrets, which are for the sender only. */
export type WebhookEndpoint = typeof webhookEndpoints.$inferSelect;

/** An endpoint's settings. */
export interface EndpointSettings {
  readonly url: string;
  readonly description: string | null;
  /** Null for all types. */
  readonly eventTypes: readonly EventType[] | null;
}

/** The action to record with a change to an endpoint. */
export type Note = Omit<NewAction, "target">;

/** Distinguishes a repeated request from another one with the same key. */
export interface RepeatableRequest {
  /** A digest of the client, its key and the request's contents. */
  readonly digest: string;
}

/**
 * The outcome of a request that returns a secret:
 *
 * - `done`: now, or by an earlier request with the same key (`repeated`), whose answer can be returned again.
 * - `another request`: the key was used for a different request.
 * - `not told again`: an earlier request did it, but its secret has been replaced since, or is too old to be returned.
 */
export type SecretMade =
  | { readonly outcome: "done"; readonly endpoint: WebhookEndpoint; readonly repeated: boolean }
  | { readonly outcome: "another request" | "not told again" };

/** Milliseconds for which a repeated request gets its secret again. */
const TOLD_AGAIN_FOR_MS = 24 * 3_600_000;
const CREATED = "webhook-create";
const ROTATED = "webhook-rotate";

/**
 * Creates an endpoint, and records the action. For a repeatable request, derive the id from its client and key, so that it
 * creates only one endpoint however often it is sent.
 *
 * @returns undefined if there are already `atMost` endpoints. @throws {DatabaseError}
 */
export async function createEndpoint(
  database: Database,
  endpoint: EndpointSettings & {
    readonly id: string;
    readonly secret: string;
    /** It gets only events after this one. */
    readonly afterEventId: number;
  },
  { atMost, actor, request }: { atMost: number; actor: string; request?: RepeatableRequest | undefined },
): Promise<SecretMade | undefined> {
  const { id, url } = endpoint;
  const now = timestamp();
  const create = () =>
    database.transaction(async (queries) => {
      const earlier = request && (await findCreation(queries, id, request));
      if (earlier) return earlier;
      const [there] = await queries.select({ count: count() }).from(webhookEndpoints).where(notDeleted);
      if ((there?.count ?? 0) >= atMost) return undefined;
      await queries
        .insert(webhookEndpoints)
        .values({ ...endpoint, state: "enabled", createdAt: now, updatedAt: now });
      const created = done(await find(queries, id), false);
      const details = { url, ...markOf(request) };
      await queries.commit([insertAction({ actor, action: CREATED, target: id, details })]);
      return created;
    });
  try {
    return await create();
  } catch (error) {
    // The same request was sent concurrently.
    if (request !== undefined && error instanceof DatabaseError && error.isDuplicateKey) return create();
    throw error;
  }
}

/** The outcome of an earlier request with the same key; undefined if there was none. */
async function findCreation(
  queries: Transaction,
  id: string,
  request: RepeatableRequest,
): Promise<SecretMade | undefined> {
  const [row] = await queries
    .select()
    .from(webhookEndpoints)
    .where(eq(webhookEndpoints.id, id))
    .for("update");
  if (row === undefined) return undefined;
  const actions = await findActions(queries, id, [CREATED, ROTATED]);
  // The newest: an endpoint removed earlier may have had the same id.
  const creation = actions.findIndex(({ action }) => action === CREATED);
  if (actions[creation]?.request !== request.digest) return { outcome: "another request" };
  const isOld = row.createdAt.getTime() < nowMs() - TOLD_AGAIN_FOR_MS;
  const isReplaced = creation > 0;
  if (isOld || isReplaced || row.state === "deleted") return { outcome: "not told again" };
  return done(shaped(row), true);
}

function done(endpoint: WebhookEndpoint | undefined, repeated: boolean): SecretMade {
  if (endpoint === undefined) throw new Error("a webhook endpoint disappeared within its own transaction");
  return { outcome: "done", endpoint, repeated };
}

function markOf(request: RepeatableRequest | undefined): { readonly request?: string } {
  return request === undefined ? {} : { request: request.digest };
}

/** These actions on an endpoint, newest first, each with its request's digest if that was repeatable. */
async function findActions(
  queries: Transaction,
  id: string,
  actions: readonly string[],
): Promise<{ readonly action: string; readonly request: unknown }[]> {
  const { target, action, details } = operatorActions;
  const rows = await queries
    .select({ action, details })
    .from(operatorActions)
    .where(and(eq(target, id), inArray(action, [...actions])))
    .orderBy(desc(operatorActions.id))
    .limit(ACTIONS_READ);
  return rows.map((row) => ({ action: row.action, request: parsed(row.details)?.["request"] }));
}

/** Far more rotations than anyone makes in a day. */
const ACTIONS_READ = 100;

/** All endpoints, oldest first. @throws {DatabaseError} */
export async function listEndpoints(database: Database): Promise<WebhookEndpoint[]> {
  const rows = await database.query((queries) =>
    queries
      .select()
      .from(webhookEndpoints)
      .where(notDeleted)
      .orderBy(asc(webhookEndpoints.createdAt), asc(webhookEndpoints.id)),
  );
  return rows.map(shaped);
}

/** @throws {DatabaseError} */
export async function findEndpoint(database: Database, id: string): Promise<WebhookEndpoint | undefined> {
  return database.query((queries) => find(queries, id));
}

/**
 * Changes the given settings. A new URL also clears `failingSince`.
 *
 * @returns undefined if there is no such endpoint. @throws {DatabaseError}
 */
export async function changeEndpoint(
  database: Database,
  id: string,
  change: Partial<EndpointSettings>,
  note: Note,
): Promise<WebhookEndpoint | undefined> {
  return update(database, id, change.url === undefined ? change : { ...change, ...WELL }, note);
}

/**
 * Enables an endpoint: it gets its waiting deliveries, and events after this one. Does nothing if it is enabled.
 *
 * @returns undefined if there is no such endpoint. @throws {DatabaseError}
 */
export async function enableEndpoint(
  database: Database,
  id: string,
  afterEventId: number,
  note: Note,
): Promise<WebhookEndpoint | undefined> {
  const enabled = {
    state: "enabled",
    disabledReason: null,
    disabledAt: null,
    ...WELL,
    afterEventId,
  } as const;
  return update(database, id, enabled, note, eq(webhookEndpoints.state, "disabled"));
}

/**
 * Disables an endpoint: nothing is sent to it, and it never gets events of that time. Does nothing if it is disabled.
 *
 * @returns undefined if there is no such endpoint. @throws {DatabaseError}
 */
export async function disableEndpoint(
  database: Database,
  id: string,
  reason: string,
  note?: Note,
): Promise<WebhookEndpoint | undefined> {
  const disabled = { state: "disabled", disabledReason: reason, disabledAt: timestamp() } as const;
  return update(database, id, disabled, note, eq(webhookEndpoints.state, "enabled"));
}

/** Hides an endpoint at once; its deliveries are removed gradually. @throws {DatabaseError} */
export async function deleteEndpoint(database: Database, id: string, note: Note): Promise<void> {
  const deleted = {
    state: "deleted",
    disabledReason: "deleted",
    disabledAt: timestamp(),
    secret: "",
    previousSecret: null,
    previousSecretUntil: null,
  } as const;
  await update(database, id, deleted, note);
}

/**
 * Rotates an endpoint's secret, and records the action; the last two before stay valid until `previousUntil`. A repeated
 * request rotates once. @returns undefined if there is no such endpoint. @throws {DatabaseError}
 */
export async function rotateSecret(
  database: Database,
  id: string,
  {
    secret,
    previousUntil,
    actor,
    request,
  }: { secret: string; previousUntil: Date; actor: string; request?: RepeatableRequest | undefined },
): Promise<SecretMade | undefined> {
  return database.transaction(async (queries) => {
    const isThere = and(eq(webhookEndpoints.id, id), notDeleted);
    const [row] = await queries.select().from(webhookEndpoints).where(isThere).for("update");
    if (row === undefined) return undefined;
    const earlier = request && (await findActions(queries, id, [ROTATED]));
    const place = earlier?.findIndex((action) => action.request === request?.digest) ?? -1;
    const isNew = row.previousSecretUntil !== null && row.previousSecretUntil > timestamp();
    if (place >= 0) {
      return place === 0 && isNew ? done(shaped(row), true) : { outcome: "not told again" };
    }
    const at = timestamp();
    await queries
      .update(webhookEndpoints)
      .set({ secret, ...afterRotation(row, { at, until: previousUntil }), updatedAt: at })
      .where(isThere);
    const rotated = done(await find(queries, id), false);
    await queries.commit([insertAction({ actor, action: ROTATED, target: id, details: markOf(request) })]);
    return rotated;
  });
}

/** How an endpoint does. */
export type EndpointCondition = Pick<WebhookEndpoint, "failingSince" | "lastError" | "nextAttemptAt">;

const WELL: EndpointCondition = { failingSince: null, lastError: null, nextAttemptAt: null };

/** Records how an endpoint does; undefined after a success. It has failed since the first time. @throws {DatabaseError} */
export async function saveCondition(
  database: Database,
  id: string,
  failing: (EndpointCondition & { readonly failingSince: Date }) | undefined,
): Promise<void> {
  const { failingSince } = webhookEndpoints;
  const change = failing
    ? { ...failing, failingSince: sql`COALESCE(${failingSince}, ${failing.failingSince})` }
    : WELL;
  await database.transaction(async (queries) =>
    queries.commit([queries.update(webhookEndpoints).set(change).where(eq(webhookEndpoints.id, id))]),
  );
}

/** An endpoint whose every attempt fails, since when, and why. */
export type FailingEndpoint = Pick<WebhookEndpoint, "id" | "url" | "description" | "lastError"> & {
  readonly failingSince: Date;
};

/** The enabled endpoints whose every attempt fails. @throws {DatabaseError} */
export async function listFailing(database: Database): Promise<FailingEndpoint[]> {
  const { id, url, description, lastError, failingSince, state } = webhookEndpoints;
  const rows = await database.query((queries) =>
    queries
      .select({ id, url, description, lastError, failingSince })
      .from(webhookEndpoints)
      .where(and(eq(state, "enabled"), isNotNull(failingSince)))
      .orderBy(asc(failingSince)),
  );
  return rows.flatMap((row) => (row.failingSince ? [{ ...row, failingSince: row.failingSince }] : []));
}

/** An endpoint that Conveyor has disabled, when, and why. */
export type DisabledEndpoint = Pick<WebhookEndpoint, "id" | "url" | "description"> & {
  readonly disabledAt: Date;
  readonly disabledReason: string;
};

/** How the reason begins if an operator has disabled an endpoint. */
export const DISABLED_BY = "disabled by ";

/** The endpoints that Conveyor, and no operator, has disabled, the first one first. @throws {DatabaseError} */
export async function listDisabled(database: Database): Promise<DisabledEndpoint[]> {
  const { id, url, description, disabledAt, disabledReason, state } = webhookEndpoints;
  const rows = await database.query((queries) =>
    queries
      .select({ id, url, description, disabledAt, disabledReason })
      .from(webhookEndpoints)
      .where(and(eq(state, "disabled"), notLike(disabledReason, `${DISABLED_BY}%`)))
      .orderBy(asc(disabledAt)),
  );
  return rows.flatMap((row) =>
    row.disabledAt && row.disabledReason !== null
      ? [{ ...row, disabledAt: row.disabledAt, disabledReason: row.disabledReason }]
      : [],
  );
}

const notDeleted = ne(webhookEndpoints.state, "deleted");

/** @param note recorded if a row changed. */
async function update(
  database: Database,
  id: string,
  change: Partial<typeof webhookEndpoints.$inferInsert>,
  note: Note | undefined,
  condition?: SQL,
): Promise<WebhookEndpoint | undefined> {
  return database.transaction(async (queries) => {
    const [{ affectedRows }] = await queries
      .update(webhookEndpoints)
      .set({ ...change, updatedAt: timestamp() })
      .where(and(eq(webhookEndpoints.id, id), notDeleted, condition));
    const updated = await find(queries, id);
    if (note && affectedRows > 0) await queries.commit([insertAction({ ...note, target: id })]);
    return updated;
  });
}

async function find(queries: Reads, id: string): Promise<WebhookEndpoint | undefined> {
  const [row] = await queries
    .select()
    .from(webhookEndpoints)
    .where(and(eq(webhookEndpoints.id, id), notDeleted));
  return row && shaped(row);
}

function parsed(details: typeof operatorActions.$inferSelect.details) {
  return typeof details === "string" ? JSON.parse(details) : details;
}

/** MariaDB's JSON is text, and the driver may not parse it. */
function shaped(row: WebhookEndpoint): WebhookEndpoint {
  const { eventTypes } = row;
  return typeof eventTypes === "string" ? { ...row, eventTypes: JSON.parse(eventTypes) } : row;
}
