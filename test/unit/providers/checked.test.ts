import { describe, expect, test } from "@jest/globals";
import {
  NotNowError,
  type CarrierProvider,
  type Inventory,
  type PaymentProvider,
} from "../../../src/order/ports.ts";
import { checkedProviders, faultOfProvider } from "../../../src/providers/checked.ts";

const { signal } = new AbortController();
const HALF = "\ud83d";
const BY_NAME = { orderId: "o1", reference: "o1:pay", id: null, amount: 2_500, currency: "EUR", signal };
const REQUEST = {
  ...BY_NAME,
  key: "o1:pay",
  capture: "at once",
  token: "tok_secret_1",
  description: "Order o1",
  customer: { id: "c1" },
  shipTo: null,
  metadata: null,
  remember: async () => undefined,
} as const;
const MOVE = { key: "k", orderId: "o1", lines: [], signal };
const PARCEL = { orderId: "o1", reference: "o1:ship", carrierId: "shp_1", trackingNumber: "CV1", signal };
const WANTED = { ...PARCEL, to: null, from: null, parcel: null, items: [], currency: "EUR", service: null };
const LABEL = {
  trackingNumber: "CV1",
  carrierId: "shp_1",
  service: "Ground",
  cost: { amount: 500, currency: "EUR" },
  trackingUrl: "https://track.example/CV1",
  labelUrl: null,
};
const TRACKING = {
  state: "IN_TRANSIT",
  at: new Date(0),
  expectedAt: null,
  reason: null,
  askAgainIn: null,
} as const;

/** A provider of somebody else, whose every call returns this. */
function returning(value: unknown) {
  // oxlint-disable-next-line no-unsafe-type-assertion -- what others return has no type
  const given = async () => value as never;
  const payments: PaymentProvider = {
    name: "acme",
    ping: given,
    authorize: given,
    capture: given,
    cancel: given,
    find: given,
    refund: given,
    findRefund: given,
    parseWebhook: given,
    disputeOf: given,
  };
  const inventory: Inventory = { ping: given, move: given, release: given };
  const carrier: CarrierProvider = {
    name: "acme",
    ping: given,
    create: given,
    buy: given,
    void: given,
    track: given,
    find: given,
    parseWebhook: given,
  };
  const httpStages = { ping: given, call: given };
  return checkedProviders({ payments, inventory, carrier, httpStages });
}

const refused = (what: string, service = "payments (acme)") =>
  `${service} returned what can't be used: ${what}`;
const ID_FAULT =
  "id must be a text of 1 to 255 characters, without control characters and halves of characters";
const DATE_FAULT = "must be a date, from 1970 to 9999";

test("how a payment is disputed is passed on, and nothing else", async () => {
  const ask = (given: unknown) =>
    returning(given).payments.disputeOf?.({ id: "pi_1", currency: "EUR", signal });
  for (const amount of [500, null])
    expect(await ask({ state: "OPEN", amount, more: 1 })).toEqual({ state: "OPEN", amount });
  expect(await ask(undefined)).toBeUndefined();
  await expect(ask("OPEN")).rejects.toThrow(refused("must be an object, or undefined"));
});

