import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { v7 as uuidv7 } from "uuid";
import type { OrderEventBody } from "../../../src/api/schemas.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";
import { startWorker, type TestProcess } from "../../support/processes.ts";

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

const FULL_ORDER = {
  customerId: "Žofie ✓ 顧客 😀",
  currency: "JPY",
  lines: [
    { sku: "b", quantity: 1, unitPrice: 0 },
    { sku: "a", quantity: 3, unitPrice: 33 },
    { sku: "b", quantity: 2, unitPrice: 7 },
  ],
  reference: "INV-1001",
  paymentToken: "tok_secret_4711",
  shipTo: {
    name: "Nancy Thompson",
    line1: "1428 Elm Street",
    line2: "Upper floor",
    city: "Springwood",
    region: "Ohio",
    postalCode: "43219",
    country: "US",
  },
};

/** Says of people whatever can be said of them. */
const PRIVATE_ORDER = {
  ...FULL_ORDER,
  customerId: "cust-77",
  customer: { id: "cust-77", name: "Nancy Secret", email: "nancy@secret.example", phone: "+1 555 0123" },
  billTo: { ...FULL_ORDER.shipTo, name: "Donald Payer", line1: "Cellar Road 2" },
  metadata: { cartId: "metadata-4711" },
  note: "Ring twice, says Nancy.",
};
const SECRETS = [
  PRIVATE_ORDER.paymentToken,
  ...[PRIVATE_ORDER.shipTo, PRIVATE_ORDER.billTo].flatMap(({ name, line1, city }) => [name, line1, city]),
  PRIVATE_ORDER.customer.name,
  PRIVATE_ORDER.customer.email,
  PRIVATE_ORDER.customer.phone,
  PRIVATE_ORDER.metadata.cartId,
  PRIVATE_ORDER.note,
];

const api = useApi();

