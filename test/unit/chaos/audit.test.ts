import { describe, expect, test } from "@jest/globals";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { audit, countBreaches, noAttemptLost } from "../../../tools/chaos/audit.ts";
import { CUSTOMERS_REASON } from "../../../tools/chaos/customers.ts";
import type { EventRow, OrderRow, ShipmentRow } from "../../../tools/chaos/evidence.ts";
import { Ledger } from "../../../tools/chaos/ledger.ts";
import type { ProviderBooks } from "../../../tools/simulators/providers.ts";

const AT = 1_000_000;
const PRICE = 100;

/** What becomes of an order, as all books tell it. */
interface Story {
  readonly path: readonly string[];
  readonly sku?: string;
  readonly price?: number;
  readonly reason?: string;
  readonly reservation: string;
  /** What the providers booked. */
  readonly charged?: true;
  readonly refunded?: true;
  readonly label?: "valid" | "voided";
  readonly declined?: true;
}

const DELIVERED = lifecycle.statuses.slice(0, -1);
const UNPAID = lifecycle.statusBefore({ name: "pay" });
const cancelledIn = (status: string) => [...DELIVERED.slice(0, DELIVERED.indexOf(status) + 1), "CANCELLED"];

const STORIES: Record<string, Story> = {
  delivered: { path: DELIVERED, reservation: "SHIPPED", charged: true, label: "valid" },
  free: { path: DELIVERED, price: 0, reservation: "SHIPPED", label: "valid" },
  soldOut: {
    path: cancelledIn("CREATED"),
    sku: "SCARCE",
    reason: "sold out: SCARCE",
    reservation: "RELEASED",
  },
  declined: {
    path: cancelledIn(UNPAID),
    reason: "payment declined: the card was declined",
    reservation: "RELEASED",
    declined: true,
  },
  cancelled: {
    path: cancelledIn(lifecycle.statusBefore({ name: "ship" })),
    reason: CUSTOMERS_REASON,
    reservation: "RELEASED",
    charged: true,
    refunded: true,
    label: "voided",
  },
  // The charge landed before anybody could write down that it did.
  overtaken: {
    path: cancelledIn(UNPAID),
    reason: CUSTOMERS_REASON,
    reservation: "RELEASED",
    charged: true,
    refunded: true,
  },
};

