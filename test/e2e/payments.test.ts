import { describe, expect, test } from "@jest/globals";
import { default as Stripe } from "stripe";
import { z } from "zod";
import { WEBHOOK_SECRET } from "../support/desk.ts";
import {
  CAPTURED_ON_SHIPMENT,
  body,
  call,
  closeShop,
  eventsOf,
  happens,
  openShop,
  paymentsOf,
  place,
  placeConfirmed,
  refund,
  sendWebhook,
  typesOf,
  useShop,
  waitingOf,
} from "../support/stripe-shop.ts";
import { startTestRedis } from "../support/servers.ts";
import { waitFor } from "../support/wait-for.ts";

describe("payments with Stripe, captured on payment", () => {
  const shop = useShop();

  test("an order whose customer has to confirm waits, and goes on as soon as the webhook says so", async () => {
    const id = await place(shop, "pm_card_authenticationRequired");
    const waiting = await waitFor("the order to wait", () => waitingOf(shop, id));
    expect(waiting.for).toBe("the customer to confirm the payment");
    const [pending] = (await paymentsOf(shop, id)).payments;
    expect(pending).toMatchObject({ state: "PENDING", action: { clientSecret: expect.any(String) } });
    await happens(shop, pending?.providerId, "authenticate");
    await shop.client.orderIn(id, "DELIVERED");
    expect((await paymentsOf(shop, id)).payments).toMatchObject([{ state: "CAPTURED", captured: 3_000 }]);
    expect(await typesOf(shop, id)).toEqual([
      "CREATED",
      "RESERVED",
      "payment.pending",
      ...(await typesOf(shop, id)).filter((type) => type.startsWith("wait")),
      "payment.captured",
      "PAID",
      "shipment.booked",
      "SHIPPED",
      "shipment.delivered",
      "DELIVERED",
    ]);
    const logged = shop.processes.flatMap(({ lines }) => lines).join("\n");
    expect(logged).not.toContain("_secret_");
  });

  test("fifty refunds at the same moment never sum up to more than was captured", async () => {
    const id = await place(shop, "pm_card_visa");
    await shop.client.orderIn(id, "DELIVERED");
    const answers = await Promise.all(Array.from({ length: 50 }, () => refund(shop, id, { amount: 170 })));
    const accepted = answers.filter(({ status }) => status === 202);
    expect(accepted).toHaveLength(Math.floor(3_000 / 170));
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(50 - accepted.length);
    await waitFor("all to be paid back", async () =>
      (await paymentsOf(shop, id)).refunds.every(({ state }) => state === "SUCCEEDED"),
    );
    const books = shop.environment.providers.books.refunds.filter(({ orderId }) => orderId === id);
    expect(books.map(({ amount }) => amount)).toEqual(accepted.map(() => 170));
    expect((await paymentsOf(shop, id)).payments).toMatchObject([{ captured: 3_000, refunded: 17 * 170 }]);
  });

  test("pieces that come back are paid back with their share, go back into stock, and come back once", async () => {
    const id = await place(shop, "pm_card_visa", {
      adjustments: [
        { kind: "discount", amount: -100 },
        { kind: "shipping", amount: 490 },
      ],
    });
    await shop.client.orderIn(id, "DELIVERED");
    const stock = async () =>
      z.object({ onHand: z.number() }).parse((await call(shop, "GET", "/stock/MUG-BLUE")).body).onHand;
    const before = await stock();
    const lines = [{ sku: "MUG-BLUE", quantity: 1 }];
    const headers = { "idempotency-key": `refund-${id}` };
    const first = await refund(shop, id, { lines, restock: true }, headers);
    expect(first).toMatchObject({ status: 202, body: { amount: 967, state: "PENDING", restock: true } });
    expect((await refund(shop, id, { lines, restock: true }, headers)).body).toMatchObject({
      id: z.object({ id: z.string() }).parse(first.body).id,
    });
    expect(await refund(shop, id, { amount: 967 }, headers)).toMatchObject({
      status: 422,
      body: { type: "urn:conveyor:problem:idempotency-key-reused" },
    });
    await waitFor("it to be paid back", async () =>
      (await paymentsOf(shop, id)).refunds.some(({ state }) => state === "SUCCEEDED"),
    );
    expect(await stock()).toBe(before + 1);
    expect((await refund(shop, id, { lines: [{ sku: "MUG-BLUE", quantity: 3 }] })).body).toMatchObject({
      detail: "only 2 of 3 MUG-BLUE are left to refund",
    });
    expect(await refund(shop, id, { lines: [{ sku: "MUG-BLUE", quantity: 2 }] })).toMatchObject({
      body: { amount: 2_900 - 967 },
    });
    expect(await refund(shop, id, {})).toMatchObject({ status: 202, body: { amount: 490 } });
    expect((await typesOf(shop, id)).filter((type) => type === "refund.created")).toHaveLength(3);
  });

  test("pieces whose money was refunded before come back for what is left of it, also for nothing", async () => {
    const id = await place(shop, "pm_card_visa");
    await shop.client.orderIn(id, "DELIVERED");
    const stock = async () => (await shop.client.get("/stock/MUG-BLUE")).body.onHand;
    const before = await stock();
    const piece = (quantity: number) => ({ lines: [{ sku: "MUG-BLUE", quantity }] });
    await refund(shop, id, { amount: 1_500 });
    expect(await refund(shop, id, { ...piece(2), restock: true })).toMatchObject({
      status: 202,
      body: { amount: 1_500, worth: 2_000, lines: [{ sku: "MUG-BLUE", quantity: 2, amount: 2_000 }] },
    });
    // Without going back into stock, it would say nothing.
    expect(await refund(shop, id, piece(1))).toMatchObject({
      status: 409,
      body: { detail: "all that was captured is refunded" },
    });
    expect(await refund(shop, id, { ...piece(1), restock: true })).toMatchObject({
      status: 202,
      body: { amount: 0, worth: 1_000 },
    });
    await waitFor("all to be paid back", async () =>
      (await paymentsOf(shop, id)).refunds.every(({ state }) => state === "SUCCEEDED"),
    );
    expect(await stock()).toBe(before + 3);
    const books = shop.environment.providers.books.refunds.filter(({ orderId }) => orderId === id);
    expect(books.map(({ amount }) => amount)).toEqual([1_500, 1_500]);
    expect((await paymentsOf(shop, id)).payments).toMatchObject([{ captured: 3_000, refunded: 3_000 }]);
    expect((await refund(shop, id, { ...piece(1), restock: true })).status).toBe(409);
  });

  test.each([
    ["before it is paid", "pm_card_authenticationRequired", {}, /PENDING/],
    ["that is declined", "pm_card_chargeDeclined", {}, /DECLINED/],
  ])("an order %s can't be refunded", async (_what, token, content, detail) => {
    const id = await place(shop, token);
    await waitFor("its payment", async () => {
      const [payment] = (await paymentsOf(shop, id)).payments;
      return payment !== undefined && (payment.action !== undefined || payment.state === "DECLINED");
    });
    expect(await refund(shop, id, content)).toMatchObject({
      status: 409,
      body: { type: "urn:conveyor:problem:not-refundable", detail: expect.stringMatching(detail) },
    });
  });

  test.each([
    [{ amount: 0 }],
    [{ amount: 1.5 }],
    [{ amount: 1, lines: [{ sku: "MUG-BLUE", quantity: 1 }] }],
    [{ lines: [] }],
    [{ restock: true }],
    [{ reason: "" }],
  ])("a request for a refund with %j is refused", async (content) => {
    const id = await place(shop, "pm_card_visa");
    expect((await refund(shop, id, content)).status).toBe(422);
  });

  test("a refund that the provider can't deliver is told as failed", async () => {
    const id = await place(shop, "tok_pendingRefundFail");
    await shop.client.orderIn(id, "DELIVERED");
    await refund(shop, id, { amount: 500 });
    await waitFor("it to fail", async () => (await typesOf(shop, id)).includes("refund.failed"));
    expect((await paymentsOf(shop, id)).payments).toMatchObject([{ refunded: 0 }]);
    expect((await refund(shop, id, { amount: 3_000 })).status).toBe(202);
  });

  test("only stocked pieces go back into stock, and null is the same as leaving a field out", async () => {
    const stock = async () => (await shop.client.get("/stock/MUG-BLUE")).body.onHand;
    const lines = [
      { sku: "MUG-BLUE", quantity: 2, unitPrice: 1_000 },
      { sku: "MUG-BLUE", quantity: 3, unitPrice: 500, stocked: false },
    ];
    const id = await place(shop, "pm_card_visa", { lines });
    await shop.client.orderIn(id, "DELIVERED");
    const before = await stock();
    const back = [{ sku: "MUG-BLUE", quantity: 4 }];
    const key = { "idempotency-key": "back" };
    const first = await refund(shop, id, { amount: null, lines: back, restock: true }, key);
    expect(first).toMatchObject({ status: 202, body: { amount: 3_000 } });
    expect(await refund(shop, id, { lines: back, restock: true }, key)).toEqual(first);
    await waitFor("it to be refunded", async () => (await typesOf(shop, id)).includes("refund.succeeded"));
    expect(await stock()).toBe(before + 2);
    expect(await refund(shop, id, { amount: 1, lines: null, restock: null })).toMatchObject({ status: 202 });
  });

  test("a refund that succeeds, and fails later, is told as failed, and its amount is free again", async () => {
    const id = await place(shop, "pm_card_refundFail");
    await shop.client.orderIn(id, "DELIVERED");
    const lines = [{ sku: "MUG-BLUE", quantity: 3 }];
    await refund(shop, id, { lines, restock: true });
    await waitFor("it to fail", async () => (await typesOf(shop, id)).includes("refund.failed"));
    const told = (await eventsOf(shop, id)).filter(({ type }) => type.startsWith("refund."));
    expect(told.map(({ type }) => type)).toEqual(["refund.created", "refund.succeeded", "refund.failed"]);
    expect(told.at(-1)).toMatchObject({ record: { amount: 3_000, restocked: true } });
    expect(await paymentsOf(shop, id)).toMatchObject({
      payments: [{ refunded: 0 }],
      refunds: [{ state: "FAILED", failure: "expired_or_canceled_card" }],
    });
    // Its pieces are back in stock already.
    expect((await refund(shop, id, { lines, restock: true })).status).toBe(409);
    expect((await refund(shop, id, { lines })).status).toBe(202);
  });

  test.each([
    ["MGA", 150, 200],
    ["KWD", 1_005, 1_010],
  ])(
    "an amount in %s that Stripe can't take is refused at once, and so is a refund",
    async (currency, odd, even) => {
      const order = (unitPrice: number) => ({
        currency,
        lines: [{ sku: "MUG-BLUE", quantity: 1, unitPrice }],
      });
      expect(await call(shop, "POST", "/orders", body("pm_card_visa", order(odd)))).toMatchObject({
        status: 422,
        body: {
          errors: [
            { path: "total", message: expect.stringContaining(`Stripe takes ${currency} in multiples`) },
          ],
        },
      });
      const id = await place(shop, "pm_card_visa", order(even));
      await shop.client.orderIn(id, "DELIVERED");
      expect((await paymentsOf(shop, id)).payments).toMatchObject([{ state: "CAPTURED", captured: even }]);
      expect(await refund(shop, id, { amount: 55 })).toMatchObject({
        status: 409,
        body: { detail: expect.stringContaining("in multiples of") },
      });
      expect((await refund(shop, id, {})).status).toBe(202);
    },
  );

  test("an amount that is less than Stripe takes is refused at once; nothing at all is not charged", async () => {
    const order = (unitPrice: number) =>
      body("pm_card_visa", { lines: [{ sku: "MUG-BLUE", quantity: 1, unitPrice }] });
    expect(await call(shop, "POST", "/orders", order(49))).toMatchObject({
      status: 422,
      body: {
        errors: [
          {
            path: "total",
            message: "Stripe takes no payments of less than EUR 0.50, and this is EUR 0.49",
          },
        ],
      },
    });
    for (const least of [0, 50]) expect((await call(shop, "POST", "/orders", order(least))).status).toBe(202);
  });

  test("an order without a payment method waits for its customer, who chooses one", async () => {
    const id = await place(shop);
    expect(await waitFor("the order to wait", () => waitingOf(shop, id))).toMatchObject({
      for: "the customer to confirm the payment",
    });
    const [pending] = (await paymentsOf(shop, id)).payments;
    expect(pending).toMatchObject({ state: "PENDING", action: { clientSecret: expect.any(String) } });
    const { paymentsUrl } = shop.environment.providers;
    await fetch(`${paymentsUrl}/v1/payment_intents/${pending?.providerId}/confirm`, {
      method: "POST",
      headers: { authorization: "Bearer sk_test_e2e" },
      body: new URLSearchParams({ payment_method: "pm_card_visa" }),
    });
    await shop.client.orderIn(id, "DELIVERED");
    expect((await paymentsOf(shop, id)).payments).toMatchObject([{ state: "CAPTURED", captured: 3_000 }]);
  });

  const EVENT = JSON.stringify({ type: "refund.failed", data: { object: { id: "re_1" } } });
  const now = () => Math.floor(Date.now() / 1_000);
  const signed = (payload: string, timestamp = now()) =>
    Stripe.webhooks.generateTestHeaderString({ payload, secret: WEBHOOK_SECRET, timestamp });
  test.each<[string, string, () => string | undefined, string | RegExp]>([
    ["without a signature", EVENT, () => undefined, "the header Stripe-Signature is missing"],
    ["with a forged signature", EVENT, () => `t=${now()},v1=00`, /No signatures found/],
    ["from long ago", EVENT, () => signed(EVENT, now() - 3_600), /Timestamp outside the tolerance/],
    [
      "from an hour ahead",
      EVENT,
      () => signed(EVENT, now() + 3_600),
      "the signature's time is ahead of this machine's clock",
    ],
    ["that is no JSON", "{'", () => signed("{'"), "the body is not JSON"],
    ["that is no event", "null", () => signed("null"), "the body is no event of Stripe's"],
    ["about nothing", '{"type":"x"}', () => signed('{"type":"x"}'), "the body is no event of Stripe's"],
  ])("a webhook %s is refused", async (_what, payload, signatureOf, detail) => {
    const signature = signatureOf();
    const response = await fetch(`${shop.url}/providers/payments/webhook`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(signature && { "stripe-signature": signature }) },
      body: payload,
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      type: "urn:conveyor:problem:invalid-webhook",
      detail: typeof detail === "string" ? detail : expect.stringMatching(detail),
    });
  });
});

