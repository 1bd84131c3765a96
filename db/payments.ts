import type { EventType } from "../src/order/event.ts";
import {
  PAYMENT_STATES,
  type Dispute,
  type DisputeState,
  type Payment,
  type PaymentChange,
  type PaymentState,
} from "../src/order/payment.ts";
import { mayBecome, statesBefore } from "../src/order/states.ts";
import { timestamp } from "../src/platform/clock.ts";
import type { Database } from "./database.ts";
import { DatabaseError } from "./errors.ts";
import { insertEvents, type NewOrderEvent } from "./order-events.ts";
import { lockOrders } from "./order-states.ts";
import type { Statement } from "./queries.ts";
import { shortened } from "./reason.ts";
import { payBackOver } from "./refunds.ts";
import { payments } from "./schema.ts";
import { assignmentsOf, insertInto, read, selectFrom, selectsFrom } from "./statements.ts";

/* The payments below orders. */

const EVENT_OF_STATE = {
  PENDING: "payment.pending",
  AUTHORIZED: "payment.authorized",
  CAPTURED: "payment.captured",
  DECLINED: "payment.declined",
  CANCELLED: "payment.cancelled",
  EXPIRED: "payment.expired",
} as const satisfies Record<PaymentState, EventType>;
const EVENT_OF_DISPUTE = {
  INQUIRY: "dispute.inquiry",
  OPEN: "dispute.opened",
  WON: "dispute.won",
  LOST: "dispute.lost",
  CLOSED: "dispute.closed",
} as const satisfies Record<DisputeState, EventType>;

const KEYS = [
  "orderId",
  "sequence",
  "state",
  "provider",
  "providerId",
  "amount",
  "currency",
  "captured",
  "spentKeys",
  "code",
  "reason",
  "action",
  "expiresAt",
  "dispute",
  "disputed",
  "createdAt",
  "updatedAt",
] as const;

const insertPayments = insertInto(payments, KEYS);
/** What was written ahead becomes what it came to, unless that was written meanwhile. */
const SETTLED_LATER = KEYS.filter(
  (key) => !["orderId", "sequence", "createdAt", "spentKeys", "dispute", "disputed"].includes(key),
);
const insertOrSettle = insertInto(payments, KEYS, settleIfOpen());
const { read: selectByOrder, lock: selectLocked } = selectsFrom(
  payments,
  KEYS,
  "WHERE order_id IN (?) ORDER BY order_id, sequence",
);
const selectByProviderId = selectFrom(payments, KEYS, "WHERE provider_id = ?");

/** An order's last payment, and whether it is new. */
export interface OpenedPayment {
  readonly payment: Payment;
  readonly isNew: boolean;
}

/**
 * Writes an order's first payment down, unless it has one; in batches.
 *
 * @returns the orders' last payments, in the same sequence. @throws {DatabaseError}
 */
export async function openPayments(database: Database, rows: readonly Payment[]): Promise<OpenedPayment[]> {
  try {
    // Nearly always all are new, so existing ones are looked up only after a duplicate.
    await database.transaction((transaction) => transaction.commit([insertPayments(rows)]));
    return rows.map((payment) => ({ payment, isNew: true }));
  } catch (error) {
    if (!(error instanceof DatabaseError && error.isDuplicateKey)) throw error;
  }
  return database.transaction(async (transaction) => {
    const known = lastOf(await read(transaction, selectLocked(rows.map(({ orderId }) => orderId))));
    const fresh = new Map(rows.filter(({ orderId }) => !known.has(orderId)).map((row) => [row.orderId, row]));
    await transaction.commit(fresh.size > 0 ? [insertPayments([...fresh.values()])] : []);
    return rows.map((row) => ({ payment: known.get(row.orderId) ?? row, isNew: !known.has(row.orderId) }));
  });
}

/**
 * Writes down the payment that takes the place of one that has run out, if that is still the order's last.
 *
 * @returns whether it was. @throws {DatabaseError}
 */
export async function openNextPayment(
  database: Database,
  { orderId, sequence }: Pick<Payment, "orderId" | "sequence">,
  next: Payment,
): Promise<boolean> {
  return database.transaction(async (transaction) => {
    const last = (await read(transaction, selectLocked([orderId]))).at(-1);
    const isLast = last?.sequence === sequence && last.state === "EXPIRED";
    await transaction.commit(isLast ? [insertPayments([next])] : []);
    return isLast;
  });
}

/** Orders' payments, by order and sequence. @throws {DatabaseError} */
export async function listPayments(database: Database, orderIds: readonly string[]): Promise<Payment[]> {
  if (orderIds.length === 0) return [];
  return database.query((queries) => read(queries, selectByOrder(orderIds)));
}

/** The payment with this id at its provider; undefined if there is none. @throws {DatabaseError} */
export async function findByProviderId(database: Database, id: string): Promise<Payment | undefined> {
  const [payment] = await database.query((queries) => read(queries, selectByProviderId(id)));
  return payment;
}

/** The provider's id of a payment that is pending. */
export interface Remembered {
  readonly payment: Pick<Payment, "orderId" | "sequence">;
  readonly providerId: string;
}

/**
 * Writes down providers' ids of pending payments, in batches. The first one stays.
 *
 * @returns the payments as they are then, in the same sequence. @throws {DatabaseError}
 */
export async function rememberPayments(
  database: Database,
  given: readonly Remembered[],
): Promise<(Payment | undefined)[]> {
  return database.transaction(async (transaction) => {
    const orderIds = given.map(({ payment }) => payment.orderId);
    const found = new Map((await read(transaction, selectLocked(orderIds))).map((row) => [nameOf(row), row]));
    const writes: Statement[] = [];
    const results = given.map(({ payment, providerId }) => {
      const name = nameOf(payment);
      const row = found.get(name);
      if (row?.state !== "PENDING" || row.providerId !== null) return row;
      const now = { ...row, providerId };
      found.set(name, now);
      writes.push(update(row, { providerId }));
      return now;
    });
    await transaction.commit(writes);
    return results;
  });
}

