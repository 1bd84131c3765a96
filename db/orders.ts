import { and, asc, eq, gt, inArray, isNotNull, isNull, or } from "drizzle-orm";
import { CANCELLED, CREATED } from "../src/order/lifecycle.ts";
import type { AttemptMark, EventType } from "../src/order/event.ts";
import type { NewOrder, OrderLine, StageRecord, StoredOrder } from "../src/order/order.ts";
import { UnexpectedCountError, type Database } from "./database.ts";
import type { Queries, Reads, Statement, Transaction } from "./queries.ts";
import { DatabaseError } from "./errors.ts";
import { execute, insertInto, read, readBoth, readThree, selectFrom } from "./statements.ts";
import {
  appendEvents,
  recordsByOrder,
  recordsOf,
  type NewOrderEvent,
  type RecordRow,
} from "./order-events.ts";
import { findPage, type OrderFilter } from "./order-list.ts";
import { shortened } from "./reason.ts";
import { rowLocks, type Locks } from "./row-locks.ts";
import { orderLines, orders } from "./schema.ts";

/*
 * Everything here works on many orders at once, so that callers who want the same at the same moment can share one
 * statement or one transaction.
 */

/** A move from one status to the next, or to CANCELLED. */
export interface StatusChange extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly from: string;
  readonly to: string;
  /** The stage that did the work; null for a cancellation. */
  readonly stage: string | null;
  readonly reason: string | null;
  readonly record: StageRecord | null;
  /** Leaves the order alone when its cancellation was asked for meanwhile. */
  readonly unlessCancelled: boolean;
  readonly at: Date;
}

/** Rows of one INSERT: keeps a statement far below MySQL's `max_allowed_packet` (16 MiB at the least). */
const ROWS_PER_INSERT = 5_000;
const CREATE_TRIES = 4;

/** What changes of an order while it is on its way. */
const HEAD_KEYS = [
  "id",
  "status",
  "failedStage",
  "failedReason",
  "failedAt",
  "cancelRequestedAt",
  "cancelReason",
  "updatedAt",
] as const;
/** All columns that make a {@link StoredOrder}. */
const ORDER_KEYS = [
  ...HEAD_KEYS,
  "customerId",
  "reference",
  "currency",
  "total",
  "paymentToken",
  "shipTo",
  "createdAt",
] as const;

const insertOrderRows = insertInto(orders, [
  "id",
  "status",
  "customerId",
  "reference",
  "currency",
  "total",
  "paymentToken",
  "shipTo",
  "idempotencyClient",
  "idempotencyKey",
  "requestHash",
  "createdAt",
  "updatedAt",
]);
const insertLines = insertInto(orderLines, ["orderId", "position", "sku", "quantity", "unitPrice"]);
const selectOrders = selectFrom(orders, ORDER_KEYS, "WHERE id IN (?)");
const selectHeads = selectFrom(orders, HEAD_KEYS, "WHERE id IN (?)");
const REQUEST_KEYS = ["id", "createdAt", "requestHash", "idempotencyClient", "idempotencyKey"] as const;
const selectByIdempotency = selectFrom(orders, REQUEST_KEYS, "WHERE idempotency_key IN (?)");
const selectRequested = selectFrom(orders, REQUEST_KEYS, "WHERE id IN (?)");
const selectLines = selectFrom(
  orderLines,
  ["orderId", "sku", "quantity", "unitPrice"],
  "WHERE order_id IN (?) ORDER BY order_id, position",
);
/** In order of id, so that two batches with orders in common wait for each other and don't deadlock. */
const lockOrders = selectFrom(
  orders,
  ["id", "status", "cancelRequestedAt"],
  "WHERE id IN (?) ORDER BY id FOR UPDATE",
);

/** The order that stands for a request to create one. */
export interface CreatedOrder {
  readonly id: string;
  readonly createdAt: Date;
  /** Of the request that made it; null without an idempotency key. */
  readonly requestHash: string | null;
  /** Whether an earlier request under the same key had made it. */
  readonly repeated: boolean;
}