describe("a payment that a provider returns", () => {
  test.each([
    { state: "authorized", id: "pi_1", expiresAt: new Date(0) },
    { state: "captured", id: "pi_1", amount: 2_500 },
    { state: "declined", reason: "no money 😀", code: "no_money" },
    { state: "pending", id: "pi_1", action: { redirectUrl: "https://bank.example/" } },
    { state: "cancelled" },
    { state: "created", id: "pi_1" },
  ])("is passed on: $state", async (given) => {
    expect(await returning(given).payments.authorize(REQUEST)).toEqual(given);
  });

  test.each<[string, unknown, string]>([
    ["nothing", undefined, "must be an object with a known state"],
    ["another state", { state: "paid", id: "pi_1" }, "state must be an object with a known state"],
    ["no id", { state: "captured", amount: 1 }, ID_FAULT],
    ["an id that is too long", { state: "created", id: "x".repeat(256) }, ID_FAULT],
    ["half a character", { state: "created", id: `pi_${HALF}` }, ID_FAULT],
    ["no amount", { state: "captured", id: "p" }, "amount must be a whole number from 0"],
    ["a negative amount", { state: "captured", id: "p", amount: -1 }, "amount must be a whole number from 0"],
    ["a part of a cent", { state: "captured", id: "p", amount: 1.5 }, "amount must be a whole number from 0"],
    ["NaN", { state: "captured", id: "p", amount: NaN }, "amount must be a whole number from 0"],
    [
      "more than was asked for",
      { state: "captured", id: "p", amount: 2_501 },
      "amount is more than the 2500 asked for",
    ],
    ["no date", { state: "authorized", id: "p", expiresAt: new Date(NaN) }, `expiresAt ${DATE_FAULT}`],
    [
      "a date that MySQL has not",
      { state: "authorized", id: "p", expiresAt: new Date(8e15) },
      `expiresAt ${DATE_FAULT}`,
    ],
    ["a date as text", { state: "authorized", id: "p", expiresAt: "2026-11-28" }, `expiresAt ${DATE_FAULT}`],
    [
      "an action with half a character",
      { state: "pending", id: "p", action: { url: HALF } },
      "action.url must be a text of 1 to 8192 characters, without control characters and halves of characters",
    ],
    [
      "a code that is too long",
      { state: "declined", reason: "no", code: "x".repeat(65) },
      "code must be a text of 1 to 64 characters, without control characters and halves of characters",
    ],
  ])("is refused with %s", async (_what, given, fault) => {
    const { payments } = returning(given);
    for (const asked of [
      payments.authorize(REQUEST),
      payments.capture({ ...BY_NAME, id: "pi_1", key: "k" }),
      payments.cancel({ ...BY_NAME, key: "k" }),
      ...(given === undefined ? [] : [payments.find(BY_NAME)]),
    ])
      await expect(asked).rejects.toThrow(refused(fault));
  });

  test("is not remembered under an id that can't be stored", async () => {
    const remembered: string[] = [];
    const { payments } = checkedProviders({
      ...returning(undefined),
      payments: {
        ...returning({ state: "cancelled" }).payments,
        authorize: async ({ remember }) => {
          await remember("x".repeat(300));
          return { state: "cancelled" };
        },
      },
    });
    const remember = async (id: string) => void remembered.push(id);
    await expect(payments.authorize({ ...REQUEST, remember })).rejects.toThrow("1 to 255 characters");
    expect(remembered).toEqual([]);
  });

  test("that is declined tells why in one line that fits, without the token", async () => {
    const reason = `tok_secret_1 was\ndeclined${HALF} ${"x".repeat(1_000)}`;
    const declined = await returning({ state: "declined", reason }).payments.authorize(REQUEST);
    const told = declined.state === "declined" ? declined.reason : "";
    expect(told).toMatch(/^\[redacted\] was declined x+…$/);
    expect(told.length).toBeLessThanOrEqual(500);
    expect(await returning(undefined).payments.find(BY_NAME)).toBeUndefined();
  });
});

test.each<[string, unknown, string]>([
  ["no id", { state: "succeeded" }, ID_FAULT],
  ["an id that is too long", { id: "x".repeat(256), state: "pending" }, ID_FAULT],
  ["another state", { id: "re_1", state: "done" }, "state must be an object with a known state"],
  ["no reason", { id: "re_1", state: "failed" }, "reason must be a text"],
])("a refund that a provider returns is refused with %s", async (_what, given, fault) => {
  const { payments } = returning(given);
  const about = {
    orderId: "o1",
    payment: { id: "p", reference: "r" },
    reference: "r1",
    currency: "EUR",
    signal,
  };
  await expect(payments.refund({ ...about, key: "k", amount: 1 })).rejects.toThrow(refused(fault));
  await expect(payments.findRefund({ ...about, refundId: null })).rejects.toThrow(refused(fault));
});

test("a webhook about what can't be ours is about nobody", async () => {
  const { payments } = returning({ paymentId: "x".repeat(300), orderId: `#1${HALF}`, isDispute: true });
  expect(await payments.parseWebhook?.(Buffer.alloc(0), {})).toEqual({ isDispute: true });
});

test.each<[string, unknown, string]>([
  ["nothing", undefined, 'must be "moved" or an object with a reason to reject'],
  ["no reason", { reject: 1 }, 'must be "moved" or an object with a reason to reject'],
])("an inventory that returns %s is refused", async (_what, given, fault) => {
  await expect(returning(given).inventory.move("reserve", MOVE)).rejects.toThrow(refused(fault, "inventory"));
});

test("what a carrier returns is passed on", async () => {
  expect(await returning(LABEL).carrier.buy(WANTED)).toEqual(LABEL);
  expect(await returning(TRACKING).carrier.track(PARCEL)).toEqual(TRACKING);
  const rates = [{ service: "USPS Priority", cost: { amount: 690, currency: "USD" }, days: null }];
  expect(await returning({ carrierId: "shp_1", rates }).carrier.create(WANTED)).toEqual({
    carrierId: "shp_1",
    rates,
  });
  // One that says no prices may leave them out.
  expect(await returning({ carrierId: "shp_1" }).carrier.create(WANTED)).toEqual({
    carrierId: "shp_1",
    rates: null,
  });
  expect(await returning(undefined).carrier.find({ ...PARCEL, to: null })).toBeUndefined();
  expect(await returning({ outcome: "pending" }).carrier.void(PARCEL)).toEqual({ outcome: "pending" });
  expect(
    await returning({ carrierId: "x".repeat(300) }).carrier.parseWebhook?.(Buffer.alloc(0), {}),
  ).toBeUndefined();
});

