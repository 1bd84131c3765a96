import { describe, expect, test } from "@jest/globals";
import { NotNowError, type Carrier, type Inventory, type PaymentProvider } from "../../../src/order/ports.ts";
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
const PARCEL = { key: "k", orderId: "o1", signal };

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
  const carrier: Carrier = { ping: given, createLabel: given, voidLabel: given, track: given };
  const httpStages = { ping: given, call: given };
  return checkedProviders({ payments, inventory, carrier, httpStages });
}

const refused = (what: string, service = "payments (acme)") =>
  `${service} returned what can't be used: ${what}`;
const ID_FAULT =
  "id must be a text of 1 to 255 characters, without control characters and halves of characters";
const DATE_FAULT = "must be a date, from 1970 to 9999";

test("how a payment is disputed is passed on, and nothing else", async () => {
  const ask = (given: unknown) => returning(given).payments.disputeOf?.({ id: "pi_1", signal });
  expect(await ask("OPEN")).toBe("OPEN");
  expect(await ask(undefined)).toBeUndefined();
  await expect(ask("open")).rejects.toThrow(refused("must be OPEN, WON or LOST"));
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

test.each<[string, unknown]>([
  ["none", {}],
  ["one that is too long", { trackingNumber: "1".repeat(101) }],
  ["one that no label holds", { trackingNumber: `1${HALF}` }],
])("a label's tracking number is refused: %s", async (_what, given) => {
  await expect(returning(given).carrier.createLabel(PARCEL)).rejects.toThrow(
    refused("trackingNumber must be 1 to 100 printable characters of ASCII", "carrier"),
  );
});

test.each<[string, unknown, string]>([
  ["NaN", { delivered: false, askAgainIn: NaN }, "askAgainIn must be a number of milliseconds"],
  ["Infinity", { delivered: false, askAgainIn: Infinity }, "askAgainIn must be a number of milliseconds"],
  ["-1", { delivered: false, askAgainIn: -1 }, "askAgainIn must be a number of milliseconds from 0"],
  ["1e300", { delivered: false, askAgainIn: 1e300 }, "askAgainIn must be a year at most"],
  ["no date", { delivered: true, at: new Date(NaN) }, `at ${DATE_FAULT}`],
  ["neither", { delivered: "yes" }, "delivered must be an object with delivered: true or false"],
])("a parcel's state is refused with %s", async (_what, given, fault) => {
  const asked = returning(given).carrier.track({ ...PARCEL, trackingNumber: "CV1" });
  await expect(asked).rejects.toThrow(refused(fault, "carrier"));
});

test.each([NaN, -1, Infinity, 1e300])("nobody can ask to be called again after %d ms", (waitMs) => {
  expect(() => new NotNowError("busy", waitMs)).toThrow(`can't be called again after ${waitMs} ms: busy`);
});

test.each<["payments" | "carrier", unknown, string]>([
  ["payments", undefined, "is no object"],
  ["carrier", { ping() {}, createLabel() {} }, "lacks voidLabel(), track()"],
  [
    "payments",
    { ...returning(1).payments, parseWebhook: "yes", disputeOf: true },
    "has no method as parseWebhook, disputeOf",
  ],
  ["payments", { ...returning(1).payments, name: "" }, "needs a name of 1 to 32 characters"],
  ["payments", { ...returning(1).payments, name: "x".repeat(33) }, "needs a name of 1 to 32 characters"],
])("what is no provider of %s is told at start", (name, value, fault) => {
  expect(faultOfProvider(name, value)).toBe(fault);
  expect(faultOfProvider("payments", returning(1).payments)).toBeUndefined();
});

test.each([
  [undefined, undefined],
  ["LOST", undefined],
  ["lost", refused("must be OPEN, WON or LOST")],
])("a dispute that a provider tells as %j is taken as it is, or refused", async (given, fault) => {
  const { payments } = checkedProviders({
    ...returning(undefined),
    // oxlint-disable-next-line no-unsafe-type-assertion -- what a provider of others may return
    payments: { ...returning(undefined).payments, disputeOf: async () => given as "LOST" },
  });
  const asked = payments.disputeOf?.({ id: "pi_1", signal });
  await (fault === undefined ? expect(asked).resolves.toBe(given) : expect(asked).rejects.toThrow(fault));
});