describe("payments with Stripe, captured on shipment", () => {
  const shop = useShop({ PAYMENT_CAPTURE: "on-shipment" });

  test("an order is authorized, confirmed, captured when it ships, and a third of it refunded", async () => {
    const { id } = await placeConfirmed(shop);
    await shop.client.orderIn(id, "DELIVERED");
    await refund(shop, id, { amount: 1_000 });
    await waitFor("it to be refunded", async () => (await typesOf(shop, id)).includes("refund.succeeded"));
    expect((await typesOf(shop, id)).filter((type) => !type.startsWith("wait"))).toEqual([
      ...CAPTURED_ON_SHIPMENT,
      "refund.created",
      "refund.succeeded",
    ]);
    const { charges, refunds } = shop.environment.providers.books;
    expect(charges.filter(({ orderId }) => orderId === id)).toMatchObject([{ amount: 3_000 }]);
    expect(refunds.filter(({ orderId }) => orderId === id)).toMatchObject([{ amount: 1_000 }]);
  });

  test("an order whose label can't be bought and that is cancelled gives the money back", async () => {
    shop.environment.providers.setFault("carrier", { kind: "down" });
    const id = await place(shop, "pm_card_visa");
    await waitFor("the money to be taken", async () =>
      (await typesOf(shop, id)).includes("payment.captured"),
    );
    await call(shop, "POST", `/orders/${id}/cancel`, { reason: "too slow" });
    shop.environment.providers.setFault("carrier", { kind: "none" });
    await shop.client.orderIn(id, "CANCELLED");
    const { charges, refunds } = shop.environment.providers.books;
    expect(charges.filter(({ orderId }) => orderId === id)).toHaveLength(1);
    expect(refunds.filter(({ orderId }) => orderId === id)).toMatchObject([{ amount: 3_000 }]);
  });
});