test.each<[string, unknown]>([
  ["none", { ...LABEL, trackingNumber: undefined }],
  ["one that is too long", { ...LABEL, trackingNumber: "1".repeat(101) }],
  ["one that no label holds", { ...LABEL, trackingNumber: `1${HALF}` }],
])("a label's tracking number is refused: %s", async (_what, given) => {
  await expect(returning(given).carrier.buy(WANTED)).rejects.toThrow(
    refused("trackingNumber must be 1 to 100 printable characters of ASCII", "carrier (acme)"),
  );
});

test.each<[string, object, string]>([
  ["id", { carrierId: "x".repeat(201) }, "carrierId must be a text of 1 to 200 characters"],
  ["link", { trackingUrl: "javascript:alert(1)" }, "trackingUrl must be an address of the web, or null"],
  ["price", { cost: { amount: 4.5, currency: "EUR" } }, "cost.amount must be a whole number from 0"],
])("a label is refused with an %s that can't be stored or shown", async (_what, given, fault) => {
  await expect(returning({ ...LABEL, ...given }).carrier.buy(WANTED)).rejects.toThrow(
    refused(fault, "carrier (acme)"),
  );
});

test("a rate is refused whose price can't be compared", async () => {
  const rates = [{ service: "Fast", cost: { amount: "6.90", currency: "USD" }, days: 2 }];
  await expect(returning({ carrierId: "shp_1", rates }).carrier.create(WANTED)).rejects.toThrow(
    refused("rates.0.cost.amount must be a whole number from 0", "carrier (acme)"),
  );
});

test("the answer to a void is refused if it is none that is known", async () => {
  await expect(returning({ outcome: "perhaps" }).carrier.void(PARCEL)).rejects.toThrow(
    refused("outcome must be an object with a known outcome", "carrier (acme)"),
  );
});

test.each<[string, unknown, string]>([
  ["NaN", { askAgainIn: NaN }, "askAgainIn must be a number of milliseconds"],
  ["Infinity", { askAgainIn: Infinity }, "askAgainIn must be a number of milliseconds"],
  ["-1", { askAgainIn: -1 }, "askAgainIn must be a number of milliseconds from 0"],
  ["1e300", { askAgainIn: 1e300 }, "askAgainIn must be a year at most"],
  ["no date", { state: "DELIVERED", at: new Date(NaN) }, `at ${DATE_FAULT}`],
  ["a state of ours alone", { state: "VOIDED" }, "state Invalid option"],
])("a parcel's state is refused with %s", async (_what, given, fault) => {
  const asked = returning({ ...TRACKING, ...Object(given) }).carrier.track(PARCEL);
  await expect(asked).rejects.toThrow(refused(fault, "carrier (acme)"));
});

test.each([NaN, -1, Infinity, 1e300])("nobody can ask to be called again after %d ms", (waitMs) => {
  expect(() => new NotNowError("busy", waitMs)).toThrow(`can't be called again after ${waitMs} ms: busy`);
});

test.each<["payments" | "carrier", unknown, string]>([
  ["payments", undefined, "is no object"],
  [
    "payments",
    { ...returning(1).payments, parseWebhook: "yes", disputeOf: true },
    "has no method as parseWebhook, disputeOf",
  ],
  ["carrier", { ping() {}, create() {}, buy() {}, void() {} }, "lacks track(), find()"],
  ["carrier", { ...returning(1).carrier, name: undefined }, "needs a name of 1 to 32 characters"],
  ["payments", { ...returning(1).payments, name: "" }, "needs a name of 1 to 32 characters"],
  ["payments", { ...returning(1).payments, name: "x".repeat(33) }, "needs a name of 1 to 32 characters"],
])("what is no provider of %s is told at start", (name, value, fault) => {
  expect(faultOfProvider(name, value)).toBe(fault);
  expect(faultOfProvider("payments", returning(1).payments)).toBeUndefined();
});

test.each([
  [undefined, undefined],
  [{ state: "LOST", amount: null }, undefined],
  [{ state: "lost", amount: null }, refused("state must be one of INQUIRY, OPEN, WON, LOST, CLOSED")],
  [{ state: "LOST", amount: 0.5 }, refused("amount must be a whole number from 0")],
])("a dispute that a provider tells as %j is taken as it is, or refused", async (given, fault) => {
  const { payments } = checkedProviders({
    ...returning(undefined),
    // oxlint-disable-next-line no-unsafe-type-assertion -- what a provider of others may return
    payments: { ...returning(undefined).payments, disputeOf: async () => given as never },
  });
  const asked = payments.disputeOf?.({ id: "pi_1", currency: "EUR", signal });
  await (fault === undefined ? expect(asked).resolves.toEqual(given) : expect(asked).rejects.toThrow(fault));
});
