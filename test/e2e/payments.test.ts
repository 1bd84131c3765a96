import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { setStock } from "../../db/stock.ts";
import { TestClient } from "../support/client.ts";
import { WEBHOOK_SECRET } from "../support/desk.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { startApi, startWorker, TEST_KEY, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

/** The whole service with Stripe, which runs here, and its webhooks. */
interface Shop {
  readonly environment: TestEnvironment;
  readonly processes: readonly TestProcess[];
  readonly client: TestClient;
  readonly url: string;
}

async function openShop(env: Readonly<Record<string, string>>): Promise<Shop> {
  const environment = await createTestEnvironment();
  const { databaseUrl, redisUrl, providers } = environment;
  const options = {
    databaseUrl,
    redisUrl,
    providers,
    env: {
      STAGE_BACKOFF_MS: "20",
      PAYMENTS: "stripe",
      STRIPE_SECRET_KEY: "sk_test_e2e",
      STRIPE_WEBHOOK_SECRET: `whsec_old_one ${WEBHOOK_SECRET}`,
      STRIPE_API_URL: providers.paymentsUrl,
      ...env,
    },
  };
  const api = await startApi(options);
  const worker = await startWorker(options);
  providers.setWebhooks({ url: `${api.url}/providers/payments/webhook`, secret: WEBHOOK_SECRET });
  await setStock(environment.database, [{ sku: "MUG-BLUE", onHand: 10_000 }]);
  return { environment, processes: [api, worker], client: new TestClient(api.url), url: api.url };
}

async function close({ processes, environment }: Shop): Promise<void> {
  await Promise.all(processes.map((each) => each.stop()));
  await environment.close();
}

const body = (paymentToken: string | undefined, more: object = {}) => ({
  customerId: "cust-1",
  currency: "EUR",
  lines: [{ sku: "MUG-BLUE", quantity: 3, unitPrice: 1_000 }],
  ...(paymentToken !== undefined && { paymentToken }),
  ...more,
});
const told = z.object({
  payments: z.array(
    z.looseObject({
      state: z.string(),
      providerId: z.string().nullable(),
      captured: z.number(),
      refunded: z.number(),
      action: z.record(z.string(), z.string()).optional(),
    }),
  ),
  refunds: z.array(z.looseObject({ id: z.string(), state: z.string(), amount: z.number() })),
});

async function call(
  shop: Shop,
  method: string,
  path: string,
  content?: object,
  headers: Record<string, string> = {},
) {
  const response = await fetch(shop.url + path, {
    method,
    headers: { authorization: `Bearer ${TEST_KEY}`, "content-type": "application/json", ...headers },
    ...(content && { body: JSON.stringify(content) }),
  });
  const text = await response.text();
  const parsed: unknown = text === "" ? undefined : JSON.parse(text);
  return { status: response.status, body: parsed };
}

const place = async (shop: Shop, token?: string, more?: object) =>
  z.object({ id: z.string() }).parse((await call(shop, "POST", "/orders", body(token, more))).body).id;
const paymentsOf = async (shop: Shop, id: string) =>
  told.parse((await call(shop, "GET", `/orders/${id}/payments`)).body);
const eventsOf = async (shop: Shop, id: string) => {
  const events = z.object({ items: z.array(z.looseObject({ type: z.string(), to: z.string() })) });
  return events.parse((await call(shop, "GET", `/orders/${id}/events`)).body).items;
};
const typesOf = async (shop: Shop, id: string) =>
  (await eventsOf(shop, id)).map(({ type, to }) => (type === "status" ? to : type));
const waitingOf = async (shop: Shop, id: string) =>
  z
    .object({ waiting: z.looseObject({ for: z.string() }).optional() })
    .parse((await call(shop, "GET", `/orders/${id}`)).body).waiting;
const authenticate = (shop: Shop, paymentId: string | null | undefined) =>
  fetch(`${shop.environment.providers.paymentsUrl}/simulator/payment_intents/${paymentId}/authenticate`, {
    method: "POST",
  });
const refund = (shop: Shop, id: string, content: object, headers?: Record<string, string>) =>
  call(shop, "POST", `/orders/${id}/refunds`, { reason: "arrived broken", ...content }, headers);

describe("payments with Stripe, captured on payment", () => {
  let shop: Shop;
  beforeAll(async () => {
    shop = await openShop({});
  });
  afterAll(() => close(shop));

  test("an order whose customer has to confirm waits, and goes on as soon as the webhook says so", async () => {
    const id = await place(shop, "pm_card_authenticationRequired");
    const waiting = await waitFor("the order to wait", () => waitingOf(shop, id));
    expect(waiting.for).toBe("the customer to confirm the payment");
    const [pending] = (await paymentsOf(shop, id)).payments;
    expect(pending).toMatchObject({ state: "PENDING", action: { clientSecret: expect.any(String) } });
    await authenticate(shop, pending?.providerId);
    await shop.client.orderIn(id, "DELIVERED");
    expect((await paymentsOf(shop, id)).payments).toMatchObject([{ state: "CAPTURED", captured: 3_000 }]);
    expect(await typesOf(shop, id)).toEqual([
      "CREATED",
      "RESERVED",
      "payment.pending",
      ...(await typesOf(shop, id)).filter((type) => type.startsWith("wait")),
      "payment.captured",
      "PAID",
      "SHIPPED",
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
    const id = await place(shop, "pm_card_refundFail");
    await shop.client.orderIn(id, "DELIVERED");
    await refund(shop, id, { amount: 500 });
    await waitFor("it to fail", async () => (await typesOf(shop, id)).includes("refund.failed"));
    expect((await paymentsOf(shop, id)).payments).toMatchObject([{ refunded: 0 }]);
    expect((await refund(shop, id, { amount: 3_000 })).status).toBe(202);
  });

  test.each([
    ["without a signature", undefined],
    ["with a forged signature", "t=1,v1=00"],
  ])("a webhook %s is refused", async (_what, signature) => {
    const response = await fetch(`${shop.url}/providers/payments/webhook`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(signature && { "stripe-signature": signature }) },
      body: "{}",
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ type: "urn:conveyor:problem:invalid-webhook" });
  });
});

describe("payments with Stripe, captured on shipment", () => {
  let shop: Shop;
  beforeAll(async () => {
    shop = await openShop({ PAYMENT_CAPTURE: "on-shipment" });
  });
  afterAll(() => close(shop));

  test("an order is authorized, confirmed, captured when it ships, and a third of it refunded", async () => {
    const id = await place(shop, "pm_card_authenticationRequired");
    await waitFor("the order to wait", () => waitingOf(shop, id));
    const [pending] = (await paymentsOf(shop, id)).payments;
    await authenticate(shop, pending?.providerId);
    await shop.client.orderIn(id, "DELIVERED");
    await refund(shop, id, { amount: 1_000 });
    await waitFor("it to be refunded", async () => (await typesOf(shop, id)).includes("refund.succeeded"));
    expect((await typesOf(shop, id)).filter((type) => !type.startsWith("wait"))).toEqual([
      "CREATED",
      "RESERVED",
      "payment.pending",
      "payment.authorized",
      "PAID",
      "payment.captured",
      "SHIPPED",
      "DELIVERED",
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