/**
 * Writes orders, their lines and their first events in one transaction. Requests of one client under one idempotency
 * key make one order, however many there are and whenever they come: the first one's.
 *
 * Harmless to repeat when nobody knows whether it was committed: an order's id is our own, so a row that has it is the
 * order itself, and not a repetition.
 *
 * @throws {DatabaseError}
 */
export async function createOrders(
  database: Database,
  requested: readonly NewOrder[],
): Promise<CreatedOrder[]> {
  for (let tries = 1; ; tries++) {
    try {
      return await database.transaction(
        async (transaction) => {
          // Nearly always all are new: only when one was refused, they are looked up before.
          const known = tries === 1 ? NONE_KNOWN : await findKnown(transaction, requested);
          return createUnlessKnown(transaction, requested, known);
        },
        { lockWaits: 1 },
      );
    } catch (error) {
      // Also when another process has written an order under one of the keys since they were looked up.
      const isKnown = error instanceof DatabaseError && error.isDuplicateKey && tries < CREATE_TRIES;
      if (!isKnown) throw error;
    }
  }
}

/** What orders lock that are about to be created: their idempotency keys. */
export function newOrderLocks(database: Database): Locks<NewOrder> {
  const locks = rowLocks(database, {
    request: { table: orders, column: orders.idempotencyKey, index: "orders_by_idempotency" },
  });
  return {
    ...locks,
    keysOf: ({ idempotency }) => (idempotency ? [locks.key("request", idempotency.key)] : []),
  };
}

type KnownOrder = Omit<CreatedOrder, "repeated">;

/** Orders that stand already. */
interface Known {
  /** Of those requested, by their ids: an earlier try has written them. */
  readonly byId: ReadonlyMap<string, KnownOrder>;
  /** By the identity of the request that made them. */
  readonly byIdentity: ReadonlyMap<string, KnownOrder>;
}

const NONE_KNOWN: Known = { byId: new Map(), byIdentity: new Map() };

async function createUnlessKnown(
  transaction: Transaction,
  requested: readonly NewOrder[],
  { byId, byIdentity }: Known,
): Promise<CreatedOrder[]> {
  const known = new Map(byIdentity);
  const created: NewOrder[] = [];
  const answers = requested.map((order): CreatedOrder => {
    const written = byId.get(order.id);
    if (written) return { ...written, repeated: false };
    const earlier = order.idempotency && known.get(identityOf(order.idempotency));
    if (earlier) return { ...earlier, repeated: true };
    const own = {
      id: order.id,
      createdAt: order.createdAt,
      requestHash: order.idempotency?.requestHash ?? null,
    };
    if (order.idempotency) known.set(identityOf(order.idempotency), own);
    created.push(order);
    return { ...own, repeated: false };
  });
  if (created.length > 0) await insertOrders(transaction, created);
  return answers;
}

async function findKnown(queries: Reads, requested: readonly NewOrder[]): Promise<Known> {
  const keys = requested.flatMap(({ idempotency }) => (idempotency ? [idempotency.key] : []));
  const written = await read(queries, selectRequested(requested.map(({ id }) => id)));
  const sameKey = keys.length > 0 ? await read(queries, selectByIdempotency(keys)) : [];
  return {
    byId: new Map(written.map((row) => [row.id, knownOf(row)])),
    byIdentity: new Map(
      sameKey.map((row) => [
        identityOf({ client: row.idempotencyClient, key: row.idempotencyKey }),
        knownOf(row),
      ]),
    ),
  };
}

function knownOf({ id, createdAt, requestHash }: KnownOrder): KnownOrder {
  return { id, createdAt, requestHash };
}

function identityOf({ client, key }: { client: string | null; key: string | null }): string {
  return `${client} ${key}`;
}

