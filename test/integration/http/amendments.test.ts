import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { orderStore } from "../../../db/order-store.ts";
import type { OrderBody, OrderEventBody } from "../../../src/api/schemas.ts";
import { BatchingStore } from "../../../src/engine/batching-store.ts";
import { useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";
import { startWorker, type TestProcess } from "../../support/processes.ts";
import { waitFor } from "../../support/wait-for.ts";

const api = useApi();
const ADDRESS = {
  name: "Ada Secret",
  line1: "Hidden Lane 1",
  city: "Veiled",
  postalCode: "V1",
  country: "GB",
};
const REVIEW = { name: "fraud review", reason: "two cards, one address" };

const patch = (id: string, body: unknown) => api.client.request("PATCH", `/orders/${id}`, body);
const hold = (id: string, body: unknown) => api.client.post(`/orders/${id}/holds`, body);
const release = (id: string, name: string) =>
  api.client.request("DELETE", `/orders/${id}/holds/${encodeURIComponent(name)}`);
const read = async (id: string): Promise<OrderBody> => (await api.client.get(`/orders/${id}`)).body;

async function eventsOf(id: string, type: string): Promise<OrderEventBody[]> {
  const { body } = await api.client.get<{ items: OrderEventBody[] }>(`/orders/${id}/events`);
  return body.items.filter((event) => event.type === type);
}

describe("PATCH /orders/:id", () => {
  test("changes what is given, removes what is null, and leaves the rest", async () => {
    const order = await api.client.order({
      ...PLAIN_ORDER,
      customer: { id: PLAIN_ORDER.customerId, name: "Ada", email: "ada@example.com" },
      shipTo: { ...ADDRESS, line2: "Attic" },
      metadata: { kept: "yes", gone: "soon" },
      note: "old",
    });
    const answer = await patch(order.id, {
      customer: { email: "new@example.com" },
      shipTo: { ...ADDRESS, region: null },
      billTo: ADDRESS,
      metadata: { gone: null, added: "now" },
      note: null,
    });
    expect(answer.status).toBe(200);
    const { note: _note, ...before } = order;
    expect(answer.body).toEqual({
      ...before,
      customer: { id: PLAIN_ORDER.customerId, name: "Ada", email: "new@example.com" },
      shipTo: ADDRESS,
      billTo: ADDRESS,
      metadata: { kept: "yes", added: "now" },
    });
    expect(await read(order.id)).toEqual(answer.body);
  });

  test("tells which fields changed, in an event without their values", async () => {
    const { id } = await api.client.order(PLAIN_ORDER);
    await patch(id, { shipTo: ADDRESS, note: "Ring at Veiled" });
    await patch(id, { shipTo: ADDRESS });
    await patch(id, {});
    const events = await eventsOf(id, "changed");
    expect(events.map(({ record, from, to }) => [record, from, to])).toEqual([
      [{ fields: "shipTo, note" }, "CREATED", "CREATED"],
    ]);
    const { body } = await api.client.get<{ items: { subject: string; type: string; data: object }[] }>(
      "/events?limit=1000",
    );
    const message = body.items.find(
      ({ subject, type }) => subject === id && type === "conveyor.order.changed.v1",
    );
    expect(message?.data).toMatchObject({ details: { fields: "shipTo, note" } });
    for (const secret of [...Object.values(ADDRESS).filter((value) => value.length > 2), "Ring at"])
      expect(JSON.stringify([events, body, api.process.lines])).not.toContain(secret);
  });

  test.each([
    ["an unknown field", { status: "PAID" }, "status"],
    ["another customer", { customer: { id: "cust-2" } }, "customer.id"],
    ["half an address", { shipTo: { name: "Ada" } }, "shipTo.line1"],
    ["a note of nothing", { note: "" }, "note"],
  ])("refuses %s, and changes nothing", async (_, body, path) => {
    const order = await api.client.order(PLAIN_ORDER);
    const refused = await patch(order.id, { ...body, billTo: ADDRESS });
    expect(refused.status).toBe(422);
    expect(refused.body.errors?.[0]?.path).toBe(path);
    expect(await read(order.id)).toEqual(order);
  });

  test("refuses a fifty-first field of metadata", async () => {
    const metadata = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`f${index}`, "x"]));
    const { id } = await api.client.order({ ...PLAIN_ORDER, metadata });
    const refused = await patch(id, { metadata: { more: "x" } });
    expect(refused.body.errors).toEqual([{ path: "metadata", message: "would have 51 fields; at most 50" }]);
    expect((await patch(id, { metadata: { f0: null, more: "x" } })).status).toBe(200);
  });

  test("keeps every one of many changes at once", async () => {
    const { id } = await api.client.order(PLAIN_ORDER);
    await Promise.all(
      Array.from({ length: 20 }, (_, index) => patch(id, { metadata: { [`f${index}`]: "x" } })),
    );
    expect(Object.keys((await read(id)).metadata ?? {})).toHaveLength(20);
    expect(await eventsOf(id, "changed")).toHaveLength(20);
  });
});

