import type { OrderLine } from "../src/order/order.ts";
import { quantitiesBySku } from "../src/order/order.ts";
import { timestamp } from "../src/platform/clock.ts";
import { groupBy } from "../src/platform/group-by.ts";
import type { Database } from "./database.ts";
import type { Reads, Statement, Transaction } from "./queries.ts";
import { lockStates, Warehouse, type Holding } from "./reservations.ts";
import { backorders } from "./schema.ts";
import { insertInto, read, readBoth, type Selection } from "./statements.ts";
import { lockStock, readStock, type AlsoCommit, type StockLevel } from "./stock.ts";

/*
 * Orders that wait for stock. When goods arrive, the oldest order that can be filled entirely goes first: one that lacks
 * something else holds up nobody. Goods are reserved for it in the transaction in which they arrive, so that no newer order
 * comes between.
 */

const insertRows = insertInto(backorders, ["orderId", "sku", "quantity"], "quantity = VALUES(quantity)");

/** The INSERT of orders that wait from now on, under the lock of their stock. */
export function insertBackorders(
  orders: readonly { readonly orderId: string; readonly lines: readonly OrderLine[] }[],
): Statement[] {
  const rows = orders.flatMap(({ orderId, lines }) =>
    Array.from(quantitiesBySku(lines), ([sku, quantity]) => ({ orderId, sku, quantity })),
  );
  return rows.length > 0 ? [insertRows(rows)] : [];
}

/** The DELETE of orders that wait no longer. */
export function deleteBackorders(orderIds: readonly string[]): Statement[] {
  return orderIds.length > 0
    ? [{ sql: "DELETE FROM backorders WHERE order_id IN (?)", values: [orderIds] }]
    : [];
}

/** Orders looked at in one read, and filled in one transaction. */
const PAGE = 200;

/** What becomes of orders that wait, once the work that adds to stock is committed. */
export interface FillingListener {
  /** Is told which orders have got their goods. */
  readonly onFilled?: (orderIds: readonly string[]) => void;
  /** Is told why more did not get theirs: their stages take them when they are asked again. Without it, this is thrown. */
  readonly onLeft?: (error: unknown) => void;
}

/**
 * Does work that adds to stock, and gives what it adds to the orders that wait for it. With `onLeft`, it fails only if
 * the work does, which is committed by itself.
 *
 * @param work commits what it is given together with the levels that it leads to.
 */
export async function filling<T>(
  database: Database,
  work: (fill: AlsoCommit) => Promise<T>,
  { onFilled, onLeft }: FillingListener = {},
): Promise<T> {
  let skus: readonly string[] = [];
  let first: readonly string[] = [];
  const result = await work(async (transaction, levels) => {
    skus = levels.map(({ sku }) => sku);
    const { filled, writes } = await fillFrom(transaction, levels);
    first = filled;
    return writes;
  });
  const all = [...first];
  try {
    // Those beyond the first page, and those that began to wait while it was read.
    all.push(...(await fillFromStock(database, skus)));
  } catch (error) {
    if (onLeft === undefined) throw error;
    onLeft(error);
  }
  if (all.length > 0) onFilled?.(all);
  return result;
}

/**
 * Gives what is in stock of these SKUs to the orders that wait for it.
 *
 * @returns those that have got theirs. @throws {DatabaseError}
 */
export async function fillFromStock(database: Database, skus: readonly string[]): Promise<readonly string[]> {
  const all: string[] = [];
  for (let more = skus.length > 0; more;) {
    const filled = await fillMore(database, skus);
    all.push(...filled);
    more = filled.length > 0;
  }
  return all;
}

function fillMore(database: Database, skus: readonly string[]): Promise<readonly string[]> {
  return database.transaction(
    async (transaction) => {
      const levels = await read(transaction, lockStock(skus));
      const { filled, writes } = await fillFrom(transaction, levels);
      await transaction.commit(writes);
      return filled;
    },
    { lockWaits: 1 },
  );
}

