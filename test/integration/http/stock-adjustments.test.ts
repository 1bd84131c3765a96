import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { StockMovementBody } from "../../../src/api/schemas.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";
import { startWorker, type TestProcess } from "../../support/processes.ts";
import { waitFor } from "../../support/wait-for.ts";

const api = useApi();
let made = 0;
const newSku = () => `SKU-${++made}`;
const DELIVERY = { delta: 10, reason: "delivery" };

const adjust = (sku: string, body: unknown, key?: string) =>
  api.client.post(`/stock/${sku}/adjustments`, body, key === undefined ? {} : { "idempotency-key": key });
const onHand = async (sku: string) => (await api.client.get(`/stock/${sku}`)).body.onHand;

async function movements(sku: string): Promise<StockMovementBody[]> {
  return (await api.client.get<{ items: StockMovementBody[] }>(`/stock/${sku}/movements`)).body.items;
}

describe("an adjustment", () => {
  test("adds to what is there, and takes from it, also where nothing was", async () => {
    const sku = newSku();
    expect(await adjust(sku, DELIVERY)).toMatchObject({
      status: 200,
      body: { sku, onHand: 10, available: 10 },
    });
    expect(await adjust(sku, { delta: -3, reason: "broken" })).toMatchObject({
      status: 200,
      body: { onHand: 7 },
    });
    expect(await onHand(sku)).toBe(7);
  });

  test("is made once for each key, and answered alike each time", async () => {
    const sku = newSku();
    const first = await adjust(sku, DELIVERY, `${sku}-a`);
    await adjust(sku, DELIVERY, `${sku}-b`);
    const again = await adjust(sku, DELIVERY, `${sku}-a`);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(first.headers.get("idempotent-replayed")).toBeNull();
    expect(await onHand(sku)).toBe(20);
    for (const [path, body] of [
      [sku, { ...DELIVERY, delta: 11 }],
      [newSku(), DELIVERY],
    ] as const) {
      const refused = await adjust(path, body, `${sku}-a`);
      expect(refused).toMatchObject({
        status: 422,
        body: { type: "urn:conveyor:problem:idempotency-key-reused" },
      });
    }
  });

  test("adds up with forty others at once, half of them repeated, on a SKU that is new", async () => {
    const sku = newSku();
    const keys = Array.from({ length: 40 }, (_, index) => `${sku}-${index % 20}`);
    const answers = await Promise.all(keys.map((key) => adjust(sku, DELIVERY, key)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await onHand(sku)).toBe(200);
    expect(await movements(sku)).toHaveLength(20);
  });

  test.each([
    ["nothing", { delta: 0, reason: "none" }, "delta", /must not be 0/],
    ["a part of a piece", { delta: 0.5, reason: "x" }, "delta", /int/],
    ["no reason", { delta: 1 }, "reason", /is missing/],
    ["more than can be counted", { delta: LIMITS.onHand + 1, reason: "x" }, "delta", /<=/],
  ])("of %s is refused", async (_, body, path, message) => {
    const sku = newSku();
    const refused = await adjust(sku, body);
    expect(refused.status).toBe(422);
    expect(refused.body.errors).toEqual([{ path, message: expect.stringMatching(message) }]);
    expect((await api.client.get(`/stock/${sku}`)).status).toBe(404);
  });

  test("never leaves less than nothing, nor more than can be counted", async () => {
    const sku = newSku();
    expect((await adjust(sku, { delta: -1, reason: "x" })).status).toBe(404);
    await adjust(sku, DELIVERY);
    expect((await adjust(sku, { delta: -11, reason: "x" })).status).toBe(409);
    const most = await adjust(sku, { delta: LIMITS.onHand, reason: "x" });
    expect(most.body.errors).toEqual([
      { path: "delta", message: `there would be ${LIMITS.onHand + 10} of ${sku} on hand` },
    ]);
    expect(await onHand(sku)).toBe(10);
  });
});

describe("setting the level that one has seen", () => {
  const put = (sku: string, value: number, headers: Record<string, string>) =>
    api.client.request("PUT", `/stock/${sku}`, { onHand: value }, headers);

  test("fails once somebody was faster, and tells the level now", async () => {
    const sku = newSku();
    await adjust(sku, DELIVERY);
    const tag = (await api.client.get(`/stock/${sku}`)).headers.get("etag") ?? "";
    expect((await put(sku, 12, { "if-match": tag })).status).toBe(200);
    const late = await put(sku, 15, { "if-match": tag });
    expect(late).toMatchObject({ status: 412, body: { type: "urn:conveyor:problem:precondition-failed" } });
    expect(late.body.detail).toBe(`there are 12 of ${sku} on hand now`);
    expect(await onHand(sku)).toBe(12);
    expect((await put(sku, 15, { "if-match": late.headers.get("etag") ?? "" })).status).toBe(200);
  });

  test("lets one of many win that saw the same", async () => {
    const sku = newSku();
    const { headers } = await adjust(sku, DELIVERY);
    const tag = headers.get("etag") ?? "";
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, at) => put(sku, 20 + at, { "if-match": tag })),
    );
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([
      200,
      ...Array.from({ length: 7 }, () => 412),
    ]);
  });

  test.each([
    ["* to what exists", true, { "if-match": "*" }, 200],
    ["* to what does not", false, { "if-match": "*" }, 412],
    ["another level among others", true, { "if-match": '"1-0", "10-0"' }, 200],
    ["a weak tag", true, { "if-match": 'W/"10-0"' }, 412],
    ["no tag at all", true, { "if-match": "10-0" }, 400],
    ["what must be new, to what is", false, { "if-none-match": "*" }, 200],
    ["what must be new, to what is not", true, { "if-none-match": "*" }, 412],
  ])("with %s", async (_, exists, headers, status) => {
    const sku = newSku();
    if (exists) await adjust(sku, DELIVERY);
    expect((await put(sku, 12, headers)).status).toBe(status);
    expect((await api.client.get(`/stock/${sku}`)).status).toBe(exists || status === 200 ? 200 : 404);
  });
});

