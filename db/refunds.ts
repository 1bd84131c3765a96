import { v7 as uuidv7 } from "uuid";
import type { EventType } from "../src/order/event.ts";
import { cancelledPieces, quantitiesBySku, type Idempotency } from "../src/order/order.ts";
import {
  chargedBack,
  REFUND_STATES,
  type Payment,
  type Refund,
  type RefundState,
} from "../src/order/payment.ts";
import { sumOfWorth } from "../src/order/refund.ts";
import { mayBecome } from "../src/order/states.ts";
import { timestamp } from "../src/platform/clock.ts";
import { fillFromStock } from "./backorders.ts";
import type { Database } from "./database.ts";
import { keptBack, type WantedPieces } from "./kept-back.ts";
import { insertEvents } from "./order-events.ts";
import { laterThan, lockOrders } from "./order-states.ts";
import type { Statement, Transaction } from "./queries.ts";
import { shortened } from "./reason.ts";
import { lockWarehouse } from "./reservations.ts";
import { orders, payments, refunds } from "./schema.ts";
import { insertMovements } from "./stock-movements.ts";
import { lockStock, writeStock } from "./stock.ts";
import { assignmentsOf, insertInto, read, selectFrom } from "./statements.ts";

/* Money that is paid back. */

const KEYS = [
  "id",
  "orderId",
  "sequence",
  "cause",
  "state",
  "amount",
  "currency",
  "reason",
  "lines",
  "restock",
  "actor",
  "requestKey",
  "requestHash",
  "providerId",
  "spentKeys",
  "attempts",
  "failure",
  "dueAt",
  "createdAt",
  "updatedAt",
] as const;

const EVENT_OF_STATE = {
  PENDING: "refund.created",
  SUCCEEDED: "refund.succeeded",
  FAILED: "refund.failed",
} as const satisfies Record<RefundState, EventType>;

const insertRefunds = insertInto(refunds, KEYS);
/** Ids go by the clocks of those who made them. */
const selectByOrder = selectFrom(refunds, KEYS, "WHERE order_id IN (?) ORDER BY order_id, created_at, id");
const selectById = selectFrom(refunds, KEYS, "WHERE id = ? FOR UPDATE");
const selectDue = selectFrom(
  refunds,
  KEYS,
  "WHERE state = 'PENDING' AND due_at <= ? ORDER BY due_at LIMIT ?",
);
const lockPayment = selectFrom(
  payments,
  ["orderId", "sequence", "state", "amount", "captured", "currency", "dispute", "disputed"],
  "WHERE order_id = ? AND sequence = ? FOR UPDATE",
);

type Row = Readonly<typeof refunds.$inferSelect>;

/** The idempotency key was used for another refund of the order. Nothing was changed. */
export class RefundKeyReusedError extends Error {
  override name = "RefundKeyReusedError";
}

/** A refund to be written before the provider is asked. */
export type NewRefund = Pick<
  Refund,
  "orderId" | "sequence" | "cause" | "reason" | "lines" | "restock" | "actor"
> & {
  /** Null for all that is left. */
  readonly amount: number | null;
  /** Pieces to pay for instead: what they are worth, as far as it is left. */
  readonly pieces?: WantedPieces | undefined;
  /** Makes the request safe to repeat: the first refund under it is the answer. */
  readonly idempotency?: Idempotency | undefined;
  /** The provider's id, if the money was paid back already. */
  readonly providerId?: string | undefined;
};

/** What a request for a refund has come to. */
export type OpenedRefund =
  | { readonly refund: Refund; readonly repeated: boolean }
  | {
      /** How much is left, which is less than was asked for. */
      readonly left: number;
      /** How much is not, since it was charged back. */
      readonly chargedBack?: number;
      /** Nothing was written because what is taken has changed since the caller looked. */
      readonly changed?: boolean;
    };

function keyOf({ client, key }: Idempotency): string {
  return `${client} ${key}`;
}