/** @param levels locked, as they will be. */
async function fillFrom(
  transaction: Transaction,
  levels: readonly StockLevel[],
): Promise<{ readonly filled: readonly string[]; readonly writes: readonly Statement[] }> {
  const waiting = await fillable(transaction, levels);
  if (waiting.length === 0) return { filled: [], writes: [] };
  const locked = new Set(levels.map(({ sku }) => sku));
  const others = waiting
    .flatMap(({ lines }) => lines.map(({ sku }) => sku))
    .filter((sku) => !locked.has(sku));
  const [otherLevels, states] = await readBoth(
    transaction,
    lockStock(new Set(others.length > 0 ? others : [""])),
    lockStates(waiting.map(({ orderId }) => orderId)),
  );
  const warehouse = new Warehouse(states, [...levels, ...otherLevels]);
  // Those that were cancelled, or have got their goods otherwise, wait no longer.
  const over = waiting.filter(({ orderId }) => warehouse.stateOf(orderId) !== undefined);
  const filled = waiting
    .filter((order) => !over.includes(order) && warehouse.make({ ...order, operation: "reserve" }).ok)
    .map(({ orderId }) => orderId);
  const writes = [
    ...warehouse.writes(),
    ...deleteBackorders([...filled, ...over.map(({ orderId }) => orderId)]),
    ...wakeFilled(filled),
  ];
  return { filled, writes };
}

/** Their stages must not wait for what has happened, and deadlines count from now. The sweeper finds them, if nobody else. */
function wakeFilled(orderIds: readonly string[]): Statement[] {
  if (orderIds.length === 0) return [];
  const at = timestamp();
  const sql =
    "UPDATE orders SET woken_at = GREATEST(COALESCE(woken_at + INTERVAL 1000 MICROSECOND, ?), ?), due_from = ? WHERE id IN (?)";
  return [{ sql, values: [at, at, at, orderIds] }];
}

interface BackorderRow {
  readonly orderId: string;
  readonly sku: string;
  readonly quantity: number;
}

/** The oldest orders that can be filled entirely, one after the other, up to a page of them. */
async function fillable(queries: Reads, levels: readonly StockLevel[]): Promise<Holding[]> {
  const left = new Map(levels.map(({ sku, onHand, reserved }) => [sku, onHand - reserved]));
  const arrived = levels.map(({ sku }) => sku);
  const picked: Holding[] = [];
  for (let after = ""; picked.length < PAGE && arrived.some((sku) => (left.get(sku) ?? 0) > 0);) {
    const rows = await read(queries, selectWaiting(arrived, after));
    const unknown = [...new Set(rows.map(({ sku }) => sku))].filter((sku) => !left.has(sku));
    for (const sku of unknown) left.set(sku, 0);
    if (unknown.length > 0)
      for (const { sku, onHand, reserved } of await read(queries, readStock(unknown)))
        left.set(sku, onHand - reserved);
    for (const [orderId, needs] of groupBy(rows, (row) => row.orderId)) {
      after = orderId;
      if (picked.length >= PAGE || needs.some(({ sku, quantity }) => (left.get(sku) ?? 0) < quantity))
        continue;
      for (const { sku, quantity } of needs) left.set(sku, (left.get(sku) ?? 0) - quantity);
      picked.push({ orderId, lines: needs.map(({ sku, quantity }) => ({ sku, quantity, unitPrice: 0 })) });
    }
    if (rows.length === 0) break;
  }
  return picked;
}

/** All that the next orders need that wait for one of these SKUs. Ids sort by age. */
function selectWaiting(skus: readonly string[], after: string): Selection<BackorderRow> {
  return {
    sql: `SELECT needs.order_id AS orderId, needs.sku, needs.quantity
      FROM (SELECT DISTINCT order_id FROM backorders WHERE sku IN (?) AND order_id > ? ORDER BY order_id LIMIT ${PAGE}) waiting
      JOIN backorders needs ON needs.order_id = waiting.order_id ORDER BY needs.order_id, needs.sku`,
    values: [skus, after],
    shape: (rows) => rows,
  };
}
