import { LIMITS } from "../src/order/limits.ts";
import type { OrderLine, StoredOrder } from "../src/order/order.ts";
import { groupBy } from "../src/platform/group-by.ts";
import { holdsOf } from "./amendments.ts";
import type { Database } from "./database.ts";
import { recordsByOrder, recordsOf, type RecordRow } from "./order-events.ts";
import { findPage, type OrderFilter } from "./order-list.ts";
import type { Reads } from "./queries.ts";
import { orderLines, orders, type LineDetails } from "./schema.ts";
import { standingOf } from "./standing.ts";
import { read, readBoth, readThree, selectFrom } from "./statements.ts";

/* Reads orders in batches, so that concurrent callers can share a statement. */

/** The columns of an order that change. */
const HEAD_KEYS = [
  "id",
  "status",
  "failedStage",
  "failedReason",
  "failedAt",
  "waitingStage",
  "waitingFor",
  "waitingSince",
  "waitingUntil",
  "wokenAt",
  "cancelRequestedAt",
  "cancelReason",
  "updatedAt",
  "changedAt",
] as const;
/** The columns of a {@link StoredOrder}. */
const ORDER_KEYS = [
  ...HEAD_KEYS,
  "customerId",
  "reference",
  "currency",
  "total",
  "paymentToken",
  "shipTo",
  "createdAt",
  "adjustments",
  "customer",
  "billTo",
  "metadata",
  "note",
  "holds",
  "whenSoldOut",
] as const;

/** The characters after which a page ends, and how many orders are read at once: one may have a hundred thousand. */
const PAGE_CHARACTERS = 1_000_000;
const FIRST_READ = 10;
const ORDERS_READ = 25;

const selectOrders = selectFrom(orders, ORDER_KEYS, "WHERE id IN (?)");
const selectHeads = selectFrom(orders, HEAD_KEYS, "WHERE id IN (?)");
/** Lines read at once: some megabytes. More than an order has, so that a read has at least one whole order. */
const LINES_READ = 5 * LIMITS.lines;
/** Backwards: the newest orders come first, as on a page. */
const selectLines = selectFrom(
  orderLines,
  ["orderId", "sku", "quantity", "unitPrice", "details"],
  `WHERE order_id IN (?) ORDER BY order_id DESC, position DESC LIMIT ${LINES_READ + 1}`,
);

/** Implements `OrderStore.findOrders`. @throws {DatabaseError} */
export async function findOrders(
  database: Database,
  ids: readonly string[],
  known: (id: string) => StoredOrder | undefined = () => undefined,
): Promise<(StoredOrder | undefined)[]> {
  const rest = new Set(ids);
  const found = await database.query(async (queries) => {
    const fresh = await refreshed(
      queries,
      ids.flatMap((id) => known(id) ?? []),
    );
    for (const id of fresh.keys()) rest.delete(id);
    if (rest.size > 0) await readSome(queries, rest, fresh);
    return fresh;
  });
  // Each with a time limit of its own: only very large orders come here.
  while (rest.size > 0) await database.query((queries) => readSome(queries, rest, found));
  return ids.map((id) => found.get(id));
}

/** Reads as many of the orders as their lines allow, moves them from `rest` to `found`, and drops those that are not there. */
async function readSome(queries: Reads, rest: Set<string>, found: Map<string, StoredOrder>): Promise<void> {
  const ids = [...rest];
  const [rows, lines, records] = await readThree(
    queries,
    selectOrders(ids),
    selectLines(ids),
    recordsOf(ids),
  );
  const cut = cutOff(lines);
  for (const order of assembled(rows, lines, records))
    if (cut === undefined || order.id > cut) found.set(order.id, order);
  for (const id of ids) if (cut === undefined || id > cut) rest.delete(id);
}

/** The order at which lines were cut off, if they were: its lines, and those of older orders, are not all here. */
function cutOff(lines: readonly { readonly orderId: string }[]): string | undefined {
  return lines.length > LINES_READ ? lines.at(-1)?.orderId : undefined;
}

/**
 * Those orders whose status is the known one, and that nobody has changed since. Stage records change only with the
 * status, and nothing else that is not read here ever changes.
 */