/** All at once with COMMIT, but for more lines than one statement should have. */
async function insertOrders(transaction: Transaction, created: readonly NewOrder[]): Promise<void> {
  const rows = insertOrderRows(
    created.map(({ idempotency, ...order }) => ({
      ...order,
      status: CREATED,
      updatedAt: order.createdAt,
      idempotencyClient: idempotency?.client ?? null,
      idempotencyKey: idempotency?.key ?? null,
      requestHash: idempotency?.requestHash ?? null,
    })),
  );
  const lines = created.flatMap((order) =>
    order.lines.map(({ sku, quantity, unitPrice }, position) => ({
      orderId: order.id,
      position,
      sku,
      quantity,
      unitPrice,
    })),
  );
  if (lines.length <= ROWS_PER_INSERT) {
    transaction.atCommit(rows);
    transaction.atCommit(insertLines(lines));
  } else {
    await execute(transaction, rows);
    for (let start = 0; start < lines.length; start += ROWS_PER_INSERT) {
      await execute(transaction, insertLines(lines.slice(start, start + ROWS_PER_INSERT)));
    }
  }
  appendEvents(
    transaction,
    created.map((order) => ({
      orderId: order.id,
      from: null,
      to: CREATED,
      stage: null,
      reason: null,
      record: order.traceparent === undefined ? null : { traceparent: order.traceparent },
      at: order.createdAt,
    })),
  );
}

/**
 * The orders of these ids, in the order of the ids; undefined where there is none.
 *
 * @param known an order as it was read before. What never changes is taken from there, and read is only what may have
 * changed since, which is a small part of it. @throws {DatabaseError}
 */
export async function findOrders(
  database: Database,
  ids: readonly string[],
  known: (id: string) => StoredOrder | undefined = () => undefined,
): Promise<(StoredOrder | undefined)[]> {
  return database.query(async (queries) => {
    const found = await refreshed(
      queries,
      ids.flatMap((id) => known(id) ?? []),
    );
    const others = ids.filter((id) => !found.has(id));
    if (others.length > 0) {
      const rows = await readThree(queries, selectOrders(others), selectLines(others), recordsOf(others));
      for (const order of assembled(...rows)) found.set(order.id, order);
    }
    return ids.map((id) => found.get(id));
  });
}

/**
 * Those orders that still have the status in which they are known: what their stages left behind comes with a status, and
 * all else of what is not read here stands from the beginning.
 */
async function refreshed(queries: Reads, known: readonly StoredOrder[]): Promise<Map<string, StoredOrder>> {
  if (known.length === 0) return new Map();
  const rows = await read(queries, selectHeads(known.map(({ id }) => id)));
  const heads = new Map(rows.map((row) => [row.id, row]));
  return new Map(
    known.flatMap((order) => {
      const head = heads.get(order.id);
      return head?.status === order.status ? [[order.id, { ...order, ...marksOf(head) }] as const] : [];
    }),
  );
}

/**
 * One page of orders, newest first, and the id to go on after (null on the last page). Stable while orders arrive:
 * new ones come before the first page. A page may have fewer orders than its limit where few match.
 * @throws {DatabaseError}
 */
export async function listOrders(
  database: Database,
  filter: OrderFilter,
  page: { readonly limit: number; readonly before?: string | undefined },
): Promise<{ items: StoredOrder[]; next: string | null }> {
  return database.query(async (queries) => {
    const { rows, older } = await findPage(queries, filter, page);
    return { items: await completed(queries, rows), next: older };
  });
}

/** What became of a change. */
export interface ChangeResult {
  /** Whether it was made. */
  readonly made: boolean;
  /** Whether the order is to be cancelled, as far as anybody knew when it was moved. */
  readonly toBeCancelled: boolean;
}

/**
 * Moves orders on, each only if it still has the status that it is moved from (compare-and-set), and appends their
 * events in the same transaction. A moved order is no longer marked as failed.
 *
 * @param beforeCommit called when all is ready, and nothing committed yet.
 * @returns for each change what became of it. @throws {DatabaseError}
 */
