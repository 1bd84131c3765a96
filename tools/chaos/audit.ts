import { CANCELLED, CREATED, lifecycle } from "../../src/order/lifecycle.ts";
import { WITHDRAWN } from "../../src/engine/withdrawals.ts";
import { CUSTOMERS_REASON } from "./customers.ts";
import type { Evidence, EventRow, OrderRow } from "./evidence.ts";
import type { InjectedFault } from "./faults.ts";

/** One promise, held against the evidence. */
export interface Check {
  readonly promise: string;
  /** What was looked at, in how many: `5,000 orders`. */
  readonly looked: number;
  readonly of: string;
  /** What breaks the promise, each in one line that names the order, SKU or queue. */
  readonly breaches: readonly string[];
}

const PAID = "PAID";

/** The service took back an order that it could not promise anybody. */
export function isWithdrawn({ status, cancelReason }: OrderRow): boolean {
  return status === CANCELLED && cancelReason === WITHDRAWN;
}

const DELIVERED = "DELIVERED";

/**
 * Holds the books of all sides against each other: what customers were answered, what MySQL and Redis hold, and what the
 * payment provider and the carrier have booked. Nothing of the service's own code is asked, but the table of stages.
 */
export function audit(evidence: Evidence): Check[] {
  const books = new Books(evidence);
  return [
    everyOrderEnded(books),
    nothingFailed(books),
    noOrderFromNowhere(books),
    ordersAsOrdered(books),
    oneOrderAKey(books),
    sameAnswers(books),
    expectedAnswers(books),
    cancellationsKept(books),
    cancelledForACause(books),
    charges(books),
    refunds(books),
    labels(books),
    stockAtTheEnd(books),
    reservations(books),
    stockAllThrough(books),
    legalPaths(books),
    noJobLeft(books),
  ];
}

/** How many promises were broken. */
export function countBreaches(checks: readonly Check[]): number {
  return checks.filter(({ breaches }) => breaches.length > 0).length;
}

/** The evidence, by order. */
class Books {
  readonly evidence: Evidence;
  readonly orders: ReadonlyMap<string, OrderRow>;
  readonly events: ReadonlyMap<string, readonly EventRow[]>;

  constructor(evidence: Evidence) {
    this.evidence = evidence;
    this.orders = new Map(evidence.orders.map((order) => [order.id, order]));
    this.events = groupedBy(evidence.events, ({ orderId }) => orderId);
  }

  hasReached(order: OrderRow, status: string): boolean {
    return this.events.get(order.id)?.some(({ to }) => to === status) ?? false;
  }
}

/** The faults by which a provider does not answer anybody. */
const AWAY = new Map<string, string>(
  ["payments", "carrier"].flatMap((service) =>
    ["down", "refused"].map((how) => [`${service}-${how}`, service] as const),
  ),
);