describe("POST /orders", () => {
  test("accepts an order and says where it can be followed", async () => {
    const answer = await api.client.post("/orders", PLAIN_ORDER);

    expect(answer.status).toBe(202);
    expect(answer.body).toEqual({
      id: expect.stringMatching(UUID_V7),
      status: "CREATED",
      reference: null,
      customerId: "cust-1",
      currency: "EUR",
      total: 2500,
      lines: PLAIN_ORDER.lines,
      createdAt: expect.stringMatching(INSTANT),
      updatedAt: answer.body.createdAt,
    });
    const location = answer.headers.get("location");
    expect(location).toBe(`/orders/${answer.body.id}`);
    expect((await api.client.get(location!)).body).toEqual(answer.body);
  });

  test("keeps every character and the order of the lines", async () => {
    const { paymentToken, ...told } = FULL_ORDER;
    const order = await api.client.order(FULL_ORDER);
    expect(order).toMatchObject({ ...told, total: 113 });
    expect((await api.client.get(`/orders/${order.id}`)).body).toEqual(order);
  });

  test("tells people and their words to those who read the order, and to nobody else", async () => {
    const created = await api.client.post("/orders", PRIVATE_ORDER);
    const { id } = created.body;
    const { paymentToken, ...told } = PRIVATE_ORDER;
    const read = await api.client.get(`/orders/${id}`);
    expect(read.body).toMatchObject(told);
    expect(read.body).toEqual(created.body);
    const listed = await api.client.get("/orders?limit=1");
    expect(listed.body.items[0]).toEqual(read.body);

    const events = await api.client.get(`/orders/${id}/events`);
    const log = await api.client.get("/events?limit=1000");
    const elsewhere = JSON.stringify([events.body, log.body, api.process.lines]);
    for (const secret of SECRETS) expect(elsewhere).not.toContain(secret);
    expect(JSON.stringify([created.body, read.body, listed.body])).not.toContain(paymentToken);
  });

  test("keeps everything that can be said of lines and of the total", async () => {
    const lines = [
      { sku: "MUG", quantity: 2, unitPrice: 1250, name: "Blue mug", weight: 350, taxRate: 0.19 },
      { sku: "GIFT", quantity: 1, unitPrice: 5000, stocked: false, requiresShipping: false },
    ];
    const adjustments = [
      { kind: "shipping", label: "DHL", amount: 499 },
      { kind: "discount", amount: -1000 },
      { kind: "tax", amount: 1197, included: true },
      { kind: "rounding", amount: -4 },
    ];
    const order = await api.client.order({ ...PLAIN_ORDER, lines, adjustments, total: 6995 });
    expect(order).toMatchObject({ lines, adjustments, total: 6995 });
    expect((await api.client.get(`/orders/${order.id}`)).body).toEqual(order);
  });

  test("gives ids that sort by the time of their making", async () => {
    const ids: string[] = [];
    for (let made = 0; made < 10; made++) ids.push((await api.client.order(PLAIN_ORDER)).id);
    expect(ids).toEqual(ids.toSorted());
    expect(new Set(ids).size).toBe(10);
  });

  test("takes many orders at once, each with its own answer", async () => {
    const references = Array.from({ length: 60 }, (_, index) => `burst-${index}`);
    const orders = await Promise.all(
      references.map((reference) => api.client.order({ ...PLAIN_ORDER, reference })),
    );
    expect(orders.map((order) => order.reference)).toEqual(references);
    expect(new Set(orders.map((order) => order.id)).size).toBe(references.length);
  });

  test("takes an order with as many lines as the limit allows, and gives all of them back", async () => {
    const lines = Array.from({ length: LIMITS.lines }, (_, index) => ({
      sku: `SKU-${index}`.padEnd(LIMITS.identifier, "x"),
      quantity: 1 + (index % 3),
      unitPrice: index,
    }));
    const { id, total } = await api.client.order({ ...PLAIN_ORDER, lines });
    expect(total).toBe(lines.reduce((sum, line) => sum + line.quantity * line.unitPrice, 0));
    expect((await api.client.get(`/orders/${id}`)).body.lines).toEqual(lines);
  });

  test("takes the largest total that is kept exactly, and gives it back to the last unit", async () => {
    const lines = [
      { sku: "A", quantity: 900_719, unitPrice: 10_000_000_000 },
      { sku: "A", quantity: 1, unitPrice: 9_254_740_991 },
    ];
    const order = await api.client.order({ ...PLAIN_ORDER, lines });
    expect(order.total).toBe(Number.MAX_SAFE_INTEGER);
    expect((await api.client.get(`/orders/${order.id}`)).body.total).toBe(Number.MAX_SAFE_INTEGER);
  });
});

describe("GET /orders/:id", () => {
  test("finds an order by its id in capital letters", async () => {
    const order = await api.client.order(PLAIN_ORDER);
    expect((await api.client.get(`/orders/${order.id.toUpperCase()}`)).body).toEqual(order);
  });

  test.each([
    ["an id that nobody has", uuidv7()],
    ["a number", "17"],
    ["a word", "nothing"],
    ["an id and more", `${uuidv7()}0`],
    ["quotes and percent signs", encodeURIComponent(`' OR '%' = '`)],
    ["a slash", encodeURIComponent("a/b")],
  ])("answers 404 to %s, and so do its events", async (_, id) => {
    const detail = `there is no order ${decodeURIComponent(id)}`;
    for (const path of [`/orders/${id}`, `/orders/${id}/events`]) {
      const { status, body } = await api.client.get(path);
      expect(status).toBe(404);
      expect(body).toMatchObject({ type: "urn:conveyor:problem:not-found", status: 404, detail });
    }
  });
});