export async function changeStatuses(
  database: Database,
  changes: readonly StatusChange[],
  beforeCommit?: () => void,
): Promise<ChangeResult[]> {
  try {
    return await database.transaction(
      async (transaction) => {
        for (const group of groupsOf(changes)) transaction.atCommit(moveGroup(group), group.length);
        appendChanges(transaction, changes);
        beforeCommit?.();
        return changes.map(({ to }) => ({ made: true, toBeCancelled: to === CANCELLED }));
      },
      { lockWaits: 1 },
    );
  } catch (error) {
    // Nearly always all of them apply: only when one does not, each order is looked at before.
    if (!(error instanceof UnexpectedCountError)) throw error;
    return changeLocked(database, changes, beforeCommit);
  }
}

/** The same with a look at each order before. */
async function changeLocked(
  database: Database,
  changes: readonly StatusChange[],
  beforeCommit?: () => void,
): Promise<ChangeResult[]> {
  const work = async (transaction: Transaction): Promise<ChangeResult[]> => {
    const current = await lock(
      transaction,
      changes.map((change) => change.orderId),
    );
    const results = changes.map((change): ChangeResult => {
      const order = current.get(change.orderId);
      const toBeCancelled = order !== undefined && order.cancelRequestedAt !== null;
      const made = order?.status === change.from && !(change.unlessCancelled && toBeCancelled);
      // Two changes of one order in one call: the second one finds the status moved.
      if (made) order.status = change.to;
      return { made, toBeCancelled };
    });
    const applied = changes.filter((_, index) => results[index]?.made);
    for (const group of groupsOf(applied)) transaction.atCommit(moveLocked(group), group.length);
    appendChanges(transaction, applied);
    beforeCommit?.();
    return results;
  };
  return database.transaction(work, { lockWaits: 1 });
}

/** What changes of status lock: the rows of their orders. */
export function statusLocks(database: Database): Locks<StatusChange> {
  const locks = rowLocks(database, { order: { table: orders, column: orders.id } });
  return { ...locks, keysOf: ({ orderId }) => [locks.key("order", orderId)] };
}

async function lock(queries: Queries, ids: readonly string[]) {
  const rows = await read(queries, lockOrders(ids));
  return new Map(rows.map((row) => [row.id, row]));
}

/** By what one statement can do; none is empty. */
function groupsOf(changes: readonly StatusChange[]): Iterable<StatusChanges> {
  const groups = new Map<string, [StatusChange, ...StatusChange[]]>();
  for (const change of changes) {
    const kind = `${change.from} ${change.to}`;
    const group = groups.get(kind);
    if (group) group.push(change);
    else groups.set(kind, [change]);
  }
  return groups.values();
}

type StatusChanges = readonly [StatusChange, ...StatusChange[]];

/**
 * Affects the orders that have the status which they are moved from, and of which nobody wants anything else: orders to
 * be cancelled are only ever moved to CANCELLED without a look at them.
 */
function moveGroup(group: StatusChanges): Statement {
  const { sql, values } = moveLocked(group);
  return group[0].to === CANCELLED
    ? { sql, values }
    : { sql: `${sql} AND cancel_requested_at IS NULL`, values };
}

/** By the primary key, so that rows are locked in order of id. */
function moveLocked(group: StatusChanges): Statement {
  const { from, to } = group[0];
  return {
    sql: `UPDATE orders FORCE INDEX (PRIMARY)
      SET status = ?, updated_at = ?, failed_stage = NULL, failed_reason = NULL, failed_at = NULL
      WHERE id IN (?) AND status = ?`,
    values: [to, latest(group), group.map(({ orderId }) => orderId), from],
  };
}

function appendChanges(transaction: Transaction, changes: readonly StatusChange[]): void {
  appendEvents(
    transaction,
    changes.map(({ unlessCancelled, ...event }) => event),
  );
}