/**
 * A provider that is away costs no order an attempt. What can be told: of the attempts that began and ended while it was,
 * none failed of it and was used up.
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
      .map(({ orderId, stage, reason }) => `${orderId} lost an attempt at ${stage} to ${name}: ${reason}`);
  });
  const outages = faults.filter(({ name }) => AWAY.has(name)).length;
  return check("a provider that is away costs no order an attempt", outages, "outages", breaches);
}

function everyOrderEnded({ evidence, orders }: Books): Check {
  const { accepted } = evidence.customers;
  const breaches = [...accepted.values()].flatMap(({ id, order }) => {
    const found = orders.get(id);
    if (!found) return [`${id} (${order.key}) was accepted and is nowhere`];
    return hasEnded(found)
      ? []
      : [`${id} is ${found.status}${found.failed ? `, failed in ${found.failed}` : ""}`];
  });
  return check("every accepted order is DELIVERED or CANCELLED", accepted.size, "accepted orders", breaches);
}

function nothingFailed({ evidence }: Books): Check {
  const breaches = evidence.orders.flatMap(({ id, failed }) => (failed === null ? [] : [`${id}: ${failed}`]));
  return check("no order waits for a person", evidence.orders.length, "orders", breaches);
}

function noOrderFromNowhere({ evidence }: Books): Check {
  const { sent } = evidence.customers;
  const breaches = evidence.orders.flatMap(({ id, idempotencyKey }) =>
    idempotencyKey !== null && sent.has(idempotencyKey)
      ? []
      : [`${id} has the key ${idempotencyKey}, which nobody sent`],
  );
  return check("every order was asked for", evidence.orders.length, "orders", breaches);
}

/** Lines and total of each order are those that its customer sent, and of nobody else. */
function ordersAsOrdered({ evidence }: Books): Check {
  const written = groupedBy(evidence.lines, ({ orderId }) => orderId);
  const breaches = evidence.orders.flatMap(({ id, idempotencyKey, total }) => {
    const sent = evidence.customers.sent.get(idempotencyKey ?? "")?.request.lines;
    if (!sent) return [];
    const due = sent.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0);
    const wanted = listed(sent);
    const found = listed(written.get(id) ?? []);
    return total === due && found === wanted
      ? []
      : [`${id}: ${found} for ${total}, and ${wanted} for ${due} was ordered`];
  });
  return check("every order is what its customer ordered", evidence.lines.length, "lines", breaches);
}

function listed(lines: readonly { readonly sku: string; readonly quantity: number }[]): string {
  return lines
    .map(({ sku, quantity }) => `${quantity} ${sku}`)
    .toSorted()
    .join(", ");
}

function oneOrderAKey({ evidence }: Books): Check {
  const standing = evidence.orders.filter((order) => !isWithdrawn(order));
  const byKey = groupedBy(standing, ({ idempotencyKey }) => idempotencyKey ?? "");
  const breaches = [...byKey].flatMap(([key, those]) =>
    those.length === 1 ? [] : [`${key}: ${those.map(({ id }) => id).join(", ")}`],
  );
  return check("one order a key, however often it was sent", byKey.size, "keys", breaches);
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
  return check("no customer got an answer that makes no sense", sent.size, "customers", surprises);
}

function cancellationsKept({ evidence, orders }: Books): Check {
  const { cancelled } = evidence.customers;
  const breaches = [...cancelled.keys()].flatMap((id) => {
    const status = orders.get(id)?.status;
    return status === CANCELLED ? [] : [`${id} was to be cancelled, and is ${status ?? "nowhere"}`];
  });
  return check(
    "every cancellation that was taken was carried out",
    cancelled.size,
    "cancellations",
    breaches,
  );
}

/** The customer asked for it, the card was declined, or more was asked for than there was. */
function cancelledForACause({ evidence }: Books): Check {
  const declined = new Set(evidence.books.declines.map(({ orderId }) => orderId));
  const asked = new Map<string, number>();
  for (const { sku, quantity } of evidence.lines) asked.set(sku, (asked.get(sku) ?? 0) + quantity);
  const hasCause = ({ id, idempotencyKey, cancelReason }: OrderRow): boolean => {
    const reason = cancelReason ?? "";
    if (reason === CUSTOMERS_REASON)
      return evidence.customers.sent.get(idempotencyKey ?? "")?.cancelAfter !== undefined;
    if (reason === WITHDRAWN) return !evidence.customers.accepted.has(id);
    if (reason.startsWith("payment declined: ")) return declined.has(id);
    const soldOut = /^sold out: (.+?)(?: and \d+ more)?$/.exec(reason)?.[1]?.split(", ") ?? [];
    return (
      soldOut.length > 0 && soldOut.every((sku) => (asked.get(sku) ?? 0) > (evidence.loaded.get(sku) ?? 0))
    );
  };
  const cancelled = evidence.orders.filter(({ status }) => status === CANCELLED);
  const breaches = cancelled.flatMap((order) =>
    hasCause(order) ? [] : [`${order.id} is CANCELLED because of ${order.cancelReason ?? "nothing"}`],
  );
  return check("no order was cancelled without a cause", cancelled.length, "cancelled orders", breaches);
}

