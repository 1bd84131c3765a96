import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import type { OrderBody, OrderEventBody } from "../../src/api/schemas.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(120_000);

let line: TestLine;
beforeAll(async () => {
  line = await startLine({ transitMs: 300, env: { STAGE_ATTEMPTS: "3" } });
  await line.client.post("/stock", { items: [{ sku: "MUG-BLUE", onHand: 1_000 }] });
});
afterAll(() => line.close());

const place = (given: object = {}) => line.client.order({ ...PLAIN_ORDER, ...given });

async function eventsOf({ id }: OrderBody) {
  return (await line.client.get<{ items: OrderEventBody[] }>(`/orders/${id}/events`)).body.items;
}

/** What the providers were asked for, and how it ended. */
async function books({ id }: OrderBody): Promise<string[]> {
  const entries = line.environment.providers.entriesOf(id);
  return entries.map((entry) => `${entry.kind} ${entry.outcome}`).toSorted();
}

async function stock(sku: string) {
  const { onHand, reserved } = (await line.client.get(`/stock/${sku}`)).body;
  return { onHand, reserved };
}

describe("an order", () => {
  test("travels from POST to DELIVERED, with one charge and one label", async () => {
    await line.client.put("/stock/TRAVEL", { onHand: 10 });
    const order = await place({ lines: [{ sku: "TRAVEL", quantity: 3, unitPrice: 700 }] });
    expect(order).toMatchObject({ status: "CREATED", total: 2100 });
    const delivered = await line.client.orderIn(order.id, "DELIVERED");
    const fulfilment = { shipped: 1, delivered: 1, of: 1 };
    expect(delivered).toEqual({ ...order, status: "DELIVERED", fulfilment, updatedAt: expect.any(String) });
    expect(await books(order)).toEqual(["charge approved", "label approved"]);
    expect(await stock("TRAVEL")).toEqual({ onHand: 7, reserved: 0 });
  });

  test("tells every transition with its time and the stage's record", async () => {
    const order = await place();
    await line.client.orderIn(order.id, "DELIVERED");
    const events = await eventsOf(order);
    expect(events).toMatchObject([
      { from: null, to: "CREATED", stage: null, record: null },
      { from: "CREATED", to: "RESERVED", stage: "reserve", record: {} },
      { type: "payment.captured", from: "RESERVED", to: "RESERVED", stage: null, record: { amount: 2500 } },
      {
        from: "RESERVED",
        to: "PAID",
        stage: "pay",
        record: { amount: 2500, currency: "EUR", paymentId: expect.stringMatching(/^ch_/) },
      },
      {
        type: "shipment.booked",
        from: "PAID",
        to: "PAID",
        record: { shipment: 1, pieces: 2, carrier: "http" },
      },
      {
        from: "PAID",
        to: "SHIPPED",
        stage: "ship",
        record: { trackingNumber: expect.stringMatching(/^CV/) },
      },
      { type: "shipment.delivered", from: "SHIPPED", to: "SHIPPED", record: { shipment: 1 } },
      { from: "SHIPPED", to: "DELIVERED", stage: "deliver", record: { deliveredAt: expect.any(String) } },
    ]);
    const times = events.map((event) => Date.parse(event.at));
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect((times.at(-1) ?? 0) - (times.at(-3) ?? 0)).toBeGreaterThanOrEqual(250);
  });

  test("that costs nothing is delivered without a charge", async () => {
    const order = await place({ lines: [{ sku: "MUG-BLUE", quantity: 1, unitPrice: 0 }] });
    await line.client.orderIn(order.id, "DELIVERED");
    expect(await books(order)).toEqual(["label approved"]);
  });

  test("for what is sold out is cancelled with the reason, and nobody is charged", async () => {
    await line.client.put("/stock/LAST-ONE", { onHand: 1 });
    const order = await place({
      lines: [
        { sku: "MUG-BLUE", quantity: 1, unitPrice: 100 },
        { sku: "LAST-ONE", quantity: 2, unitPrice: 100 },
      ],
    });
    const cancelled = await line.client.orderIn(order.id, "CANCELLED");
    expect(cancelled.cancellation).toEqual({ reason: "sold out: LAST-ONE", requestedAt: expect.any(String) });
    expect((await eventsOf(order)).at(-1)).toMatchObject({
      from: "CREATED",
      to: "CANCELLED",
      reason: "sold out: LAST-ONE",
    });
    expect(await stock("LAST-ONE")).toEqual({ onHand: 1, reserved: 0 });
    expect((await books(order)).filter((entry) => entry.endsWith("approved"))).toEqual([]);
  });

  test("whose payment is declined has its stock released, and is cancelled", async () => {
    await line.client.put("/stock/DECLINE", { onHand: 5 });
    const order = await place({
      paymentToken: "tok_declined",
      lines: [{ sku: "DECLINE", quantity: 2, unitPrice: 100 }],
    });
    const cancelled = await line.client.orderIn(order.id, "CANCELLED");
    expect(cancelled.cancellation?.reason).toBe("payment declined: the card was declined");
    expect((await eventsOf(order)).map(({ type, to }) => [type, to])).toEqual([
      ["status", "CREATED"],
      ["status", "RESERVED"],
      ["payment.declined", "RESERVED"],
      ["cancel-requested", "RESERVED"],
      ["status", "CANCELLED"],
    ]);
    expect(await stock("DECLINE")).toEqual({ onHand: 5, reserved: 0 });
    expect(await books(order)).toEqual(["charge declined"]);
  });

  test("whose provider stumbles is retried, and charged once", async () => {
    const order = await place({ paymentToken: "tok_stumbles_2" });
    await line.client.orderIn(order.id, "DELIVERED");
    const [charge] = line.environment.providers.entriesOf(order.id);
    expect(charge).toMatchObject({ kind: "charge", outcome: "approved", attempts: 3 });
  });

  test("whose provider stays down says so after its attempts, and can be found by that", async () => {
    const order = await place({ paymentToken: "tok_down", customerId: "cust-down" });
    const failed = await waitFor("the order to fail", async () => {
      const { body } = await line.client.get(`/orders/${order.id}`);
      return body.failed && body;
    });
    expect(failed).toMatchObject({
      status: "RESERVED",
      failed: { stage: "pay", reason: "payments answered 503", at: expect.any(String) },
    });
    expect((await line.client.orders({ failed: "true" })).map(({ id }) => id)).toEqual([order.id]);
    expect((await line.client.orders({ failed: "false" })).map(({ id }) => id)).not.toContain(order.id);
    expect(await line.client.orders({ failed: "true", customerId: "cust-other" })).toEqual([]);
  });
});