async function refreshed(queries: Reads, known: readonly StoredOrder[]): Promise<Map<string, StoredOrder>> {
  if (known.length === 0) return new Map();
  const rows = await read(queries, selectHeads(known.map(({ id }) => id)));
  const heads = new Map(rows.map((row) => [row.id, row]));
  return new Map(
    known.flatMap((order) => {
      const head = heads.get(order.id);
      const isSame =
        head?.status === order.status && head.changedAt?.getTime() === order.changedAt?.getTime();
      return isSame ? [[order.id, { ...order, ...standingOf(head) }] as const] : [];
    }),
  );
}

/**
 * One page of orders, newest first, and the next cursor (null on the last page). Stable while orders arrive,
 * since new ones come before the first page. If few orders match, or they are large, a page may have fewer than its limit.
 * @throws {DatabaseError}
 */
export async function listOrders(
  database: Database,
  filter: OrderFilter,
  { limit, before }: { readonly limit: number; readonly before?: string | undefined },
): Promise<{ items: StoredOrder[]; next: string | null }> {
  const items: StoredOrder[] = [];
  let next = before ?? null;
  let characters = 0;
  for (;;) {
    const asked = Math.min(limit - items.length, ordersThatFit(items.length, characters));
    // Each read has a time limit of its own.
    const { rows, found, older } = await database.query(async (queries) => {
      const page = await findPage(queries, filter, { limit: asked, before: next ?? undefined });
      return { ...page, found: await completed(queries, page.rows) };
    });
    items.push(...found);
    characters += JSON.stringify(found).length;
    next = found.length < rows.length ? (found.at(-1)?.id ?? null) : older;
    const isFull = items.length === limit || characters > PAGE_CHARACTERS;
    if (next === null || isFull || found.length < asked) return { items, next };
  }
}

/** How many orders to read next for a page: what fits if they are as large as those read so far, and at least one. */
function ordersThatFit(orderCount: number, characters: number): number {
  if (orderCount === 0) return FIRST_READ;
  const fitting = Math.floor((PAGE_CHARACTERS / characters - 1) * orderCount);
  return Math.min(Math.max(fitting, 1), ORDERS_READ);
}

type OrderRow = Pick<typeof orders.$inferSelect, (typeof ORDER_KEYS)[number]>;

/** The orders of these rows, newest first, as far as their lines are read at once. */
async function completed(queries: Reads, rows: readonly OrderRow[]): Promise<StoredOrder[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.id);
  const [lines, records] = await readBoth(queries, selectLines(ids), recordsOf(ids));
  const cut = cutOff(lines);
  return assembled(cut === undefined ? rows : rows.filter(({ id }) => id > cut), lines, records);
}

type LineRow = Pick<OrderLine, "sku" | "quantity" | "unitPrice"> & {
  readonly orderId: string;
  readonly details: LineDetails | null;
};

function lineOf({ sku, quantity, unitPrice, details }: LineRow): OrderLine {
  return details === null ? { sku, quantity, unitPrice } : { sku, quantity, unitPrice, ...details };
}

function assembled(
  rows: readonly OrderRow[],
  lineRows: readonly LineRow[],
  recordRows: readonly RecordRow[],
): StoredOrder[] {
  const lines = groupBy(lineRows, ({ orderId }) => orderId);
  const records = recordsByOrder(recordRows);
  return rows.map((row) => ({
    id: row.id,
    customerId: row.customerId,
    reference: row.reference,
    currency: row.currency,
    total: row.total,
    lines: (lines.get(row.id) ?? []).map(lineOf).toReversed(),
    adjustments: row.adjustments ?? [],
    paymentToken: row.paymentToken,
    customer: row.customer,
    shipTo: row.shipTo,
    billTo: row.billTo,
    metadata: row.metadata,
    note: row.note,
    holds: holdsOf(row),
    changedAt: row.changedAt,
    whenSoldOut: row.whenSoldOut ?? "cancel",
    records: records.get(row.id) ?? {},
    createdAt: row.createdAt,
    ...standingOf(row),
  }));
}