/** Why an order is to be cancelled, and who says so. */
export interface CancellationRequest extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly whileIn: readonly string[];
  readonly reason: string;
  readonly at: Date;
  /** Who asked for it; absent for what the service found by itself. */
  readonly actor?: string | null;
  /** The stage that said no, in this attempt; absent for a request from outside. */
  readonly stage?: string;
}

/**
 * Notes that an order is to be cancelled, if it still has one of these statuses; the first request and its reason
 * stand. Nothing is undone here: the executor does that at the next boundary between stages.
 *
 * @returns whether the order is to be cancelled now. @throws {DatabaseError}
 */
export async function requestCancellation(
  database: Database,
  request: CancellationRequest,
): Promise<boolean> {
  const inStatus = and(eq(orders.id, request.orderId), inArray(orders.status, [...request.whileIn]));
  const reason = shortened(request.reason);
  return database.transaction(async (queries) => {
    const [noted] = await queries
      .update(orders)
      .set({ cancelRequestedAt: request.at, cancelReason: reason, updatedAt: request.at })
      .where(and(inStatus, isNull(orders.cancelRequestedAt)));
    const [order] = await queries
      .select({ at: orders.cancelRequestedAt, status: orders.status })
      .from(orders)
      .where(inStatus);
    if (order && noted.affectedRows === 1) {
      const { whileIn, stage = null, ...event } = request;
      appendUnmoved(queries, "cancel-requested", [{ ...event, status: order.status, stage, reason }]);
    }
    return order !== undefined && order.at !== null;
  });
}

/**
 * Like {@link requestCancellation} for many orders of one status, for the same reason. @returns of how many it was noted
 * now. @throws {DatabaseError}
 */
export async function requestCancellations(
  database: Database,
  request: { orderIds: readonly string[]; status: string; reason: string; at: Date },
): Promise<number> {
  if (request.orderIds.length === 0) return 0;
  const { status, at } = request;
  const reason = shortened(request.reason);
  return database.transaction(async (queries) => {
    const current = await lock(queries, request.orderIds);
    const ids = [...current.values()].flatMap((order) =>
      order.status === status && order.cancelRequestedAt === null ? [order.id] : [],
    );
    if (ids.length === 0) return 0;
    await queries
      .update(orders)
      .set({ cancelRequestedAt: at, cancelReason: reason, updatedAt: at })
      .where(inArray(orders.id, ids));
    appendUnmoved(
      queries,
      "cancel-requested",
      ids.map((orderId) => ({ orderId, status, stage: null, reason, at })),
    );
    return ids.length;
  });
}

export interface OrderFailure extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly whileIn: readonly string[];
  readonly stage: string;
  readonly reason: string;
  readonly at: Date;
}

/** Marks an order as resting in a step's failed set, unless it has moved on to another status. @throws {DatabaseError} */
export async function markFailed(database: Database, failure: OrderFailure): Promise<void> {
  const { whileIn, ...event } = failure;
  const { orderId, stage, at } = failure;
  const reason = shortened(failure.reason);
  await database.transaction(async (queries) => {
    const status = (await lock(queries, [orderId])).get(orderId)?.status;
    if (status === undefined || !whileIn.includes(status)) return;
    await queries
      .update(orders)
      .set({ failedStage: stage, failedReason: reason, failedAt: at, updatedAt: at })
      .where(eq(orders.id, orderId));
    appendUnmoved(queries, "failed", [{ ...event, status, reason }]);
  });
}

/** Takes the mark back: the stage goes on, though it is not done yet. @throws {DatabaseError} */
export async function clearFailed(database: Database, orderId: string): Promise<void> {
  await database.transaction(async (queries) =>
    queries.atCommit(
      queries
        .update(orders)
        .set({ failedStage: null, failedReason: null, failedAt: null, updatedAt: new Date() })
        .where(eq(orders.id, orderId)),
    ),
  );
}