test("payment tokens and addresses stand in no log line, no job and no event", async () => {
  const secrets = {
    token: "tok_down_secret_4711",
    name: "Ada Byron-Lovelace",
    street: "12 St James's Square",
  };
  const shipTo = {
    name: secrets.name,
    line1: secrets.street,
    city: "Londinium",
    postalCode: "SW1Y 4JH",
    country: "GB",
  };
  for (const paymentToken of [secrets.token, "tok_declined", "tok_down"])
    await place({ paymentToken, shipTo, customerId: "cust-secret" });
  await waitFor("all to have ended or failed", async () => {
    const orders = await line.client.orders({ customerId: "cust-secret" });
    return (
      orders.length === 3 &&
      orders.every((order) => order.failed ?? ["DELIVERED", "CANCELLED"].includes(order.status))
    );
  });
  const told = [line.api, ...line.workers].flatMap((each) => each.lines).join("\n");
  const jobs = await Promise.all((await line.environment.redis.keys("*")).map((key) => dump(key)));
  const events = JSON.stringify(
    await Promise.all((await line.client.orders({ customerId: "cust-secret" })).map(eventsOf)),
  );
  for (const text of [told, jobs.join("\n"), events]) {
    expect(text).toContain("pay");
    expect(text).not.toMatch(/tok_|Ada Byron|James's|Londinium|SW1Y/);
  }
});

/** Everything that Redis keeps under a key, as text. */
async function dump(key: string): Promise<string> {
  const { redis } = line.environment;
  switch (await redis.type(key)) {
    case "hash":
      return JSON.stringify(await redis.hgetall(key));
    case "stream":
      return JSON.stringify(await redis.call("XRANGE", key, "-", "+"));
    case "zset":
      return JSON.stringify(await redis.call("ZRANGE", key, "0", "-1"));
    case "list":
      return JSON.stringify(await redis.lrange(key, 0, -1));
    default:
      return String(await redis.get(key));
  }
}

test("a worker logs one line an outcome, with order, stage, attempt and milliseconds", async () => {
  const order = await place({ paymentToken: "tok_stumbles_1" });
  await line.client.orderIn(order.id, "DELIVERED");
  const outcomes = await waitFor("the last line", () => {
    const lines = line.workers
      .flatMap((worker) => worker.logs())
      .filter((entry) => entry["orderId"] === order.id);
    return lines.some((entry) => entry["status"] === "DELIVERED") && lines;
  });
  const told = outcomes.map(
    (entry) =>
      `${String(entry["level"])} ${String(entry["stage"])} ${String(entry["attempt"])} ${String(entry["msg"])}`,
  );
  expect(told.filter((text) => !text.includes("snoozed"))).toEqual([
    "info reserve 1 done",
    "warn pay 1 will be retried",
    "info pay 2 done",
    "info ship 1 done",
    "info deliver 1 done",
  ]);
  for (const entry of outcomes) expect(entry["ms"]).toEqual(expect.any(Number));
});