test("an authorization that ran out before the order ships is renewed, with the customer's confirmation if need be", async () => {
  const shop = await openShop({ PAYMENT_CAPTURE: "on-shipment" }, { stages: "reserve,pay,deliver,cancel" });
  try {
    const [silent, asked] = [
      await place(shop, "pm_card_visa"),
      await place(shop, "pm_card_threeDSecureRequired"),
    ];
    await waitFor("the order to wait", () => waitingOf(shop, asked));
    const lastOf = async (id: string) => (await paymentsOf(shop, id)).payments.at(-1)?.providerId;
    await happens(shop, await lastOf(asked), "authenticate");
    for (const id of [silent, asked]) {
      await shop.client.orderIn(id, "PAID");
      await happens(shop, await lastOf(id), "expire");
    }
    await shop.addWorker("ship");
    await shop.client.orderIn(silent, "DELIVERED");
    await waitFor("the order to wait anew", async () =>
      (await waitingOf(shop, asked))?.for.includes("the new payment"),
    );
    expect((await typesOf(shop, asked)).slice(-1)).not.toEqual(["SHIPPED"]);
    expect((await paymentsOf(shop, asked)).payments).toMatchObject([
      { state: "EXPIRED" },
      { state: "PENDING", action: { clientSecret: expect.any(String) } },
    ]);
    await happens(shop, await lastOf(asked), "authenticate");
    await shop.client.orderIn(asked, "DELIVERED");
    for (const id of [silent, asked]) {
      expect((await paymentsOf(shop, id)).payments).toMatchObject([
        { state: "EXPIRED", captured: 0 },
        { state: "CAPTURED", captured: 3_000 },
      ]);
      expect(shop.environment.providers.books.charges.filter(({ orderId }) => orderId === id)).toMatchObject([
        { amount: 3_000 },
      ]);
    }
  } finally {
    await closeShop(shop);
  }
});

test("a webhook is answered at once while Redis is away, and its order goes on when Redis is back", async () => {
  const redis = await startTestRedis();
  const shop = await openShop({ SWEEP_INTERVAL_MS: "100", SWEEP_AFTER_MS: "500" }, { redisUrl: redis.url });
  try {
    shop.environment.providers.setWebhooks({ lost: 1 });
    const id = await place(shop, "pm_card_authenticationRequired");
    await waitFor("the order to wait", () => waitingOf(shop, id));
    const [payment] = (await paymentsOf(shop, id)).payments;
    await happens(shop, payment?.providerId, "authenticate");
    redis.kill("SIGKILL");
    const began = performance.now();
    const answer = await sendWebhook(shop, "payment_intent.succeeded", { id: payment?.providerId });
    const tookMs = performance.now() - began;
    expect(answer.status).toBe(204);
    // Redis is taken for gone after a second; Stripe is not to wait for that.
    expect(tookMs).toBeLessThan(950);
    await redis.restart();
    await shop.client.orderIn(id, "DELIVERED");
  } finally {
    await closeShop(shop);
    await redis.stop();
  }
});