/** Books of all sides that agree on everything, for a test to forge. */
function makeEvidence() {
  const ledger = new Ledger();
  const orders: Writable<OrderRow>[] = [];
  const events: Writable<EventRow>[] = [];
  const lines: { orderId: string; sku: string; quantity: number }[] = [];
  const reservations = new Map<string, string>();
  const shipments: Writable<ShipmentRow>[] = [];
  const books: Omit<ProviderBooks, "attempts"> = { charges: [], refunds: [], labels: [], declines: [] };
  const at = new Date(AT);
  for (const [id, story] of Object.entries(STORIES)) {
    const { path, sku = "PLENTY", price = PRICE, reason, reservation } = story;
    const key = `key-${id}`;
    const request = { customerId: "c", currency: "EUR", lines: [{ sku, quantity: 1, unitPrice: price }] };
    const cancelAfter = reason === CUSTOMERS_REASON ? 5 : undefined;
    const ordered = { key, request, cancelAfter, isTwice: false };
    ledger.sent.set(key, ordered);
    ledger.accept(ordered, JSON.stringify({ id }), false);
    if (cancelAfter !== undefined) ledger.cancelled.set(id, AT);
    orders.push({
      id,
      status: path.at(-1) ?? "",
      total: price,
      currency: "EUR",
      idempotencyKey: key,
      failed: null,
      cancelReason: reason ?? null,
    });
    lines.push({ orderId: id, sku, quantity: 1 });
    for (const [index, to] of path.entries())
      events.push({ id: events.length + 1, orderId: id, from: path[index - 1] ?? null, to, at: AT + index });
    reservations.set(id, reservation);
    const chargeKey = `${id}:pay`;
    if (story.charged)
      books.charges.push({
        key: chargeKey,
        orderId: id,
        amount: price,
        currency: "EUR",
        chargeId: `ch_${id}`,
        at,
      });
    if (story.refunded)
      books.refunds.push({
        key: `${chargeKey}:undo`,
        orderId: id,
        amount: price,
        chargeKey,
        refundId: `re_${id}`,
        at,
      });
    if (story.declined) books.declines.push({ key: chargeKey, orderId: id });
    if (story.label)
      shipments.push({
        orderId: id,
        reference: `${id}:ship`,
        number: 1,
        state: story.label === "valid" ? "DELIVERED" : "VOIDED",
        pieces: [{ sku, quantity: 1 }],
        trackingNumber: `CV-${id}`,
        isClosed: false,
      });
    if (story.label)
      books.labels.push({
        key: `${id}:ship`,
        orderId: id,
        trackingNumber: `CV-${id}`,
        voided: story.label === "voided",
        at,
      });
  }
  const stock = [
    { sku: "PLENTY", onHand: 8, reserved: 0 },
    { sku: "SCARCE", onHand: 0, reserved: 0 },
  ];
  const loaded = new Map([
    ["PLENTY", 10],
    ["SCARCE", 0],
  ]);
  const samples = { stockSamples: 5, sums: 2, breaches: [] as string[] };
  const jobs = new Map([
    ["pay wait", 0],
    ["pay failed", 0],
  ]);
  return {
    orders,
    lines,
    events,
    failedAttempts: [],
    stock,
    shipments,
    reservations,
    books,
    jobs,
    loaded,
    customers: ledger,
    samples,
  };
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
type Forged = ReturnType<typeof makeEvidence>;

function order(evidence: Forged, id: string): Writable<OrderRow> {
  const found = evidence.orders.find((each) => each.id === id);
  if (!found) throw new Error(`there is no order ${id}`);
  return found;
}

function eventTo(evidence: Forged, id: string, to: string): Writable<EventRow> {
  const found = evidence.events.find((each) => each.orderId === id && each.to === to);
  if (!found) throw new Error(`order ${id} never went to ${to}`);
  return found;
}

function without<T>(items: T[], holds: (item: T) => boolean): void {
  const index = items.findIndex(holds);
  if (index < 0) throw new Error("there is nothing to take away");
  items.splice(index, 1);
}

function copyOf<T extends object>(item: T | undefined, changes: Partial<T> = {}): T {
  if (item === undefined) throw new Error("there is nothing to copy");
  return Object.assign({}, item, changes);
}

/** What the audit finds broken, with its examples. */
function brokenBy(forge: (evidence: Forged) => void): { promise: string; breaches: readonly string[] }[] {
  const evidence = makeEvidence();
  forge(evidence);
  return audit(evidence)
    .filter(({ breaches }) => breaches.length > 0)
    .map(({ promise, breaches }) => ({ promise, breaches }));
}

test("the audit finds nothing in books that agree", () => {
  expect(brokenBy(() => {})).toEqual([]);
  expect(countBreaches(audit(makeEvidence()))).toBe(0);
});

test.each([
  ["shipped again", [{ state: "DELIVERED", isClosed: false }]],
  ["closed", []],
  ["closed after it was shipped again", [{ state: "DELIVERED", isClosed: false }]],
])("the audit finds nothing wrong with a parcel that was lost and %s", (how, others) => {
  const broken = brokenBy((books) => {
    const [lost] = books.shipments;
    others.forEach((other, index) => {
      const reference = `delivered:ship:${index + 2}`;
      const trackingNumber = `CV-${reference}`;
      books.shipments.push(copyOf(lost, { ...other, number: index + 2, reference, trackingNumber }));
      books.books.labels.push(copyOf(books.books.labels[0], { key: reference, trackingNumber }));
      // It went out of the stock, too.
      books.stock[0]!.onHand -= 1;
    });
    Object.assign(lost!, { state: "LOST", isClosed: how !== "shipped again" });
  });
  expect(broken).toEqual([]);
});

test("the audit says how much it has checked at", () => {
  const empty = audit(makeEvidence()).filter(({ checked }) => checked === 0);
  expect(empty.map(({ promise }) => promise)).toEqual(["a repeated request gets the first answer again"]);
});

describe("the audit finds", () => {
  const ENDED = "every accepted order is DELIVERED or CANCELLED";
  const CHARGES = "one charge of the right amount for each order paid";
  const REFUNDS = "one refund for each charged order that was cancelled, and what customers were promised";
  const LABELS = "one valid label for each parcel that was sent, none for others, and none bought twice";
  const PIECES = "no piece is in two parcels, and every piece delivered was in one";
  const STOCK = "stock on hand plus what was sent equals stock loaded, and nothing is reserved";
  const RESERVATIONS = "the stock shipped is the stock delivered, order by order";
  const PATHS = "each order's events form a legal path, in order and without gaps";
  const CAUSE = "no order was cancelled without a cause";

  test.each<[string, string, RegExp, (evidence: Forged) => void]>([
    [
      "an accepted order that is lost",
      ENDED,
      /delivered .*is missing/,
      (books) => without(books.orders, ({ id }) => id === "delivered"),
    ],
    ["an order that has not ended", ENDED, /free is PAID/, (books) => (order(books, "free").status = "PAID")],
    [
      "an order with a status that no stage knows",
      ENDED,
      /free is LOST/,
      (books) => (order(books, "free").status = "LOST"),
    ],
    [
      "an order that waits for a person",
      "no order is marked as failed",
      /free: pay: down/,
      (books) => (order(books, "free").failed = "pay: down"),
    ],
    [
      "an order that nobody asked for",
      "every order was requested by a customer",
      /delivered has the key other/,
      (books) => (order(books, "delivered").idempotencyKey = "other"),
    ],
    [
      "an order without a key",
      "every order was requested by a customer",
      /delivered has the key null/,
      (books) => (order(books, "delivered").idempotencyKey = null),
    ],
    [
      "another quantity than was ordered",
      "every order is what its customer ordered",
      /free: 2 PLENTY for 0/,
      (books) => (books.lines[1] = { orderId: "free", sku: "PLENTY", quantity: 2 }),
    ],
    [
      "another total than was ordered",
      "every order is what its customer ordered",
      /delivered: .* for 101/,
      (books) => (order(books, "delivered").total = 101),
    ],
    [
      "a line too few",
      "every order is what its customer ordered",
      /free: {2}for 0/,
      (books) => without(books.lines, ({ orderId }) => orderId === "free"),
    ],
    [
      "two orders under one key",
      "one order per key, however often it was sent",
      /key-free: delivered, free/,
      (books) => (order(books, "delivered").idempotencyKey = "key-free"),
    ],
    [
      "two answers to one request",
      "a repeated request gets the first answer again",
      /free: first .* then/,
      (books) => books.customers.accept(books.customers.sent.get("key-free")!, `{"id":"x"}`, true),
    ],
    [
      "an order that two answers say they have made",
      "a repeated request gets the first answer again",
      /key-free was made twice/,
      (books) => books.customers.accept(books.customers.sent.get("key-free")!, `{"id":"free"}`, false),
    ],
    [
      "one order for two requests",
      "a repeated request gets the first answer again",
      /free: was returned for key-free and for key-new/,
      (books) =>
        books.customers.accept(
          { ...books.customers.sent.get("key-free")!, key: "key-new" },
          `{"id":"free"}`,
          false,
        ),
    ],
    [
      "an answer that makes no sense",
      "no customer got an unexpected answer",
      /418/,
      (books) => books.customers.surprises.push("418"),
    ],
    [
      "a cancellation that was taken and forgotten",
      "every accepted cancellation was carried out",
      /free should be cancelled but is DELIVERED/,
      (books) => books.customers.cancelled.set("free", AT),
    ],
    [
      "a cancellation that nobody asked for",
      CAUSE,
      /cancelled is CANCELLED with the reason the customer/,
      (books) => {
        const sent = books.customers.sent.get("key-cancelled");
        books.customers.sent.set("key-cancelled", copyOf(sent, { cancelAfter: undefined }));
      },
    ],
    [
      "a card that is said to be declined and was not",
      CAUSE,
      /declined is CANCELLED with the reason payment/,
      (books) => books.books.declines.pop(),
    ],
    [
      "a product that is said to be sold out and was not",
      CAUSE,
      /soldOut is CANCELLED with the reason sold out/,
      (books) => books.loaded.set("SCARCE", 1),
    ],
    [
      "a cancelled order without a reason",
      CAUSE,
      /soldOut is CANCELLED with the reason none/,
      (books) => (order(books, "soldOut").cancelReason = null),
    ],
    [
      "a charge that is missing",
      CHARGES,
      /delivered reached PAID but was not charged/,
      (books) => without(books.books.charges, ({ orderId }) => orderId === "delivered"),
    ],
    [
      "a second charge under another key",
      CHARGES,
      /delivered was charged 2 times/,
      (books) => books.books.charges.push(copyOf(books.books.charges[0], { key: "again" })),
    ],
    [
      "a charge of another amount",
      CHARGES,
      /delivered: charged 99 EUR, not 100 EUR/,
      (books) => (books.books.charges[0]!.amount = 99),
    ],
    [
      "a charge in another currency",
      CHARGES,
      /delivered: charged 100 USD, not 100 EUR/,
      (books) => (books.books.charges[0]!.currency = "USD"),
    ],
    [
      "a charge for what costs nothing",
      CHARGES,
      /free was charged but is DELIVERED/,
      (books) => books.books.charges.push(copyOf(books.books.charges[0], { orderId: "free", amount: 0 })),
    ],
    [
      "a charge for no order",
      CHARGES,
      /nobody was charged 1 times but is not an order/,
      (books) => books.books.charges.push(copyOf(books.books.charges[0], { orderId: "nobody" })),
    ],
    [
      "an order paid with a card that was declined",
      CHARGES,
      /delivered reached PAID although its card was declined/,
      (books) => books.books.declines.push({ key: "delivered:pay", orderId: "delivered" }),
    ],
    [
      "a refund that is missing",
      REFUNDS,
      /overtaken is CANCELLED, charged 100, and refunded nothing, not 100/,
      (books) => without(books.books.refunds, ({ orderId }) => orderId === "overtaken"),
    ],
    [
      "a second refund under another key",
      REFUNDS,
      /cancelled was refunded 200, more than was charged/,
      (books) => books.books.refunds.push(copyOf(books.books.refunds[0], { key: "again" })),
    ],
    [
      "a refund for what was delivered",
      REFUNDS,
      /delivered is DELIVERED, charged 100, and refunded 100, not nothing/,
      (books) =>
        books.books.refunds.push(
          copyOf(books.books.refunds[0], { orderId: "delivered", chargeKey: "delivered:pay" }),
        ),
    ],
    [
      "a refund for what was never charged",
      REFUNDS,
      /soldOut was refunded 100, more than was charged/,
      (books) => books.books.refunds.push(copyOf(books.books.refunds[0], { orderId: "soldOut" })),
    ],
    [
      "a refund of another amount",
      REFUNDS,
      /cancelled is CANCELLED, charged 100, and refunded 1, not 100/,
      (books) => (books.books.refunds[0]!.amount = 1),
    ],
    [
      "a refund that a customer was promised and never got",
      REFUNDS,
      /delivered is DELIVERED, charged 100, and refunded nothing, not 60/,
      (books) => books.customers.refunded.set("delivered", [60]),
    ],
    [
      "a refund of another order's charge",
      REFUNDS,
      /cancelled: refunded delivered:pay, and not cancelled:pay/,
      (books) => (books.books.refunds[0]!.chargeKey = "delivered:pay"),
    ],
    [
      "a refund for no order",
      REFUNDS,
      /nobody was refunded 1 times but is not an order/,
      (books) => books.books.refunds.push(copyOf(books.books.refunds[0], { orderId: "nobody" })),
    ],
    [
      "a label that is missing",
      LABELS,
      /delivered is DELIVERED with 0 labels/,
      (books) => without(books.books.labels, ({ orderId }) => orderId === "delivered"),
    ],
    [
      "a second label",
      LABELS,
      /delivered is DELIVERED with 2 labels bought for delivered:ship/,
      (books) => books.books.labels.push(copyOf(books.books.labels[0], { voided: true })),
    ],
    [
      "a label for no parcel",
      LABELS,
      /delivered is DELIVERED with 1 labels for no parcel/,
      (books) => books.books.labels.push(copyOf(books.books.labels[0], { key: "delivered:ship:2" })),
    ],
    [
      "a label of another parcel",
      LABELS,
      /delivered: parcel 1 is CV-delivered, and its label CV-other/,
      (books) => (books.books.labels[0]!.trackingNumber = "CV-other"),
    ],
    [
      "a piece in two parcels",
      PIECES,
      /delivered: 1 PLENTY more in parcels than were ordered/,
      (books) =>
        books.shipments.push(copyOf(books.shipments[0], { number: 2, reference: "delivered:ship:2" })),
    ],
    [
      "a piece that is in no parcel",
      PIECES,
      /free is DELIVERED without 1 PLENTY/,
      (books) => without(books.shipments, ({ orderId }) => orderId === "free"),
    ],
    [
      "a piece that was lost, and neither shipped again nor closed",
      PIECES,
      /delivered is DELIVERED without 1 PLENTY/,
      (books) => (books.shipments[0]!.state = "LOST"),
    ],
    [
      "a parcel that is on its way although its order has ended",
      PIECES,
      /delivered is DELIVERED, and its parcel 1 is IN_TRANSIT/,
      (books) => (books.shipments[0]!.state = "IN_TRANSIT"),
    ],
    [
      "a parcel of no order",
      PIECES,
      /nobody has parcels but is not an order/,
      (books) => books.shipments.push(copyOf(books.shipments[0], { orderId: "nobody" })),
    ],
    [
      "a label that was not voided",
      LABELS,
      /cancelled is CANCELLED with 1 labels for parcel 1, which is VOIDED/,
      (books) => (books.books.labels.find(({ orderId }) => orderId === "cancelled")!.voided = false),
    ],
    [
      "a label for no order",
      LABELS,
      /nobody has 1 labels but is not an order/,
      (books) => books.books.labels.push(copyOf(books.books.labels[0], { orderId: "nobody" })),
    ],
    [
      "a piece that is gone",
      STOCK,
      /PLENTY: 7 on hand and 2 sent of 10, 0 reserved/,
      (books) => (books.stock[0]!.onHand = 7),
    ],
    [
      "a piece too many",
      STOCK,
      /SCARCE: 1 on hand and 0 sent of 0, 0 reserved/,
      (books) => (books.stock[1]!.onHand = 1),
    ],
    [
      "a piece that is still reserved",
      STOCK,
      /PLENTY: 8 on hand and 2 sent of 10, 1 reserved/,
      (books) => (books.stock[0]!.reserved = 1),
    ],
    ["a SKU that is gone", STOCK, /PLENTY: 0 on hand/, (books) => books.stock.shift()],
    [
      "a delivered order that took nothing out of stock",
      RESERVATIONS,
      /free is DELIVERED but its reservation is RELEASED/,
      (books) => books.reservations.set("free", "RELEASED"),
    ],
    [
      "a cancelled order that took something out of stock",
      RESERVATIONS,
      /declined is CANCELLED but its reservation is SHIPPED/,
      (books) => books.reservations.set("declined", "SHIPPED"),
    ],
    [
      "a reservation that is held for ever",
      RESERVATIONS,
      /declined is CANCELLED but its reservation is HELD/,
      (books) => books.reservations.set("declined", "HELD"),
    ],
    [
      "a reservation for no order",
      RESERVATIONS,
      /nobody has a reservation/,
      (books) => books.reservations.set("nobody", "RELEASED"),
    ],
    [
      "a negative stock at some moment",
      "stock was never negative, never reserved twice, and always added up",
      /PLENTY: -1/,
      (books) => books.samples.breaches.push("PLENTY: -1 on hand"),
    ],
    [
      "stock that was never sampled",
      "stock was never negative, never reserved twice, and always added up",
      /the stock was never sampled/,
      (books) => (books.samples.stockSamples = 0),
    ],
    [
      "a gap between events",
      PATHS,
      /free: a gap at PAID -> SHIPPED/,
      (books) => without(books.events, ({ orderId, to }) => orderId === "free" && to === "PAID"),
    ],
    [
      "an event twice",
      PATHS,
      /free: a gap at SHIPPED -> DELIVERED/,
      (books) => books.events.push(copyOf(eventTo(books, "free", "DELIVERED"), { id: 99 })),
    ],
    [
      "a step that no stage makes",
      PATHS,
      /free: an illegal transition: SHIPPED -> CANCELLED/,
      (books) => (eventTo(books, "free", "DELIVERED").to = "CANCELLED"),
    ],
    [
      "a step to a status that no stage knows",
      PATHS,
      new RegExp(`free: an illegal transition: ${UNPAID} -> LIMBO`),
      (books) => {
        eventTo(books, "free", "PAID").to = "LIMBO";
        eventTo(books, "free", "SHIPPED").from = "LIMBO";
      },
    ],
    [
      "a step after the end",
      PATHS,
      /free: an illegal transition: DELIVERED -> CANCELLED/,
      (books) =>
        books.events.push({ id: 99, orderId: "free", from: "DELIVERED", to: "CANCELLED", at: AT + 9 }),
    ],
    [
      "events out of order in time",
      PATHS,
      /free: DELIVERED is older than SHIPPED/,
      (books) => (eventTo(books, "free", "DELIVERED").at = AT),
    ],
    [
      "events that do not lead to the status",
      PATHS,
      /delivered: the events don't lead to the status/,
      (books) => without(books.events, ({ orderId, to }) => orderId === "delivered" && to === "DELIVERED"),
    ],
    [
      "an order without events",
      PATHS,
      /soldOut: no events/,
      (books) =>
        books.events.splice(
          0,
          books.events.length,
          ...books.events.filter(({ orderId }) => orderId !== "soldOut"),
        ),
    ],
    [
      "events of no order",
      PATHS,
      /nobody has events/,
      (books) => books.events.push({ id: 99, orderId: "nobody", from: null, to: "CREATED", at: AT }),
    ],
    [
      "a job that is left over",
      "no job is left",
      /pay failed: 1/,
      (books) => books.jobs.set("pay failed", 1),
    ],
  ])("%s", (_what, promise, example, forge) => {
    const broken = brokenBy(forge);
    expect(broken.map((each) => each.promise)).toContain(promise);
    const breaches = broken.find((each) => each.promise === promise)?.breaches ?? [];
    expect(breaches).toEqual([expect.stringMatching(example)]);
  });
});

describe("an attempt that failed of a provider", () => {
  const outage = { name: "payments-down", startedAt: 1_000, endedAt: 2_000 } as const;
  const attempt = {
    orderId: "o1",
    stage: "pay",
    reason: "payments answered 503",
    startedAt: 1_200,
    at: 1_300,
  };
  test.each([
    ["while that was away is a breach", attempt, outage, 1],
    ["that was back by the end of it is none", { ...attempt, at: 2_001 }, outage, 0],
    ["that was there at its beginning is none", { ...attempt, startedAt: 999 }, outage, 0],
    ["that was there for others is none", attempt, { ...outage, name: "payments-poisoned" } as const, 0],
    ["while another was away is none", attempt, { ...outage, name: "carrier-down" } as const, 0],
  ])("%s", (_what, failed, fault, breaches) => {
    expect(noAttemptLost({ failedAttempts: [failed] }, [fault]).breaches).toHaveLength(breaches);
  });
});