export interface FailureFilter {
  readonly stage?: string | undefined;
  /** Exactly as the orders tell it. */
  readonly reason?: string | undefined;
  /** Only orders that failed before then. */
  readonly before?: Date | undefined;
}

/** A place in the list of failed orders: after this one. */
export interface FailurePlace {
  readonly stage: string;
  readonly id: string;
}

/**
 * Looks through the next `limit` failed orders, and takes the mark off those that the filter is for: they are on their
 * way again, and the sweeper finds that their jobs have ended. Not a change of the order: its time stays, so that the
 * sweeper finds it at once. Whoever takes a mark off first, counts it.
 *
 * @param actor who asks for it.
 * @returns how many there were, and the place to go on after; undefined at the end of the list. @throws {DatabaseError}
 */
export async function resumeFailed(
  database: Database,
  filter: FailureFilter,
  limit: number,
  after?: FailurePlace,
  actor: string | null = null,
): Promise<{ readonly resumed: number; readonly next: FailurePlace | undefined }> {
  const page = await listFailures(database, filter, limit, after);
  const chosen = page.filter(
    ({ reason, at }) =>
      (filter.reason === undefined || reason === filter.reason) &&
      (filter.before === undefined || (at !== null && at < filter.before)),
  );
  const last = page.length === limit ? page.at(-1) : undefined;
  return {
    resumed: await takeMarks(
      database,
      chosen.map(({ id }) => id),
      actor,
    ),
    next: last && { stage: last.stage ?? "", id: last.id },
  };
}

/** In order of stage and id. Like {@link listStates}, it reads the rows of the page and no others. */
async function listFailures(
  database: Database,
  { stage }: FailureFilter,
  limit: number,
  after: FailurePlace = { stage: stage ?? "", id: "" },
) {
  const sameStage = and(eq(orders.failedStage, after.stage), gt(orders.id, after.id));
  return database.query((queries) =>
    queries
      .select({
        id: orders.id,
        stage: orders.failedStage,
        reason: orders.failedReason,
        at: orders.failedAt,
      })
      .from(orders, { forceIndex: "orders_by_failure" })
      .where(stage === undefined ? or(gt(orders.failedStage, after.stage), sameStage) : sameStage)
      // By the stage too where there is one only, and MariaDB would sort what is in order.
      .orderBy(...(stage === undefined ? [asc(orders.failedStage)] : []), asc(orders.id))
      .limit(limit),
  );
}

/**
 * Takes the mark off those of these orders that have failed: they are on their way again. @param actor who asks for it.
 * @returns how many had failed. @throws {DatabaseError}
 */
export async function takeMarks(
  database: Database,
  ids: readonly string[],
  actor: string | null,
): Promise<number> {
  if (ids.length === 0) return 0;
  const at = new Date();
  return database.transaction(async (queries) => {
    // Not by the stage, which has an index: MySQL may go through all that failed, and lock them.
    const marked = await queries
      .select({ orderId: orders.id, status: orders.status, stage: orders.failedStage })
      .from(orders, { forceIndex: "PRIMARY" })
      .where(and(inArray(orders.id, [...ids]), isNotNull(orders.failedAt)))
      .orderBy(asc(orders.id))
      .for("update");
    if (marked.length === 0) return 0;
    await queries
      .update(orders)
      .set({ failedStage: null, failedReason: null, failedAt: null })
      .where(
        inArray(
          orders.id,
          marked.map(({ orderId }) => orderId),
        ),
      );
    appendUnmoved(
      queries,
      "resumed",
      marked.map((order) => ({ ...order, reason: null, at, actor })),
    );
    return marked.length;
  });
}

/** Events of orders that stay where they stand. */
function appendUnmoved(
  transaction: Transaction,
  type: Exclude<EventType, "status">,
  events: readonly (Omit<NewOrderEvent, "type" | "from" | "to" | "record"> & { readonly status: string })[],
): void {
  appendEvents(
    transaction,
    events.map(({ status, ...event }) => ({ ...event, type, from: status, to: status, record: null })),
  );
}

