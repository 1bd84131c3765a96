import { CANCELLED, CREATED, lifecycle } from "../../src/order/lifecycle.ts";
import { WITHDRAWN } from "../../src/engine/withdrawals.ts";
import { groupBy } from "../../src/platform/group-by.ts";
import { CUSTOMERS_REASON } from "./customers.ts";
import type { Evidence, EventRow, OrderRow, ShipmentRow } from "./evidence.ts";
import type { InjectedFault } from "./faults.ts";
import { FAULT_NAMES, KINDS, type FaultKind } from "./kinds.ts";
import { faultsOfLabels, faultsOfPieces, hasLeft } from "./parcels.ts";

/** A promise, checked against the evidence. */
export interface Check {
  readonly promise: string;
  /** How many items were checked, and of what: `5,000 orders`. */
  readonly checked: number;
  readonly of: string;
  /** The breaches, one line each, naming the order, SKU or queue. */
  readonly breaches: readonly string[];
}

const PAID = "PAID";

/** Whether the service withdrew the order because the client could not be told that it was accepted. */
export function isWithdrawn({ status, cancelReason }: OrderRow): boolean {
  return status === CANCELLED && cancelReason === WITHDRAWN;
}

const DELIVERED = "DELIVERED";

/**
 * Compares the books of all parties: the answers that customers got, the contents of MySQL and Redis, and the
 * records of the payment provider and the carrier. Uses none of the service's code except the table of stages.
 */
export function audit(evidence: Evidence): Check[] {
  const books = new Books(evidence);
  return [
    everyOrderEnded(books),
    nothingFailed(books),
    everyOrderRequested(books),
    ordersAsOrdered(books),
    oneOrderPerKey(books),
    sameAnswers(books),
    expectedAnswers(books),
    cancellationsKept(books),
    cancelledWithCause(books),
    charges(books),
    refunds(books),
    labels(books),
    parcels(books),
    stockAtTheEnd(books),
    reservations(books),
    stockAllThrough(books),
    legalPaths(books),
    noJobLeft(books),
  ];
}

/** The number of broken promises. */
export function countBreaches(checks: readonly Check[]): number {
  return checks.filter(({ breaches }) => breaches.length > 0).length;
}

/** The evidence, by order. */
class Books {
  readonly evidence: Evidence;
  readonly orders: ReadonlyMap<string, OrderRow>;
  readonly events: ReadonlyMap<string, readonly EventRow[]>;
  readonly shipments: ReadonlyMap<string, readonly ShipmentRow[]>;

  constructor(evidence: Evidence) {
    this.evidence = evidence;
    this.orders = new Map(evidence.orders.map((order) => [order.id, order]));
    this.events = groupBy(evidence.events, ({ orderId }) => orderId);
    this.shipments = groupBy(evidence.shipments, ({ orderId }) => orderId);
  }

  hasReached(order: OrderRow, status: string): boolean {
    return this.events.get(order.id)?.some(({ to }) => to === status) ?? false;
  }
}

/** The faults during which a provider answers nobody, with the provider. */
const AWAY = new Map<string, string>(
  FAULT_NAMES.flatMap((name) => {
    const { answersNobody, hits }: FaultKind = KINDS[name];
    return answersNobody ? [[name, hits] as const] : [];
  }),
);

/**
 * Checks that a provider's outage uses up no attempts: no attempt that began and ended during the outage may
 * have failed because of it.
 */
export function noAttemptLost(
  { failedAttempts }: Pick<Evidence, "failedAttempts">,
  faults: readonly Pick<InjectedFault, "name" | "startedAt" | "endedAt">[],
): Check {
  const breaches = faults.flatMap(({ name, startedAt, endedAt }) => {
    const service = AWAY.get(name);
    if (service === undefined) return [];
    return failedAttempts
      .filter((each) => each.startedAt >= startedAt && each.at <= endedAt)
      .filter(({ reason }) => reason.startsWith(`${service} `))
      .map(
        ({ orderId, stage, reason }) => `${orderId} lost an attempt at ${stage} during ${name}: ${reason}`,
      );
  });
  const outages = faults.filter(({ name }) => AWAY.has(name)).length;
  return check("a provider's outage costs no order an attempt", outages, "outages", breaches);
}

