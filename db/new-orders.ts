import type { CreatedOrder } from "../src/engine/ports.ts";
import type { NewOrder } from "../src/order/order.ts";
import { placed } from "../src/order/change.ts";
import { CREATED } from "../src/order/lifecycle.ts";
import type { Locks } from "../src/platform/contention.ts";
import type { Database } from "./database.ts";
import { DatabaseError } from "./errors.ts";
import { insertEvents } from "./order-events.ts";
import type { Reads, Transaction } from "./queries.ts";
import { rowLocks } from "./row-locks.ts";
import { orderLines, orders } from "./schema.ts";
import { execute, insertInto, read, selectFrom } from "./statements.ts";

/** Maximum rows of one INSERT, which keeps it far below MySQL's `max_allowed_packet` (at least 16 MiB). */
const ROWS_PER_INSERT = 5_000;
const CREATE_TRIES = 4;

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
  "adjustments",
  "customer",
  "billTo",
  "metadata",
  "note",
  "whenSoldOut",
]);
const insertLines = insertInto(orderLines, [
  "orderId",
  "position",
  "sku",
  "quantity",
  "unitPrice",
  "details",
]);
const REQUEST_KEYS = ["id", "createdAt", "requestHash", "idempotencyClient", "idempotencyKey"] as const;
const selectByIdempotency = selectFrom(orders, REQUEST_KEYS, "WHERE idempotency_key IN (?)");
const selectRequested = selectFrom(orders, REQUEST_KEYS, "WHERE id IN (?)");

/**
 * Inserts orders, their lines and their first events in one transaction. However often a client repeats a
 * request with the same idempotency key, and whenever, it creates one order.
 *
 * Can safely be repeated after an unknown outcome: order ids are generated here, so a row with the same id is
 * this very order and not a repeated request.
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
          // Nearly always all are new, so existing ones are looked up only after a duplicate.
          const known = tries === 1 ? NONE_KNOWN : await findKnown(transaction, requested);
          return createUnlessKnown(transaction, requested, known);
        },
        { lockWaits: 1 },
      );
    } catch (error) {
      // Also if another process has inserted one of the keys since the lookup.
      const isKnown = error instanceof DatabaseError && error.isDuplicateKey && tries < CREATE_TRIES;
      if (!isKnown) throw error;
    }
  }
}

/** The rows that new orders lock: their idempotency keys. */
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

/** Orders that exist already. */
interface Known {
  /** Requested orders that an earlier try has inserted, by id. */
  readonly byId: ReadonlyMap<string, KnownOrder>;
  /** By the identity of the request that created them. */
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
    const { id, createdAt, idempotency } = order;
    if (idempotency === null) {
      created.push(order);
      return { id, createdAt, requestHash: null, repeated: false };
    }
    const identity = identityOf(idempotency);
    const earlier = known.get(identity);
    if (earlier) return { ...earlier, repeated: true };
    const own = { id, createdAt, requestHash: idempotency.requestHash, repeated: false };
    known.set(identity, own);
    created.push(order);
    return own;
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

async function insertOrders(transaction: Transaction, created: readonly NewOrder[]): Promise<void> {
  const rows = insertOrderRows(
    created.map((order) =>
      Object.assign(placed(order), {
        adjustments: order.adjustments.length === 0 ? null : order.adjustments,
        whenSoldOut: order.whenSoldOut === "wait" ? order.whenSoldOut : null,
        idempotencyClient: order.idempotency?.client ?? null,
        idempotencyKey: order.idempotency?.key ?? null,
        requestHash: order.idempotency?.requestHash ?? null,
      }),
    ),
  );
  const lines = created.flatMap((order) =>
    order.lines.map(({ sku, quantity, unitPrice, ...details }, position) => ({
      orderId: order.id,
      position,
      sku,
      quantity,
      unitPrice,
      details: Object.keys(details).length === 0 ? null : details,
    })),
  );
  const writes = [rows];
  for (let start = 0; start < lines.length; start += ROWS_PER_INSERT)
    writes.push(insertLines(lines.slice(start, start + ROWS_PER_INSERT)));
  const events = insertEvents(
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
  // All together with COMMIT, unless there are too many lines for one packet.
  const isLong = writes.length > 2;
  if (isLong) for (const write of writes) await execute(transaction, write);
  await transaction.commit(isLong ? events : [...writes, ...events]);
}