describe("GET /orders/:id/events", () => {
  let worker: TestProcess;
  beforeAll(async () => {
    worker = await startWorker(api.environment);
    await api.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
  });
  afterAll(() => worker.stop());

  async function events(id: string): Promise<OrderEventBody[]> {
    return (await api.client.get<{ items: OrderEventBody[] }>(`/orders/${id}/events`)).body.items;
  }

  test("tells the creation of an order that has not moved yet", async () => {
    const order = await api.client.order({
      ...PLAIN_ORDER,
      lines: [{ sku: "NONE", quantity: 1, unitPrice: 1 }],
    });
    expect((await events(order.id))[0]).toEqual({
      id: expect.any(Number),
      from: null,
      to: "CREATED",
      stage: null,
      reason: null,
      record: null,
      at: order.createdAt,
      type: "status",
      actor: null,
      attempt: null,
      startedAt: null,
    });
  });

  test("tells every transition with its time and the stage's record, oldest first", async () => {
    const { id } = await api.client.order(PLAIN_ORDER);
    const delivered = await api.client.orderIn(id, "DELIVERED");
    const items = await events(id);

    const beside: Record<string, string> = {
      pay: "payment.captured",
      ship: "shipment.booked",
      deliver: "shipment.delivered",
    };
    expect(items.map(({ type, from, to, stage }) => [type, from, to, stage])).toEqual([
      ["status", null, "CREATED", null],
      ...lifecycle.stages.flatMap((stage) => {
        const from = lifecycle.statusBefore(stage);
        const also = beside[stage.name];
        const done = ["status", from, stage.to, stage.name];
        return also === undefined ? [done] : [[also, from, from, null], done];
      }),
    ]);
    expect(Object.fromEntries(items.map(({ type, stage, record }) => [stage ?? type, record]))).toEqual(
      expect.objectContaining({
        status: null,
        reserve: {},
        "payment.captured": {
          provider: "http",
          paymentId: expect.stringMatching(/^ch_/),
          amount: 2500,
          currency: "EUR",
        },
        pay: { paymentId: expect.stringMatching(/^ch_/), amount: 2500, currency: "EUR" },
        "shipment.booked": expect.objectContaining({
          shipment: 1,
          trackingNumber: expect.stringMatching(/^CV/),
        }),
        ship: { shipments: 1, trackingNumber: expect.stringMatching(/^CV/) },
        "shipment.delivered": expect.objectContaining({
          shipment: 1,
          trackingNumber: expect.stringMatching(/^CV/),
        }),
        deliver: { deliveredAt: expect.stringMatching(INSTANT) },
      }),
    );
    for (const [index, event] of items.slice(1).entries()) {
      expect(event.id).toBeGreaterThan(items[index]!.id);
      expect(event.at >= items[index]!.at).toBe(true);
    }
    expect(items.at(-1)?.at).toBe(delivered.updatedAt);
  });

  test("tells that goods which nobody stocks are never sold out, beside others that are reserved", async () => {
    const service = { sku: "ENGRAVING", quantity: 3, unitPrice: 400, stocked: false };
    const before = (await api.client.get("/stock/MUG-BLUE")).body.onHand;
    const { id } = await api.client.order({ ...PLAIN_ORDER, lines: [service] });
    const both = await api.client.order({ ...PLAIN_ORDER, lines: [...PLAIN_ORDER.lines, service] });
    await api.client.orderIn(id, "DELIVERED");
    await api.client.orderIn(both.id, "DELIVERED");
    expect((await api.client.get("/stock/ENGRAVING")).status).toBe(404);
    expect((await api.client.get("/stock/MUG-BLUE")).body.onHand).toBe(before - 2);
  });

  test("tells why an order was cancelled", async () => {
    const { id } = await api.client.order({ ...PLAIN_ORDER, paymentToken: "tok_declined" });
    const order = await api.client.orderIn(id, "CANCELLED");
    const items = await events(id);

    const reason = "payment declined: the card was declined";
    expect(order.cancellation).toEqual({ reason, requestedAt: expect.stringMatching(INSTANT) });
    expect(items.at(-1)).toMatchObject({ from: "RESERVED", to: "CANCELLED", stage: null, reason });
  });
});