function everyOrderEnded({ evidence, orders }: Books): Check {
  const { accepted } = evidence.customers;
  const breaches = [...accepted.values()].flatMap(({ id, order }) => {
    const found = orders.get(id);
    if (!found) return [`${id} (${order.key}) was accepted but is missing`];
    return hasEnded(found)
      ? []
      : [`${id} is ${found.status}${found.failed ? `, failed in ${found.failed}` : ""}`];
  });
  return check("every accepted order is DELIVERED or CANCELLED", accepted.size, "accepted orders", breaches);
}

function nothingFailed({ evidence }: Books): Check {
  const breaches = evidence.orders.flatMap(({ id, failed }) => (failed === null ? [] : [`${id}: ${failed}`]));
  return check("no order is marked as failed", evidence.orders.length, "orders", breaches);
}

function everyOrderRequested({ evidence }: Books): Check {
  const { sent } = evidence.customers;
  const breaches = evidence.orders.flatMap(({ id, idempotencyKey }) =>
    idempotencyKey !== null && sent.has(idempotencyKey)
      ? []
      : [`${id} has the key ${idempotencyKey}, which no customer sent`],
  );
  return check("every order was requested by a customer", evidence.orders.length, "orders", breaches);
}

/** Each order's lines and total are those that its customer sent. */
function ordersAsOrdered({ evidence }: Books): Check {
  const written = groupBy(evidence.lines, ({ orderId }) => orderId);
  const breaches = evidence.orders.flatMap(({ id, idempotencyKey, total }) => {
    const sent = evidence.customers.sent.get(idempotencyKey ?? "")?.request.lines;
    if (!sent) return [];
    const due = sent.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0);
    const wanted = listed(sent);
    const found = listed(written.get(id) ?? []);
    return total === due && found === wanted
      ? []
      : [`${id}: ${found} for ${total}, but ${wanted} for ${due} was ordered`];
  });
  return check("every order is what its customer ordered", evidence.lines.length, "lines", breaches);
}

function listed(lines: readonly { readonly sku: string; readonly quantity: number }[]): string {
  return lines
    .map(({ sku, quantity }) => `${quantity} ${sku}`)
    .toSorted()
    .join(", ");
}

function oneOrderPerKey({ evidence }: Books): Check {
  const standing = evidence.orders.filter((order) => !isWithdrawn(order));
  const byKey = groupBy(standing, ({ idempotencyKey }) => idempotencyKey ?? "");
  const breaches = [...byKey].flatMap(([key, those]) =>
    those.length === 1 ? [] : [`${key}: ${those.map(({ id }) => id).join(", ")}`],
  );
  return check("one order per key, however often it was sent", byKey.size, "keys", breaches);
}

function sameAnswers({ evidence }: Books): Check {
  const { contradictions, repeated202s } = evidence.customers;
  return check(
    "a repeated request gets the first answer again",
    repeated202s,
    "repeated 202s",
    contradictions,
  );
}

function expectedAnswers({ evidence }: Books): Check {
  const { surprises, sent } = evidence.customers;
  return check("no customer got an unexpected answer", sent.size, "customers", surprises);
}

function cancellationsKept({ evidence, orders }: Books): Check {
  const { cancelled } = evidence.customers;
  const breaches = [...cancelled.keys()].flatMap((id) => {
    const status = orders.get(id)?.status;
    return status === CANCELLED ? [] : [`${id} should be cancelled but is ${status ?? "missing"}`];
  });
  return check("every accepted cancellation was carried out", cancelled.size, "cancellations", breaches);
}