/** One capture of the right amount for each order that was paid; none, or one that is paid back, for one that was not. */
function charges(books: Books): Check {
  const { orders, evidence } = books;
  const byOrder = groupedBy(evidence.books.charges, ({ orderId }) => orderId);
  const declined = new Set(evidence.books.declines.map(({ orderId }) => orderId));
  const breaches: string[] = [];
  for (const [orderId, those] of byOrder)
    if (!orders.has(orderId)) breaches.push(`${orderId} was charged ${those.length} times, and is no order`);
  for (const order of orders.values()) {
    const those = byOrder.get(order.id) ?? [];
    const isPaid = books.hasReached(order, PAID);
    const due = isPaid && order.total > 0 ? 1 : 0;
    if (those.length > 1) breaches.push(`${order.id} was charged ${those.length} times`);
    else if (those.length < due) breaches.push(`${order.id} reached PAID and was not charged`);
    else if (those.length > due && order.status !== CANCELLED)
      breaches.push(`${order.id} was charged, and is ${order.status} without having been PAID`);
    if (isPaid && declined.has(order.id))
      breaches.push(`${order.id} reached PAID, and its card was declined`);
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

/** One refund of the whole amount for each cancelled order that was charged, and no other. */
function refunds({ orders, evidence }: Books): Check {
  const byOrder = groupedBy(evidence.books.refunds, ({ orderId }) => orderId);
  const charged = new Map(evidence.books.charges.map((charge) => [charge.orderId, charge]));
  const breaches: string[] = [];
  for (const [orderId, those] of byOrder)
    if (!orders.has(orderId)) breaches.push(`${orderId} was refunded ${those.length} times, and is no order`);
  for (const order of orders.values()) {
    const those = byOrder.get(order.id) ?? [];
    const charge = charged.get(order.id);
    const due = order.status === CANCELLED && charge ? 1 : 0;
    if (those.length !== due)
      breaches.push(
        `${order.id} is ${order.status}, ${charge ? "charged" : "not charged"}, refunded ${those.length} times`,
      );
    for (const { amount, chargeKey } of those)
      if (charge && (amount !== charge.amount || chargeKey !== charge.key))
        breaches.push(
          `${order.id}: refunded ${amount} of ${chargeKey}, not ${charge.amount} of ${charge.key}`,
        );
  }
  return check(
    "one refund for each charged order that was cancelled",
    evidence.books.refunds.length,
    "refunds",
    breaches,
  );
}

function labels({ orders, evidence }: Books): Check {
  const byOrder = groupedBy(
    evidence.books.labels.filter(({ voided }) => !voided),
    ({ orderId }) => orderId,
  );
  const breaches: string[] = [];
  for (const [orderId, those] of byOrder)
    if (!orders.has(orderId)) breaches.push(`${orderId} has ${those.length} labels, and is no order`);
  for (const order of orders.values()) {
    const count = byOrder.get(order.id)?.length ?? 0;
    const due = order.status === DELIVERED ? 1 : 0;
    // One that is still on its way may have its label already.
    const isFine = hasEnded(order) ? count === due : count <= 1;
    if (!isFine) breaches.push(`${order.id} is ${order.status} with ${count} labels`);
  }
  return check(
    "one label for each order delivered, none for cancelled ones",
    evidence.books.labels.length,
    "labels",
    breaches,
  );
}

/** Orders that have not ended, which is a breach of its own, may hold pieces or have taken them out. */
function stockAtTheEnd({ orders, evidence }: Books): Check {
  const delivered = new Map<string, number>();
  const held = new Map<string, number>();
  const add = (to: Map<string, number>, sku: string, pieces: number) =>
    to.set(sku, (to.get(sku) ?? 0) + pieces);
  for (const { orderId, sku, quantity } of evidence.lines) {
    const order = orders.get(orderId);
    const state = evidence.reservations.get(orderId);
    if (order?.status === DELIVERED) add(delivered, sku, quantity);
    else if (order && !hasEnded(order) && state === "SHIPPED") add(delivered, sku, quantity);
    else if (order && !hasEnded(order) && state === "HELD") add(held, sku, quantity);
  }
  const found = new Map(evidence.stock.map((row) => [row.sku, row]));
  const skus = new Set([...evidence.loaded.keys(), ...found.keys(), ...delivered.keys()]);
  const breaches = [...skus].flatMap((sku) => {
    const { onHand, reserved } = found.get(sku) ?? { onHand: 0, reserved: 0 };
    const loaded = evidence.loaded.get(sku) ?? 0;
    const sold = delivered.get(sku) ?? 0;
    return onHand + sold === loaded && reserved === (held.get(sku) ?? 0)
      ? []
      : [`${sku}: ${onHand} on hand and ${sold} delivered of ${loaded}, ${reserved} reserved`];
  });
  return check(
    "stock on hand and delivered is what was loaded, and nothing is reserved",
    skus.size,
    "SKUs",
    breaches,
  );
}

function reservations({ orders, evidence }: Books): Check {
  const breaches: string[] = [];
  for (const [orderId, state] of evidence.reservations)
    if (!orders.has(orderId)) breaches.push(`${orderId} has a reservation (${state}), and is no order`);
  for (const order of orders.values()) {
    const { id, status } = order;
    const state = evidence.reservations.get(id);
    if (!hasEnded(order)) continue;
    if ((state === "SHIPPED") !== (status === DELIVERED) || state === "HELD")
      breaches.push(`${id} is ${status}, its reservation ${state ?? "missing"}`);
  }
  return check(
    "what left the stock is what was delivered, order by order",
    evidence.reservations.size,
    "reservations",
    breaches,
  );
}

function stockAllThrough({ evidence }: Books): Check {
  const { breaches, stockSamples, sums } = evidence.samples;
  // Without a look nothing was seen, good or bad.
  const none = stockSamples === 0 || sums === 0 ? ["nobody looked at the stock"] : [];
  return check(
    "stock was never negative, never reserved twice, and always added up",
    stockSamples,
    `looks, ${sums} sums`,
    [...none, ...breaches],
  );
}

function legalPaths({ orders, evidence, events }: Books): Check {
  const breaches: string[] = [];
  for (const orderId of events.keys())
    if (!orders.has(orderId)) breaches.push(`${orderId} has events, and is no order`);
  for (const order of orders.values()) {
    const fault = faultOfPath(events.get(order.id) ?? [], order.status);
    if (fault !== undefined) breaches.push(`${order.id}: ${fault}`);
  }
  return check(
    "each order's events are a legal path without gaps, in order",
    evidence.events.length,
    "events",
    breaches,
  );
}

/** What is wrong with the events of an order; undefined when they lead to its status in legal steps. */
function faultOfPath(events: readonly EventRow[], status: string): string | undefined {
  const path = `${events.map(({ to }) => to).join(" -> ")}, status ${status}`;
  if (events.length === 0) return "no events";
  let before: EventRow | undefined;
  for (const event of events) {
    if (event.from !== (before?.to ?? null)) return `a gap at ${event.from} -> ${event.to} (${path})`;
    if (!isLegal(event)) return `no legal step: ${event.from} -> ${event.to} (${path})`;
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

/** Also of an order whose status no stage knows: that one has not. */
function hasEnded({ status }: OrderRow): boolean {
  return lifecycle.statuses.includes(status) && lifecycle.hasEnded(status);
}

function noJobLeft({ evidence }: Books): Check {
  const breaches = [...evidence.jobs].flatMap(([what, count]) => (count === 0 ? [] : [`${what}: ${count}`]));
  return check("no job is left over", evidence.jobs.size, "sets of jobs", breaches);
}

function check(promise: string, looked: number, of: string, breaches: readonly string[]): Check {
  return { promise, looked, of, breaches };
}

function groupedBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}