/** @throws {RefundKeyReusedError} */
function repeatedBy(known: Row, idempotency: Idempotency | undefined): Row {
  if (idempotency !== undefined && known.requestHash !== idempotency.requestHash)
    throw new RefundKeyReusedError(
      `the key was used for refund ${known.id}, with another body; use a new key for a new refund`,
    );
  return known;
}

/** The refund that was asked for with this key. @throws {RefundKeyReusedError} {DatabaseError} */
export async function findRefundOf(
  database: Database,
  orderId: string,
  idempotency: Idempotency,
): Promise<Refund | undefined> {
  const all: Row[] = await database.query((queries) => read(queries, selectByOrder([orderId])));
  const known = all.find(({ requestKey }) => requestKey === keyOf(idempotency));
  return known && repeatedBy(known, idempotency);
}

/**
 * Writes a refund down, if so much is left of what was captured, or of what is to be. The payment's row is locked, so that
 * refunds at the same moment never sum up to more.
 *
 * @returns the refund; how much is left if that is less. One for a cancellation is written once.
 * @throws {RefundKeyReusedError} {DatabaseError}
 */
export async function openRefund(database: Database, wanted: NewRefund): Promise<OpenedRefund> {
  const { pieces, idempotency, amount: asked, ...given } = wanted;
  const movable = pieces?.movable ?? ((amount: number) => amount);
  const key = idempotency === undefined ? null : keyOf(idempotency);
  const opened = await database.transaction(async (transaction) => {
    const { orderId, sequence, cause, providerId = null } = given;
    // Stock is locked before orders, as by whoever moves them.
    const taking =
      pieces &&
      ({
        orderId,
        operation: "unreserve",
        lines: pieces.of.filter(({ sku }) => pieces.skus.includes(sku)),
      } as const);
    const warehouse = taking && (await lockWarehouse(transaction, [taking]));
    const order = (await lockOrders(transaction, [orderId])).get(orderId);
    const [payment] = await read(transaction, lockPayment(orderId, sequence));
    const all: Row[] = await read(transaction, selectByOrder([orderId]));
    const known = all.find((each) => isSame(each, cause, key));
    if (known) return { refund: repeatedBy(known, idempotency), repeated: true };
    const isCaptured = payment?.state === "CAPTURED";
    const own = all.filter((each) => (each.cause === "uncaptured") !== isCaptured);
    const gone = isCaptured ? chargedBack(payment) : 0;
    const left = (isCaptured ? payment.captured - gone : (payment?.amount ?? 0)) - sumOf(own);
    const kept = pieces && order && (await keptBack(transaction, order, pieces, all));
    const lines = kept?.lines ?? given.lines;
    const amount = lines === null ? (asked ?? left) : movable(Math.max(0, Math.min(sumOfWorth(lines), left)));
    const isBackAlready = lines?.every(({ quantity, cancelled = 0 }) => quantity === cancelled) ?? false;
    const restock = given.restock === "due" && isBackAlready ? ("done" as const) : given.restock;
    // Pieces come back, or are not shipped, also when nothing is left to be paid for them, or they were free.
    const least = kept && (restock !== "no" || kept.writes.length > 0) ? 0 : 1;
    // What is taken may have changed since the caller looked.
    const isMeant = isCaptured ? cause !== "uncaptured" : cause === "uncaptured";
    if (payment === undefined || !isMeant) return { left, changed: true };
    if (amount > left || amount < least) return { left, chargedBack: gone };
    const at = timestamp();
    const isDone = providerId !== null || cause === "uncaptured";
    const refund: Row = {
      ...given,
      id: uuidv7(),
      state: isDone ? "SUCCEEDED" : "PENDING",
      amount,
      lines,
      restock,
      currency: payment.currency,
      reason: shortened(given.reason),
      requestKey: key,
      requestHash: idempotency?.requestHash ?? null,
      providerId,
      // One for a cancellation has the order's own key, as the cancelling of a payment has.
      spentKeys: cause === "cancelled" ? all.filter((each) => each.cause === cause).length : 0,
      attempts: 0,
      failure: null,
      dueAt: cause === "cancelled" ? new Date(at.getTime() + UNATTENDED_MS) : at,
      createdAt: at,
      updatedAt: at,
    };
    const told = isDone ? ([{ ...refund, state: "PENDING" }, refund] as const) : [refund];
    if (taking && kept) for (const move of kept.moves) warehouse?.make({ orderId, ...move });
    await transaction.commit([
      insertRefunds([refund]),
      ...(kept && order && kept.writes.length > 0 ? [...kept.writes, asChanged(order, at)] : []),
      ...(warehouse?.writes() ?? []),
      ...insertEvents(order === undefined ? [] : told.map((each) => eventOf(each, order.status))),
    ]);
    return { refund, repeated: false };
  });
  if (pieces?.restock && "refund" in opened) await giveAway(database, pieces.skus);
  return opened;
}