/** The customer cancelled, the card was declined, or the product was sold out. */
function cancelledWithCause({ evidence }: Books): Check {
  const declined = new Set(evidence.books.declines.map(({ orderId }) => orderId));
  const ordered = new Map<string, number>();
  for (const { sku, quantity } of evidence.lines) ordered.set(sku, (ordered.get(sku) ?? 0) + quantity);
  const hasCause = ({ id, idempotencyKey, cancelReason }: OrderRow): boolean => {
    const reason = cancelReason ?? "";
    if (reason === CUSTOMERS_REASON)
      return evidence.customers.sent.get(idempotencyKey ?? "")?.cancelAfter !== undefined;
    if (reason === WITHDRAWN) return !evidence.customers.accepted.has(id);
    if (reason.startsWith("payment declined: ")) return declined.has(id);
    const soldOut = /^sold out: (.+?)(?: and \d+ more)?$/.exec(reason)?.[1]?.split(", ") ?? [];
    return (
      soldOut.length > 0 && soldOut.every((sku) => (ordered.get(sku) ?? 0) > (evidence.loaded.get(sku) ?? 0))
    );
  };
  const cancelled = evidence.orders.filter(({ status }) => status === CANCELLED);
  const breaches = cancelled.flatMap((order) =>
    hasCause(order) ? [] : [`${order.id} is CANCELLED with the reason ${order.cancelReason ?? "none"}`],
  );
  return check("no order was cancelled without a cause", cancelled.length, "cancelled orders", breaches);
}

/** Each paid order has one charge of the right amount; an unpaid one has none, or a refunded one. */
function charges(books: Books): Check {
  const { orders, evidence } = books;
  const byOrder = groupBy(evidence.books.charges, ({ orderId }) => orderId);
  const declined = new Set(evidence.books.declines.map(({ orderId }) => orderId));
  const breaches: string[] = [];
  for (const [orderId, those] of byOrder)
    if (!orders.has(orderId))
      breaches.push(`${orderId} was charged ${those.length} times but is not an order`);
  for (const order of orders.values()) {
    const those = byOrder.get(order.id) ?? [];
    const isPaid = books.hasReached(order, PAID);
    const due = isPaid && order.total > 0 ? 1 : 0;
    if (those.length > 1) breaches.push(`${order.id} was charged ${those.length} times`);
    else if (those.length < due) breaches.push(`${order.id} reached PAID but was not charged`);
    else if (those.length > due && order.status !== CANCELLED)
      breaches.push(`${order.id} was charged but is ${order.status} and was never PAID`);
    if (isPaid && declined.has(order.id))
      breaches.push(`${order.id} reached PAID although its card was declined`);
    for (const { amount, currency } of those)
      if (amount !== order.total || currency !== order.currency)
        breaches.push(`${order.id}: charged ${amount} ${currency}, not ${order.total} ${order.currency}`);
  }
  return check(
    "one charge of the right amount for each order paid",
    evidence.books.charges.length,
    "charges",
    breaches,
  );
}

/**
 * Each charged order that was cancelled has one refund of all that is left; it and every other one has those that its customer was
 * promised, and never more in sum than was charged.
 */