/** An order as whoever looks for what is late or lost needs to see it. */
export interface OrderState {
  readonly id: string;
  readonly status: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** When it came to rest in a failed set, if it rests there now. */
  readonly failedAt: Date | null;
  readonly cancelRequestedAt: Date | null;
}

/**
 * One page of the orders of a status, in order of id. However many there are, and whatever is the matter with them, it
 * reads the rows of the page and no others. @throws {DatabaseError}
 */
export async function listStates(
  database: Database,
  page: { readonly status: string; readonly after?: string | undefined; readonly limit: number },
): Promise<OrderState[]> {
  return database.query((queries) =>
    queries
      .select({
        id: orders.id,
        status: orders.status,
        createdAt: orders.createdAt,
        updatedAt: orders.updatedAt,
        failedAt: orders.failedAt,
        cancelRequestedAt: orders.cancelRequestedAt,
      })
      // Left to itself, MariaDB looks up the status and then reads all of its entries up to the id.
      .from(orders, { forceIndex: "orders_by_status" })
      .where(
        and(eq(orders.status, page.status), page.after === undefined ? undefined : gt(orders.id, page.after)),
      )
      .orderBy(asc(orders.id))
      .limit(page.limit),
  );
}

/** Every status that some order has. @throws {DatabaseError} */
export async function listStatuses(database: Database): Promise<string[]> {
  const rows = await database.query((queries) =>
    queries.selectDistinct({ status: orders.status }).from(orders),
  );
  return rows.map((row) => row.status);
}

type OrderHead = Pick<typeof orders.$inferSelect, (typeof HEAD_KEYS)[number]>;
type OrderRow = Pick<typeof orders.$inferSelect, (typeof ORDER_KEYS)[number]>;

function latest(changes: readonly StatusChange[]): Date {
  return new Date(Math.max(...changes.map((change) => change.at.getTime())));
}

async function completed(queries: Reads, rows: readonly OrderRow[]): Promise<StoredOrder[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.id);
  return assembled(rows, ...(await readBoth(queries, selectLines(ids), recordsOf(ids))));
}

function assembled(
  rows: readonly OrderRow[],
  lineRows: readonly LineRow[],
  recordRows: readonly RecordRow[],
): StoredOrder[] {
  const lines = linesByOrder(lineRows);
  const records = recordsByOrder(recordRows);
  return rows.map((row) => ({
    id: row.id,
    status: row.status,
    customerId: row.customerId,
    reference: row.reference,
    currency: row.currency,
    total: row.total,
    lines: lines.get(row.id) ?? [],
    paymentToken: row.paymentToken,
    shipTo: row.shipTo,
    records: records.get(row.id) ?? {},
    createdAt: row.createdAt,
    ...marksOf(row),
  }));
}

function marksOf(row: OrderHead): Pick<StoredOrder, "failed" | "cancellation" | "updatedAt"> {
  return {
    failed:
      row.failedStage === null || row.failedAt === null
        ? null
        : { stage: row.failedStage, reason: row.failedReason ?? "", at: row.failedAt },
    cancellation:
      row.cancelRequestedAt === null
        ? null
        : { reason: row.cancelReason ?? "", requestedAt: row.cancelRequestedAt },
    updatedAt: row.updatedAt,
  };
}

type LineRow = OrderLine & { readonly orderId: string };

function linesByOrder(rows: readonly LineRow[]): Map<string, OrderLine[]> {
  const lines = new Map<string, OrderLine[]>();
  for (const { orderId, sku, quantity, unitPrice } of rows) {
    const known = lines.get(orderId);
    if (known) known.push({ sku, quantity, unitPrice });
    else lines.set(orderId, [{ sku, quantity, unitPrice }]);
  }
  return lines;
}