/**
 * What was refunded while it was taken is paid back: the refund of it, to be written with the captured payment. The order is
 * locked.
 */
export async function payBackOver(
  transaction: Transaction,
  { orderId, sequence, amount, captured, currency }: Payment,
  status: string | undefined,
): Promise<Statement[]> {
  const all: Row[] = await read(transaction, selectByOrder([orderId]));
  const over = captured + sumOf(all.filter(({ cause }) => cause === "uncaptured")) - amount;
  if (over <= 0) return [];
  const at = timestamp();
  const refund: Row = {
    id: uuidv7(),
    orderId,
    sequence,
    cause: "requested",
    state: "PENDING",
    amount: over,
    currency,
    reason: "refunded while the money was taken",
    lines: null,
    restock: "no",
    actor: null,
    requestKey: null,
    requestHash: null,
    providerId: null,
    spentKeys: 0,
    attempts: 0,
    failure: null,
    dueAt: at,
    createdAt: at,
    updatedAt: at,
  };
  return [insertRefunds([refund]), ...(status === undefined ? [] : insertEvents([eventOf(refund, status)]))];
}

/** Orders may wait for what has become available. Those that are missed here take it when their stage is asked again. */
async function giveAway(database: Database, skus: readonly string[]): Promise<void> {
  await fillFromStock(database, skus).catch(() => undefined);
}

/** So that whoever has read the order before notices, and its stage looks at it. */
function asChanged(
  {
    id,
    changedAt,
    wokenAt,
  }: { readonly id: string; readonly changedAt: Date | null; readonly wokenAt: Date | null },
  at: Date,
): Statement {
  const { sql, values } = assignmentsOf(orders, {
    changedAt: laterThan(changedAt, at),
    wokenAt: laterThan(wokenAt, at),
  });
  return { sql: `UPDATE orders SET ${sql} WHERE id = ?`, values: [...values, id] };
}

/**
 * The stage `cancel` asks for its refunds itself, with its own limits and waits. Only one that nobody has asked for all this
 * time is taken for due. Milliseconds.
 */
const UNATTENDED_MS = 24 * 60 * 60_000;

/** Whether a refund was asked for by the same request, or for the same cancellation. */
function isSame(refund: Row, cause: Refund["cause"], key: string | null): boolean {
  if (cause === "cancelled") return refund.cause === cause && refund.state !== "FAILED";
  return key !== null && refund.requestKey === key;
}

/** What was paid back of an order, or is about to be. Minor units. */
export function sumOf(all: readonly Pick<Refund, "amount" | "state">[]): number {
  return all.reduce((sum, { amount, state }) => (state === "FAILED" ? sum : sum + amount), 0);
}

/** Orders' refunds, oldest first. @throws {DatabaseError} */
export async function listRefunds(database: Database, orderIds: readonly string[]): Promise<Refund[]> {
  if (orderIds.length === 0) return [];
  return database.query((queries) => read(queries, selectByOrder(orderIds)));
}

/** Pending refunds that are to be looked at, the longest overdue first. @throws {DatabaseError} */
export async function listDueRefunds(database: Database, limit: number): Promise<Refund[]> {
  return database.query((queries) => read(queries, selectDue(timestamp(), limit)));
}