function refunds({ orders, evidence }: Books): Check {
  const byOrder = groupBy(evidence.books.refunds, ({ orderId }) => orderId);
  const charged = new Map(evidence.books.charges.map((charge) => [charge.orderId, charge]));
  const breaches: string[] = [];
  for (const [orderId, those] of byOrder)
    if (!orders.has(orderId))
      breaches.push(`${orderId} was refunded ${those.length} times but is not an order`);
  for (const order of orders.values()) {
    const those = byOrder.get(order.id) ?? [];
    const charge = charged.get(order.id);
    const promised = evidence.customers.refunded.get(order.id) ?? [];
    const owed = (charge?.amount ?? 0) - promised.reduce((total, amount) => total + amount, 0);
    const due = order.status === CANCELLED && owed > 0 ? [...promised, owed] : promised;
    const amounts = those.map(({ amount }) => amount);
    const sum = amounts.reduce((total, amount) => total + amount, 0);
    if (sum > (charge?.amount ?? 0)) breaches.push(`${order.id} was refunded ${sum}, more than was charged`);
    else if (textOf(amounts) !== textOf(due))
      breaches.push(
        `${order.id} is ${order.status}, charged ${charge?.amount ?? "nothing"}, and refunded ${textOf(amounts)}, not ${textOf(due)}`,
      );
    for (const { chargeKey } of those)
      if (charge && chargeKey !== charge.key)
        breaches.push(`${order.id}: refunded ${chargeKey}, and not ${charge.key}`);
  }
  return check(
    "one refund for each charged order that was cancelled, and what customers were promised",
    evidence.books.refunds.length,
    "refunds",
    breaches,
  );
}

function textOf(amounts: readonly number[]): string {
  return amounts.length === 0 ? "nothing" : amounts.toSorted((a, b) => a - b).join(" + ");
}

function labels({ orders, shipments, evidence }: Books): Check {
  const byOrder = groupBy(evidence.books.labels, ({ orderId }) => orderId);
  const breaches: string[] = [];
  for (const [orderId, those] of byOrder)
    if (!orders.has(orderId)) breaches.push(`${orderId} has ${those.length} labels but is not an order`);
  for (const order of orders.values()) {
    const known = shipments.get(order.id) ?? [];
    const found = byOrder.get(order.id) ?? [];
    breaches.push(...faultsOfLabels({ order, hasEnded: hasEnded(order), shipments: known, labels: found }));
  }
  return check(
    "one valid label for each parcel that was sent, none for others, and none bought twice",
    evidence.books.labels.length,
    "labels",
    breaches,
  );
}

function parcels({ orders, shipments, evidence }: Books): Check {
  const lines = groupBy(evidence.lines, ({ orderId }) => orderId);
  const breaches: string[] = [];
  for (const orderId of shipments.keys())
    if (!orders.has(orderId)) breaches.push(`${orderId} has parcels but is not an order`);
  for (const order of orders.values())
    breaches.push(...faultsOfPieces(order, lines.get(order.id) ?? [], shipments.get(order.id) ?? []));
  return check(
    "no piece is in two parcels, and every piece delivered was in one",
    evidence.shipments.length,
    "parcels",
    breaches,
  );
}

/** Orders that have not ended, itself a breach, may hold a reservation. */
function stockAtTheEnd({ orders, evidence }: Books): Check {
  const gone = new Map<string, number>();
  /** By order and SKU: what it has still reserved. More may have been sent than it ordered, once more for what was lost. */
  const left = new Map<string, { readonly sku: string; quantity: number }>();
  const hold = (orderId: string, sku: string, quantity: number) => {
    const order = orders.get(orderId);
    const state = evidence.reservations.get(orderId);
    if (order === undefined || hasEnded(order) || state === undefined || state === "RELEASED") return;
    const of = left.get(`${orderId} ${sku}`) ?? { sku, quantity: 0 };
    of.quantity += quantity;
    left.set(`${orderId} ${sku}`, of);
  };
  for (const { orderId, sku, quantity, cancelled = 0 } of evidence.lines)
    hold(orderId, sku, quantity - cancelled);
  for (const { orderId, pieces } of evidence.shipments.filter(hasLeft))
    for (const { sku, quantity } of pieces) {
      gone.set(sku, (gone.get(sku) ?? 0) + quantity);
      hold(orderId, sku, -quantity);
    }
  const held = new Map<string, number>();
  for (const { sku, quantity } of left.values()) held.set(sku, (held.get(sku) ?? 0) + Math.max(0, quantity));
  const found = new Map(evidence.stock.map((row) => [row.sku, row]));
  const skus = new Set([...evidence.loaded.keys(), ...found.keys(), ...gone.keys()]);
  const breaches = [...skus].flatMap((sku) => {
    const { onHand, reserved } = found.get(sku) ?? { onHand: 0, reserved: 0 };
    const loaded = evidence.loaded.get(sku) ?? 0;
    const sent = gone.get(sku) ?? 0;
    return onHand + sent === loaded && reserved === (held.get(sku) ?? 0)
      ? []
      : [`${sku}: ${onHand} on hand and ${sent} sent of ${loaded}, ${reserved} reserved`];
  });
  return check(
    "stock on hand plus what was sent equals stock loaded, and nothing is reserved",
    skus.size,
    "SKUs",
    breaches,
  );
}

