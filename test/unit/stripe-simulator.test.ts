import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, test } from "@jest/globals";
import { default as Stripe } from "stripe";
import { z } from "zod";
import { Ledger } from "../../tools/simulators/ledger.ts";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import {
  chargeOf,
  disputeOf,
  eventOf,
  paymentIntentOf,
  refundOf,
} from "../../tools/simulators/stripe/objects.ts";
import type { IntentState } from "../../tools/simulators/stripe/state.ts";
import { waitFor } from "../support/wait-for.ts";

/** Stripe's own examples, which stay outside the repository: `STRIPE_FIXTURES` has their path. */
const FILE = "shared/data/stripe-fixtures.json";
const FIXTURES =
  process.env["STRIPE_FIXTURES"] ?? [`../${FILE}`, `../../${FILE}`].find(existsSync) ?? `../${FILE}`;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => void (await Promise.all(closing.splice(0).map((close) => close()))));

/** The simulator, and Stripe's own client as a shop uses it. */
async function start(
  options?: Parameters<typeof startProviders>[0],
): Promise<Providers & { stripe: Stripe }> {
  const providers = await startProviders(options);
  closing.push(providers.close);
  return { ...providers, stripe: clientOf(providers.paymentsUrl) };
}

function clientOf(url: string, key = "sk_test_simulated"): Stripe {
  const { hostname, port } = new URL(url);
  return new Stripe(key, { host: hostname, port, protocol: "http", maxNetworkRetries: 0, telemetry: false });
}

const PAYMENT = {
  amount: 2_500,
  currency: "eur",
  confirm: true,
  payment_method: "pm_card_visa",
  metadata: { order_id: "o1" },
} as const;

const idOf = (object: string | { readonly id: string } | null) =>
  object === null || typeof object === "string" ? (object ?? "") : object.id;

const simulated = (url: string, id: string, what: string) =>
  fetch(`${url}/simulator/payment_intents/${id}/${what}`, { method: "POST" });

async function failureOf(call: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const error: unknown = await call.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  if (error instanceof Stripe.errors.StripeError) return error;
  throw new Error("no error of Stripe's", { cause: error });
}