describe("the movements of a SKU", () => {
  let worker: TestProcess;
  beforeAll(async () => {
    worker = await startWorker(api.environment);
  });
  afterAll(() => worker.stop());

  test("tell why the number is what it is, and add up to it", async () => {
    const sku = newSku();
    await adjust(sku, { ...DELIVERY, reference: "DN-17" });
    await api.client.put(`/stock/${sku}`, { onHand: 8 });
    await api.client.put(`/stock/${sku}`, { onHand: 8 });
    const lines = [
      { sku, quantity: 2, unitPrice: 5 },
      { sku, quantity: 1, unitPrice: 7 },
    ];
    const { id } = await api.client.order({ ...PLAIN_ORDER, lines });
    await api.client.orderIn(id, "DELIVERED");

    const items = await movements(sku);
    expect(
      items.map(({ kind, delta, orderId, reason, reference }) => [kind, delta, orderId, reason, reference]),
    ).toEqual([
      ["shipment", -3, id, null, null],
      ["count", -2, null, null, null],
      ["adjustment", 10, null, "delivery", "DN-17"],
    ]);
    expect(items.map(({ actor }) => actor)).toEqual([null, expect.any(String), expect.any(String)]);
    expect(items.reduce((sum, { delta }) => sum + delta, 0)).toBe(await onHand(sku));
  });

  test("an order that waits for goods shows so, goes on at once when all are there, and is cancelled if asked", async () => {
    const [mug, pot] = [newSku(), newSku()];
    const lines = [mug, pot].map((sku) => ({ sku, quantity: 2, unitPrice: 5 }));
    const { id } = await api.client.order({ ...PLAIN_ORDER, lines, whenSoldOut: "wait" });
    const other = await api.client.order({ ...PLAIN_ORDER, lines, whenSoldOut: "wait" });
    const order = await waitFor("the order waits", async () => {
      const { body } = await api.client.get(`/orders/${id}`);
      return body.waiting && body;
    });
    expect(order).toMatchObject({
      whenSoldOut: "wait",
      status: "CREATED",
      waiting: { stage: "reserve", for: `stock of ${mug}, ${pot}`, until: null },
    });
    await adjust(mug, DELIVERY);
    expect((await api.client.get(`/stock/${mug}`)).body).toMatchObject({ reserved: 0 });
    await adjust(pot, { delta: 2, reason: "delivery" });
    await api.client.orderIn(id, "DELIVERED");
    expect(await onHand(pot)).toBe(0);
    await api.client.post(`/orders/${other.id}/cancel`, { reason: "no longer wanted" });
    await api.client.orderIn(other.id, "CANCELLED");
    await adjust(pot, { delta: 2, reason: "delivery" });
    expect((await api.client.get(`/stock/${pot}`)).body).toMatchObject({ onHand: 2, reserved: 0 });
  });

  test("come page by page", async () => {
    const sku = newSku();
    for (let delta = 1; delta <= 5; delta++) await adjust(sku, { delta, reason: "x" });
    const deltas: number[] = [];
    for (let query = "?limit=2"; ;) {
      const { body } = await api.client.get<{ items: StockMovementBody[]; nextCursor: string | null }>(
        `/stock/${sku}/movements${query}`,
      );
      deltas.push(...body.items.map(({ delta }) => delta));
      if (body.nextCursor === null) break;
      query = `?limit=2&cursor=${body.nextCursor}`;
    }
    expect(deltas).toEqual([5, 4, 3, 2, 1]);
    expect((await api.client.get(`/stock/${sku}/movements?cursor=eA`)).status).toBe(400);
    expect((await api.client.get("/stock/unknown/movements")).status).toBe(404);
  });
});

test("GET /stock lists every SKU once, page by page, in order of SKU", async () => {
  const skus = ["a", "B", "ä", "Z-9", "0"].map((name) => `${name} ${newSku()}`);
  for (const sku of skus) await adjust(encodeURIComponent(sku), DELIVERY);
  const found: string[] = [];
  for (let query = "?limit=3"; ;) {
    const { body } = await api.client.get<{ items: { sku: string }[]; nextCursor: string | null }>(
      `/stock${query}`,
    );
    expect(body.items.length).toBeLessThanOrEqual(3);
    found.push(...body.items.map(({ sku }) => sku));
    if (body.nextCursor === null) break;
    query = `?limit=3&cursor=${body.nextCursor}`;
  }
  expect(new Set(found).size).toBe(found.length);
  expect(found).toEqual(expect.arrayContaining(skus));
  expect((await api.client.get("/stock?cursor=%3F")).status).toBe(400);
});