function reservations({ orders, evidence }: Books): Check {
  const breaches: string[] = [];
  for (const [orderId, state] of evidence.reservations)
    if (!orders.has(orderId)) breaches.push(`${orderId} has a reservation (${state}) but is not an order`);
  for (const order of orders.values()) {
    const { id, status } = order;
    const state = evidence.reservations.get(id);
    if (!hasEnded(order)) continue;
    if ((state === "SHIPPED") !== (status === DELIVERED) || state === "HELD")
      breaches.push(`${id} is ${status} but its reservation is ${state ?? "missing"}`);
  }
  return check(
    "the stock shipped is the stock delivered, order by order",
    evidence.reservations.size,
    "reservations",
    breaches,
  );
}

function stockAllThrough({ evidence }: Books): Check {
  const { breaches, stockSamples, sums } = evidence.samples;
  // Without samples the check proves nothing.
  const none = stockSamples === 0 || sums === 0 ? ["the stock was never sampled"] : [];
  return check(
    "stock was never negative, never reserved twice, and always added up",
    stockSamples,
    `samples, ${sums} sums`,
    [...none, ...breaches],
  );
}

function legalPaths({ orders, evidence, events }: Books): Check {
  const breaches: string[] = [];
  for (const orderId of events.keys())
    if (!orders.has(orderId)) breaches.push(`${orderId} has events but is not an order`);
  for (const order of orders.values()) {
    const fault = faultOfPath(events.get(order.id) ?? [], order.status);
    if (fault !== undefined) breaches.push(`${order.id}: ${fault}`);
  }
  return check(
    "each order's events form a legal path, in order and without gaps",
    evidence.events.length,
    "events",
    breaches,
  );
}

/** The fault in an order's events; undefined if they lead to its status by legal transitions. */
function faultOfPath(events: readonly EventRow[], status: string): string | undefined {
  const path = `${events.map(({ to }) => to).join(" -> ")}, status ${status}`;
  if (events.length === 0) return "no events";
  let before: EventRow | undefined;
  for (const event of events) {
    if (event.from !== (before?.to ?? null)) return `a gap at ${event.from} -> ${event.to} (${path})`;
    if (!isLegal(event)) return `an illegal transition: ${event.from} -> ${event.to} (${path})`;
    if (before && event.at < before.at) return `${event.to} is older than ${before.to} (${path})`;
    before = event;
  }
  return before?.to === status ? undefined : `the events don't lead to the status (${path})`;
}

function isLegal({ from, to }: EventRow): boolean {
  if (from === null) return to === CREATED;
  if (!lifecycle.statuses.includes(from)) return false;
  return to === CANCELLED ? lifecycle.canCancel(from) : lifecycle.due(from)?.to === to;
}

/** False for an order with an unknown status. */
function hasEnded({ status }: OrderRow): boolean {
  return lifecycle.statuses.includes(status) && lifecycle.hasEnded(status);
}

function noJobLeft({ evidence }: Books): Check {
  const breaches = [...evidence.jobs].flatMap(([what, count]) => (count === 0 ? [] : [`${what}: ${count}`]));
  return check("no job is left", evidence.jobs.size, "sets of jobs", breaches);
}

function check(promise: string, checked: number, of: string, breaches: readonly string[]): Check {
  return { promise, checked, of, breaches };
}