/** What receives the simulator's webhooks. */
async function startReceiver(status = () => 200) {
  const received: { body: string; signature: string }[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      received.push({ body: await text(request), signature: String(request.headers["stripe-signature"]) });
      response.writeHead(status()).end();
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(
    () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  );
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("it listens");
  const types = () => received.map(({ body }) => z.object({ type: z.string() }).parse(JSON.parse(body)).type);
  return { url: `http://127.0.0.1:${address.port}`, received, types };
}

describe("a payment at the simulated Stripe", () => {
  test("is captured at once", async () => {
    const { stripe, books } = await start();
    const intent = await stripe.paymentIntents.create(PAYMENT, { idempotencyKey: "k" });
    expect(intent).toMatchObject({ status: "succeeded", amount_received: 2_500, currency: "eur" });
    expect(intent.lastResponse.requestId).toMatch(/^req_/);
    expect(books.charges).toMatchObject([{ orderId: "o1", amount: 2_500, currency: "EUR", key: intent.id }]);
    expect(await stripe.charges.retrieve(idOf(intent.latest_charge))).toMatchObject({
      captured: true,
      payment_intent: intent.id,
    });
  });

  test("takes no money before it is confirmed, and none after it was cancelled", async () => {
    const { stripe, books } = await start();
    const { confirm: _now, ...later } = PAYMENT;
    const { id, status } = await stripe.paymentIntents.create(later);
    expect([status, books.charges]).toEqual(["requires_confirmation", []]);
    await stripe.paymentIntents.cancel(id);
    expect(await failureOf(stripe.paymentIntents.confirm(id))).toMatchObject({
      code: "payment_intent_unexpected_state",
      payment_intent: { status: "canceled" },
    });
    expect(books.charges).toEqual([]);
  });

  test("is authorized, and a part of it captured, once", async () => {
    const { stripe, books } = await start();
    const { id, status } = await stripe.paymentIntents.create({ ...PAYMENT, capture_method: "manual" });
    expect([status, books.charges]).toEqual(["requires_capture", []]);
    const { latest_charge } = await stripe.paymentIntents.retrieve(id, { expand: ["latest_charge"] });
    expect(latest_charge).toMatchObject({
      payment_method_details: { card: { capture_before: expect.any(Number) } },
    });
    expect(await stripe.paymentIntents.capture(id, { amount_to_capture: 1_000 })).toMatchObject({
      status: "succeeded",
      amount_received: 1_000,
      amount_capturable: 0,
    });
    expect(await failureOf(stripe.paymentIntents.capture(id))).toMatchObject({
      code: "payment_intent_unexpected_state",
    });
    expect(books.charges).toMatchObject([{ amount: 1_000 }]);
  });

  test.each([
    ["pm_card_chargeDeclined", "card_declined", "generic_decline"],
    ["pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"],
    ["pm_card_chargeDeclinedExpiredCard", "expired_card", ""],
  ])("is declined with %s", async (payment_method, code, declineCode) => {
    const { stripe, books } = await start();
    const failure = await failureOf(stripe.paymentIntents.create({ ...PAYMENT, payment_method }));
    expect(failure).toBeInstanceOf(Stripe.errors.StripeCardError);
    expect(failure).toMatchObject({ statusCode: 402, code, decline_code: declineCode });
    expect([books.charges, books.declines]).toEqual([[], [expect.objectContaining({ orderId: "o1" })]]);
  });

  test("takes tokens of cards, Stripe's and the aliases", async () => {
    const { stripe, books } = await start();
    const pay = (token: string) => {
      const { payment_method: _none, ...payment } = PAYMENT;
      return stripe.paymentIntents.create({
        ...payment,
        payment_method_data: { type: "card", card: { token } },
      } as Stripe.PaymentIntentCreateParams);
    };
    for (const token of ["tok_visa", "tok_approved"]) expect((await pay(token)).status).toBe("succeeded");
    for (const token of ["tok_chargeDeclined", "tok_declined"])
      expect((await failureOf(pay(token))).code).toBe("card_declined");
    expect(books.charges).toHaveLength(2);
  });

  test("without a payment method waits for one", async () => {
    const { stripe, books } = await start();
    const { payment_method: _none, confirm: _now, ...payment } = PAYMENT;
    const { id, status } = await stripe.paymentIntents.create(payment);
    expect(status).toBe("requires_payment_method");
    expect(await failureOf(stripe.paymentIntents.confirm(id))).toMatchObject({
      code: "payment_intent_unexpected_state",
    });
    expect(books.charges).toEqual([]);
    const paid = await stripe.paymentIntents.confirm(id, { payment_method: "pm_card_visa" });
    expect(paid.status).toBe("succeeded");
  });

  test("takes a card that belongs to no Customer once, and those for tests again", async () => {
    const ledger = new Ledger();
    const { stripe, close } = await start({ ledger });
    const pay = (from: Stripe, method: string) =>
      from.paymentIntents.create({ ...PAYMENT, payment_method: method });
    const own = "pm_1Rc0ffee0123456789";
    for (const method of ["pm_card_visa", "pm_card_visa", own])
      expect((await pay(stripe, method)).status).toBe("succeeded");
    const refused = { statusCode: 400, message: expect.stringContaining("may not be used again") };
    expect(await failureOf(pay(stripe, own))).toMatchObject(refused);
    await close();
    const again = await start({ ledger });
    expect(await failureOf(pay(again.stripe, own))).toMatchObject(refused);
  });

  test.each([
    ["less than the currency's least amount", { amount: 49 }, "amount_too_small"],
    ["an address for receipts that is none", { receipt_email: "ada@localhost" }, "email_invalid"],
  ])("is refused with %s", async (_what, given, code) => {
    const { stripe } = await start();
    const failure = await failureOf(stripe.paymentIntents.create({ ...PAYMENT, ...given }));
    expect(failure).toMatchObject({ statusCode: 400, code });
  });

  test("waits for its customer, who authenticates or fails to", async () => {
    const { stripe, paymentsUrl, books } = await start();
    const pay = () =>
      stripe.paymentIntents.create({ ...PAYMENT, payment_method: "pm_card_authenticationRequired" });
    const first = await pay();
    expect(first).toMatchObject({
      status: "requires_action",
      client_secret: expect.stringMatching(`^${first.id}_secret_`),
      next_action: { type: "use_stripe_sdk" },
    });
    await simulated(paymentsUrl, first.id, "authenticate");
    expect(await stripe.paymentIntents.retrieve(first.id)).toMatchObject({ status: "succeeded" });
    const second = await pay();
    await simulated(paymentsUrl, second.id, "authenticate?succeed=false");
    expect(await stripe.paymentIntents.retrieve(second.id)).toMatchObject({
      status: "requires_payment_method",
      last_payment_error: { code: "payment_intent_authentication_failure" },
    });
    expect(books.charges).toMatchObject([{ key: first.id }]);
  });

  test("of a bank account is decided later", async () => {
    const { stripe } = await start();
    const pay = (payment_method: string) => stripe.paymentIntents.create({ ...PAYMENT, payment_method });
    const [paid, unpaid] = [
      await pay("pm_usBankAccount_success"),
      await pay("pm_usBankAccount_insufficientFunds"),
    ];
    expect([paid.status, unpaid.status]).toEqual(["processing", "processing"]);
    await waitFor("both to be decided", async () => {
      const [first, second] = await Promise.all(
        [paid, unpaid].map(({ id }) => stripe.paymentIntents.retrieve(id)),
      );
      return first?.status === "succeeded" && second?.status === "requires_payment_method";
    });
  });

  test("is paid back in parts, never more than was captured", async () => {
    const { stripe, books } = await start();
    const { id } = await stripe.paymentIntents.create(PAYMENT);
    await stripe.refunds.create({ payment_intent: id, amount: 1_000 });
    expect(await failureOf(stripe.refunds.create({ payment_intent: id, amount: 1_501 }))).toMatchObject({
      message: expect.stringContaining("greater than unrefunded amount"),
    });
    await stripe.refunds.create({ payment_intent: id });
    expect(await failureOf(stripe.refunds.create({ payment_intent: id }))).toMatchObject({
      code: "charge_already_refunded",
    });
    expect(books.refunds.map(({ amount }) => amount)).toEqual([1_000, 1_500]);
    expect((await stripe.refunds.list({ payment_intent: id })).data).toHaveLength(2);
  });

  test.each([
    ["pending", "pm_card_pendingRefund", "succeeded"],
    ["succeeded", "pm_card_refundFail", "failed"],
  ])("has a refund that is %s first with %s", async (first, payment_method, end) => {
    const { stripe } = await start();
    const { id } = await stripe.paymentIntents.create({ ...PAYMENT, payment_method });
    const refund = await stripe.refunds.create({ payment_intent: id });
    expect(refund.status).toBe(first);
    await waitFor(
      "the refund to be decided",
      async () => (await stripe.refunds.retrieve(refund.id)).status === end,
    );
  });

  test("is disputed, and the evidence decides", async () => {
    const { stripe, setWebhooks } = await start();
    const receiver = await startReceiver();
    setWebhooks({ url: receiver.url });
    await stripe.paymentIntents.create({ ...PAYMENT, payment_method: "pm_card_createDispute" });
    await waitFor("a dispute", () => receiver.types().includes("charge.dispute.created"));
    const told = receiver.received.find(({ body }) => body.includes("charge.dispute.created"));
    const { data } = z
      .object({ data: z.object({ object: z.object({ id: z.string() }) }) })
      .parse(JSON.parse(told?.body ?? ""));
    const evidence = { uncategorized_text: "winning_evidence" };
    expect((await stripe.disputes.update(data.object.id, { evidence })).status).toBe("won");
    await waitFor("its end", () => receiver.types().includes("charge.dispute.closed"));
  });

  test("is still known after a restart, and so is one of an earlier version", async () => {
    const entries: Parameters<Ledger["put"]>[0][] = [
      {
        key: "old:pay",
        kind: "charge",
        orderId: "old",
        amount: 700,
        currency: "EUR",
        outcome: "approved",
        providerId: "ch_old",
        reverses: null,
        attempts: 1,
        at: new Date(),
      },
    ];
    const ledger = new Ledger(entries);
    const first = await start({ ledger });
    const { id } = await first.stripe.paymentIntents.create({ ...PAYMENT, capture_method: "manual" });
    await first.close();
    const { stripe } = await start({ ledger: new Ledger(structuredClone(ledger.entries)) });
    expect((await stripe.paymentIntents.capture(id)).status).toBe("succeeded");
    expect(await stripe.refunds.create({ charge: "ch_old" })).toMatchObject({
      amount: 700,
      status: "succeeded",
    });
  });
});

describe("an idempotency key at the simulated Stripe", () => {
  const options = { idempotencyKey: "k" };

  test("stands for its first answer until it is forgotten", async () => {
    const { stripe, books, forgetKeysAfter } = await start();
    const first = await stripe.paymentIntents.create(PAYMENT, options);
    expect((await stripe.paymentIntents.create(PAYMENT, options)).id).toBe(first.id);
    expect(await failureOf(stripe.paymentIntents.create({ ...PAYMENT, amount: 1 }, options))).toMatchObject({
      rawType: "idempotency_error",
    });
    expect(books.charges).toHaveLength(1);
    forgetKeysAfter(0);
    await stripe.paymentIntents.create(PAYMENT, { idempotencyKey: "other" });
    await waitFor(
      "the key to be forgotten",
      async () =>
        (await stripe.paymentIntents.create(PAYMENT, { idempotencyKey: "other" })) &&
        books.charges.length > 2,
    );
  });

  test("stands for a server error too, whether or not the money was taken", async () => {
    for (const [drawn, charges] of [
      [0.9, 0],
      [0.1, 1],
    ] as const) {
      const { stripe, books, setFault } = await start({ random: () => drawn });
      setFault("payments", { kind: "errors", rate: 1 });
      expect(await failureOf(stripe.paymentIntents.create(PAYMENT, options))).toMatchObject({
        statusCode: 500,
      });
      setFault("payments", { kind: "none" });
      expect(await failureOf(stripe.paymentIntents.create(PAYMENT, options))).toMatchObject({
        statusCode: 500,
      });
      expect(books.charges).toHaveLength(charges);
    }
  });
});

describe("webhooks of the simulated Stripe", () => {
  test("are signed as the SDK checks it, lost, doubled and sent again as they are told to", async () => {
    const { stripe, setWebhooks } = await start();
    let status = 500;
    const receiver = await startReceiver(() => status);
    setWebhooks({ url: receiver.url, secret: "whsec_test", doubled: 1 });
    await stripe.paymentIntents.create(PAYMENT);
    await waitFor("all of them", () => receiver.received.length >= 4);
    status = 200;
    await waitFor("them to come again", () => receiver.received.length >= 8);
    for (const { body, signature } of receiver.received)
      expect(Stripe.webhooks.constructEvent(body, signature, "whsec_test").object).toBe("event");
    expect(new Set(receiver.types())).toEqual(
      new Set(["payment_intent.created", "payment_intent.succeeded"]),
    );
    setWebhooks({ lost: 1 });
    await stripe.paymentIntents.create(PAYMENT);
    expect(receiver.received).toHaveLength(8);
  });
});

test.each([
  ["no key", "", 401],
  ["a live key", "sk_live_1", 401],
])("the simulated Stripe refuses %s", async (_what, key, status) => {
  const { paymentsUrl } = await start();
  const headers = { authorization: `Bearer ${key}` };
  expect((await fetch(`${paymentsUrl}/v1/balance`, { headers })).status).toBe(status);
});

const INTENT: IntentState = {
  id: "pi_1",
  chargeId: "ch_1",
  clientSecret: "pi_1_secret_1",
  amount: 1_099,
  currency: "usd",
  captureMethod: "automatic",
  status: "succeeded",
  authorized: 1_099,
  captured: 1_099,
  method: "pm_card_visa",
  description: null,
  receiptEmail: null,
  metadata: {},
  shipping: null,
  lastError: null,
  confirmed: 1,
  created: 1_234_567_890,
  captureBefore: null,
  refunds: [],
  dispute: null,
};
const REFUND = {
  id: "re_1",
  amount: 1,
  status: "succeeded",
  reason: null,
  metadata: {},
  shipping: null,
  created: 1,
} as const;
const DISPUTE = { id: "dp_1", status: "needs_response", amount: null, created: 1 } as const;

/** Fields of the examples that Stripe's SDK no longer knows. */
const OUTDATED = new Set([
  "source",
  "managed_payments",
  "amount_details",
  "payment_method_configuration_details",
  "refunds",
]);

if (existsSync(FIXTURES)) {
  const fixtures = z
    .record(z.string(), z.record(z.string(), z.unknown()))
    .parse(JSON.parse(readFileSync(FIXTURES, "utf8")));
  test.each([
    ["payment_intent", paymentIntentOf(INTENT)],
    ["charge", chargeOf(INTENT)],
    ["refund", refundOf(INTENT, REFUND)],
    ["dispute", disputeOf(INTENT, DISPUTE)],
    ["event", eventOf("evt_1", "charge.captured", chargeOf(INTENT))],
  ])("a simulated %s has every field of Stripe's own example", (name, object: object) => {
    const missing = Object.keys(fixtures[name] ?? {}).filter(
      (field) => !(field in object) && !OUTDATED.has(field),
    );
    expect(fixtures[name]).toBeDefined();
    expect(missing).toEqual([]);
  });
} else
  test.skip(`the simulated objects are held against Stripe's own examples (no ${FIXTURES}: set STRIPE_FIXTURES)`, () => {});