/**
 * Changes a payment that is still as it was read, and writes the event, if there is one. If it is captured, what was refunded
 * meanwhile is to be paid back.
 *
 * @returns whether it was. @throws {DatabaseError}
 */
export async function changePayment(
  database: Database,
  payment: Payment,
  change: Partial<Omit<Payment, "orderId" | "sequence" | "createdAt">>,
): Promise<boolean> {
  return database.transaction(async (transaction) => {
    // Orders are locked before their payments, as by whoever moves them.
    const orders = await lockOrders(transaction, [payment.orderId]);
    const row = (await read(transaction, selectLocked([payment.orderId]))).find(
      ({ sequence }) => sequence === payment.sequence,
    );
    const isSame =
      row?.state === payment.state &&
      row.providerId === payment.providerId &&
      row.captured === payment.captured &&
      row.spentKeys === payment.spentKeys;
    if (row === undefined || !isSame) return false;
    const { state = row.state } = change;
    if (state !== row.state && !mayBecome(PAYMENT_STATES, row.state, state))
      throw new Error(`a payment in ${row.state} never becomes ${state}`);
    const reason =
      change.reason === undefined || change.reason === null ? {} : { reason: shortened(change.reason) };
    const now: Payment = { ...row, ...change, ...reason, updatedAt: timestamp() };
    const status = orders.get(row.orderId)?.status;
    const isTold = status !== undefined && (now.state !== row.state || isAsked(now, row));
    await transaction.commit([
      update(row, { ...change, ...reason, updatedAt: now.updatedAt }),
      ...(isTold ? insertEvents([paymentEvent(now, status)]) : []),
      ...(state === "CAPTURED" && row.state !== state ? await payBackOver(transaction, now, status) : []),
    ]);
    return true;
  });
}

/**
 * Writes down how a payment is disputed, with the event of a new state, if that is still as it was read.
 *
 * @returns whether it was. @throws {DatabaseError}
 */
export async function recordDispute(
  database: Database,
  { orderId, sequence, dispute, disputed }: Pick<Payment, "orderId" | "sequence" | "dispute" | "disputed">,
  { state, amount }: Dispute,
): Promise<boolean> {
  return database.transaction(async (transaction) => {
    const status = (await lockOrders(transaction, [orderId])).get(orderId)?.status;
    const row = (await read(transaction, selectLocked([orderId]))).find((each) => each.sequence === sequence);
    if (row === undefined || row.dispute !== dispute || row.disputed !== disputed) return false;
    const updatedAt = timestamp();
    const event = (of: string): NewOrderEvent => {
      const told = paymentEvent({ ...row, updatedAt }, of);
      const record = { ...told.record, amount: amount ?? row.captured };
      return { ...told, type: EVENT_OF_DISPUTE[state], record };
    };
    await transaction.commit([
      update(row, { dispute: state, disputed: amount, updatedAt }),
      ...(status === undefined || state === dispute ? [] : insertEvents([event(status)])),
    ]);
    return true;
  });
}

/** What changes of payments come to, for the transaction that moves their orders. */
export function writePayments(changes: readonly PaymentChange[]): Statement[] {
  if (changes.length === 0) return [];
  return [
    insertOrSettle(
      changes.map((change) => ({
        ...change,
        spentKeys: 0,
        dispute: null,
        disputed: null,
        createdAt: change.updatedAt,
      })),
    ),
  ];
}

/** The event of what has become of a payment, while its order had this status. */
export function paymentEvent(
  { orderId, state, provider, providerId, amount, captured, currency, updatedAt, code }: PaymentChange,
  status: string,
): NewOrderEvent {
  return {
    orderId,
    type: EVENT_OF_STATE[state],
    from: status,
    to: status,
    stage: null,
    reason: null,
    record: {
      provider,
      paymentId: providerId,
      amount: captured || amount,
      currency,
      ...(code !== null && { code }),
    },
    at: updatedAt,
  };
}

/** An order's last payments by order. */
function lastOf(rows: readonly Payment[]): Map<string, Payment> {
  return new Map(rows.map((row) => [row.orderId, row]));
}

function update({ orderId, sequence }: Payment, change: Partial<Payment>): Statement {
  const { sql, values } = assignmentsOf(payments, change);
  return {
    sql: `UPDATE payments SET ${sql} WHERE order_id = ? AND sequence = ?`,
    values: [...values, orderId, sequence],
  };
}

/** Whether the customer has to do something now that they had not before. */
function isAsked(now: Payment, before: Payment): boolean {
  return now.action !== null && before.action === null;
}

/** `UPDATE` of a duplicate: each column, if the state it had may become the new one. The state comes last. */
function settleIfOpen(): string {
  const allowed = (["AUTHORIZED", "CAPTURED"] as const)
    .map((to) => {
      const from = statesBefore(PAYMENT_STATES, to).map((state) => `'${state}'`);
      return `(VALUES(state) = '${to}' AND payments.state IN (${from.join(", ")}))`;
    })
    .join(" OR ");
  const columns = SETTLED_LATER.filter((key) => key !== "state").map((key) => payments[key].name);
  return [...columns, "state"]
    .map((name) => `${name} = IF(${allowed}, VALUES(${name}), payments.${name})`)
    .join(", ");
}

function nameOf({ orderId, sequence }: Pick<Payment, "orderId" | "sequence">): string {
  return `${orderId} ${sequence}`;
}