test("a process that knows an order notices that it was changed or held", async () => {
  const { id } = await api.client.order(PLAIN_ORDER);
  const store = new BatchingStore({ store: orderStore(api.environment.database) });
  expect((await store.load(id))?.note).toBeNull();
  await patch(id, { note: "first" });
  expect((await store.load(id))?.note).toBe("first");
  await patch(id, { note: "second" });
  const move = {
    orderId: id,
    stage: "reserve",
    reason: null,
    record: {},
    unlessCancelled: false,
    at: new Date(),
  };
  await store.applyTransition({ ...move, from: "CREATED", to: "RESERVED" });
  expect(store.recall(id)).toBeUndefined();
  await hold(id, REVIEW);
  expect((await store.load(id))?.holds).toMatchObject([REVIEW]);
});

describe("a held order", () => {
  let worker: TestProcess;
  beforeAll(async () => {
    await api.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
  });
  afterAll(() => worker.stop());

  test("waits until its last hold is released, and goes on at once then", async () => {
    const { id } = await api.client.order(PLAIN_ORDER);
    const held = await hold(id, REVIEW);
    expect(held.body.holds).toEqual([{ ...REVIEW, at: expect.any(String), actor: expect.any(String) }]);
    await hold(id, { name: "address", reason: "no such street" });
    await hold(id, { ...REVIEW, reason: "another reason" });
    worker = await startWorker(api.environment);

    const waits = await waitFor("the order waits", async () => {
      const order = await read(id);
      return order.waiting && order;
    });
    expect(waits).toMatchObject({
      status: "CREATED",
      waiting: { stage: "reserve", for: "release of the hold fraud review", until: null },
    });
    expect((await release(id, REVIEW.name)).body.holds).toMatchObject([{ name: "address" }]);
    expect((await release(id, REVIEW.name)).status).toBe(404);
    expect((await read(id)).status).toBe("CREATED");
    const releasedAt = Date.now();
    expect((await release(id, "address")).body.holds).toBeUndefined();
    const delivered = await api.client.orderIn(id, "DELIVERED");
    expect(delivered.holds).toBeUndefined();
    expect(Date.parse(delivered.updatedAt) - releasedAt).toBeLessThan(20_000);

    expect((await eventsOf(id, "hold.placed")).map(({ record, reason }) => [record, reason])).toEqual([
      [{ hold: "fraud review" }, REVIEW.reason],
      [{ hold: "address" }, "no such street"],
    ]);
    expect(await eventsOf(id, "hold.released")).toHaveLength(2);
    expect((await patch(id, { note: "late" })).body).toMatchObject({
      status: 409,
      type: "urn:conveyor:problem:too-late-to-change",
    });
    expect((await hold(id, REVIEW)).body).toMatchObject({
      status: 409,
      type: "urn:conveyor:problem:order-ended",
    });
  });

  test("is cancelled like any other", async () => {
    const { id } = await api.client.order(PLAIN_ORDER);
    await hold(id, REVIEW);
    await api.client.post(`/orders/${id}/cancel`, { reason: "fraud" });
    await api.client.orderIn(id, "CANCELLED");
  });
});