/** Has pending refunds of an order looked at at once. @throws {DatabaseError} */
export async function wakeRefunds(database: Database, orderId: string): Promise<void> {
  const statement = {
    sql: "UPDATE refunds SET due_at = ? WHERE order_id = ? AND state = 'PENDING'",
    values: [timestamp(), orderId],
  };
  await database.transaction((transaction) => transaction.commit([statement]));
}

/**
 * Changes a refund that still has its state, and writes the event if the state changes. Its pieces go back into stock in
 * the same transaction, if they are to, once it has succeeded.
 *
 * @returns the refund as it is then; undefined if there is none. @throws {DatabaseError}
 */
export async function changeRefund(
  database: Database,
  { id, orderId, state, restock, lines }: Pick<Refund, "id" | "orderId" | "state" | "restock" | "lines">,
  change: Partial<Pick<Refund, "state" | "providerId" | "spentKeys" | "attempts" | "failure" | "dueAt">>,
): Promise<Refund | undefined> {
  const isBack = change.state === "SUCCEEDED" && restock === "due";
  const back = (of: Refund["lines"]) => (isBack ? piecesBack(of) : new Map<string, number>());
  const known = back(lines);
  const work = async (transaction: Transaction) => {
    // Stock is locked before orders, as by whoever moves them.
    const levels = known.size > 0 ? await read(transaction, lockStock(known.keys())) : [];
    const order = (await lockOrders(transaction, [orderId])).get(orderId);
    const [row] = await read(transaction, selectById(id));
    if (row === undefined || row.state !== state) return row;
    // Some may have come back with their parcel meanwhile.
    const pieces = back(row.lines);
    const { state: next = state } = change;
    if (next !== state && !mayBecome(REFUND_STATES, state, next))
      throw new Error(`a refund in ${state} never becomes ${next}`);
    const written = {
      ...change,
      ...(typeof change.failure === "string" && { failure: shortened(change.failure) }),
      ...(isBack && { restock: "done" as const }),
      updatedAt: timestamp(),
    };
    const now = { ...row, ...written };
    const { sql, values } = assignmentsOf(refunds, written);
    await transaction.commit([
      { sql: `UPDATE refunds SET ${sql} WHERE id = ?`, values: [...values, id] },
      ...writeStock(
        levels.map(({ sku, onHand, reserved }) => ({
          sku,
          onHand: onHand + (pieces.get(sku) ?? 0),
          reserved,
        })),
      ),
      ...insertMovements(
        [...pieces].map(([sku, delta]) => ({
          sku,
          at: now.updatedAt,
          kind: "adjustment" as const,
          delta,
          reason: "refunded",
          reference: id,
          actor: row.actor,
        })),
      ),
      ...insertEvents(now.state !== state && order !== undefined ? [eventOf(now, order.status)] : []),
    ]);
    return now;
  };
  const changed = await database.transaction(work, { lockWaits: 1 });
  if (known.size > 0) await giveAway(database, [...known.keys()]);
  return changed;
}

/** What goes back into stock with a refund, by SKU. */
function piecesBack(lines: Refund["lines"]): ReadonlyMap<string, number> {
  return quantitiesBySku(
    (lines ?? []).flatMap(({ sku, quantity, cancelled = 0, stocked }) =>
      stocked === false || quantity === cancelled ? [] : [{ sku, quantity: quantity - cancelled }],
    ),
  );
}

function eventOf(
  { id, orderId, state, amount, currency, providerId, cause, restock, actor, updatedAt, lines }: Refund,
  status: string,
) {
  const notShipped = cancelledPieces(lines ?? []);
  return {
    orderId,
    type: EVENT_OF_STATE[state],
    from: status,
    to: status,
    stage: null,
    reason: null,
    record: {
      refundId: id,
      providerId,
      amount,
      currency,
      cause,
      ...(state === "PENDING" && notShipped > 0 && { notShipped }),
      // They stay in stock, whatever has become of the money.
      ...(state === "FAILED" && restock === "done" && { restocked: true }),
    },
    at: updatedAt,
    actor: state === "PENDING" ? actor : null,
  };
}
