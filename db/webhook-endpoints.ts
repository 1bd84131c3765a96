import { and, asc, count, desc, eq, inArray, isNull, ne, type SQL } from "drizzle-orm";
import type { EventType } from "../src/order/event.ts";
import type { Database } from "./database.ts";
import type { Reads, Transaction } from "./queries.ts";
import { DatabaseError } from "./errors.ts";
import type { NewAction } from "../src/engine/ports.ts";
import { insertAction } from "./operator-actions.ts";
import { operatorActions, webhookEndpoints } from "./schema.ts";

/** Where events are sent to, as whoever sends knows it: its secrets are for nobody else. */
export type WebhookEndpoint = typeof webhookEndpoints.$inferSelect;

/** What can be said of an endpoint when it is made, and changed later. */
export interface EndpointSettings {
  readonly url: string;
  readonly description: string | null;
  /** Null for all. */
  readonly eventTypes: readonly EventType[] | null;
}

/** Who changes an endpoint, and how: written down with the change. */
export type Note = Omit<NewAction, "target">;

/** What tells a repeated request from another one under the same key. */
export interface RepeatableRequest {
  /** Of the client, its key and what it asked for: the same for the same request. */
  readonly digest: string;
}

/**
 * What became of a request whose answer is a secret:
 *
 * - `done`: now, or by an earlier request under the same key (`repeated`), whose answer can be given again.
 * - `another request`: the key stands for one that asked for something else.
 * - `not told again`: it was done by an earlier request, and its secret has been replaced since, or was made too long ago.
 */
export type SecretMade =
  | { readonly outcome: "done"; readonly endpoint: WebhookEndpoint; readonly repeated: boolean }
  | { readonly outcome: "another request" | "not told again" };

/** Milliseconds for which a secret is told again to a client that repeats its request. */
const TOLD_AGAIN_FOR_MS = 24 * 3_600_000;
const CREATED = "webhook-create";
const ROTATED = "webhook-rotate";

/**
 * Makes an endpoint, and notes who did. A request that can be repeated gives an id that follows from its client and key: so
 * it makes one endpoint, however often it comes.
 *
 * @returns undefined where there are as many as there may be. @throws {DatabaseError}
 */
export async function createEndpoint(
  database: Database,
  endpoint: EndpointSettings & {
    readonly id: string;
    readonly secret: string;
    /** Only events after this one are for it. */
    readonly afterEventId: number;
  },
  { atMost, actor, request }: { atMost: number; actor: string; request?: RepeatableRequest | undefined },
): Promise<SecretMade | undefined> {
  const { id, url } = endpoint;
  const now = new Date();
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
    // The same request, at the same moment.
    if (request !== undefined && error instanceof DatabaseError && error.isDuplicateKey) return create();
    throw error;
  }
}

/** What an earlier request under the same key has made; undefined if there was none. */
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
  // The newest: an endpoint that was forgotten may have had the same id.
  const creation = actions.findIndex(({ action }) => action === CREATED);
  if (actions[creation]?.request !== request.digest) return { outcome: "another request" };
  const isOld = row.createdAt.getTime() < Date.now() - TOLD_AGAIN_FOR_MS;
  const isReplaced = creation > 0;
  if (isOld || isReplaced || row.state === "deleted") return { outcome: "not told again" };
  return done(shaped(row), true);
}

function done(endpoint: WebhookEndpoint | undefined, repeated: boolean): SecretMade {
  if (endpoint === undefined) throw new Error("an endpoint is gone within the transaction that made it");
  return { outcome: "done", endpoint, repeated };
}

function markOf(request: RepeatableRequest | undefined): { readonly request?: string } {
  return request === undefined ? {} : { request: request.digest };
}

/** The newest of these actions on an endpoint come first; each with the request that led to it, if that was repeatable. */
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
    .limit(ACTIONS_LOOKED_AT);
  return rows.map((row) => ({ action: row.action, request: parsed(row.details)?.["request"] }));
}

/** Far more than anybody rotates within the time for which it counts. */
const ACTIONS_LOOKED_AT = 100;

/** All of them, in the order in which they were made. @throws {DatabaseError} */
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
 * Changes what is given, and leaves the rest. At another address nothing has failed yet.
 *
 * @returns undefined if there is none. @throws {DatabaseError}
 */
export async function changeEndpoint(
  database: Database,
  id: string,
  change: Partial<EndpointSettings>,
  note: Note,
): Promise<WebhookEndpoint | undefined> {
  return update(database, id, change.url === undefined ? change : { ...change, failingSince: null }, note);
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
  note: Note,
): Promise<WebhookEndpoint | undefined> {
  const enabled = {
    state: "enabled",
    disabledReason: null,
    disabledAt: null,
    failingSince: null,
    afterEventId,
  } as const;
  return update(database, id, enabled, note, eq(webhookEndpoints.state, "disabled"));
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
  note?: Note,
): Promise<WebhookEndpoint | undefined> {
  const disabled = { state: "disabled", disabledReason: reason, disabledAt: new Date() } as const;
  return update(database, id, disabled, note, eq(webhookEndpoints.state, "enabled"));
}

/** Takes it out of sight at once; what was sent to it is removed by and by. @throws {DatabaseError} */
export async function deleteEndpoint(database: Database, id: string, note: Note): Promise<void> {
  const deleted = {
    state: "deleted",
    disabledReason: "deleted",
    disabledAt: new Date(),
    secret: "",
    previousSecret: null,
    previousSecretUntil: null,
  } as const;
  await update(database, id, deleted, note);
}

/**
 * Gives it another secret, and notes who did; the one before is valid until then. A request that can be repeated does it
 * once. @returns undefined if there is none. @throws {DatabaseError}
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
    if (place >= 0) {
      const isNew = row.previousSecretUntil !== null && row.previousSecretUntil > new Date();
      return place === 0 && isNew ? done(shaped(row), true) : { outcome: "not told again" };
    }
    await queries
      .update(webhookEndpoints)
      .set({
        secret,
        previousSecret: row.secret,
        previousSecretUntil: previousUntil,
        updatedAt: new Date(),
      })
      .where(isThere);
    const rotated = done(await find(queries, id), false);
    await queries.commit([insertAction({ actor, action: ROTATED, target: id, details: markOf(request) })]);
    return rotated;
  });
}

/** Since when every attempt has failed, or null after one that did not. @throws {DatabaseError} */
export async function noteFailingSince(database: Database, id: string, since: Date | null): Promise<void> {
  const condition = since === null ? undefined : isNull(webhookEndpoints.failingSince);
  await database.transaction(async (queries) =>
    queries.commit([
      queries
        .update(webhookEndpoints)
        .set({ failingSince: since })
        .where(and(eq(webhookEndpoints.id, id), condition)),
    ]),
  );
}

const notDeleted = ne(webhookEndpoints.state, "deleted");

/** @param note who does what, if somebody does: written down if there is something to change. */
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
      .set({ ...change, updatedAt: new Date() })
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

/** MariaDB's JSON is text, which the driver may give as such. */
function shaped(row: WebhookEndpoint): WebhookEndpoint {
  const { eventTypes } = row;
  return typeof eventTypes === "string" ? { ...row, eventTypes: JSON.parse(eventTypes) } : row;
}
