import { afterAll, beforeAll, beforeEach, expect, jest, test } from "@jest/globals";
import { listEvents } from "../../db/order-events.ts";
import { reply, startAnswering, type AnsweringServer } from "../support/answering.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { readOrder } from "../support/orders.ts";
import { copySources, type Sources } from "../support/sources.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(120_000);

let sources: Sources;
let service: AnsweringServer;
let line: TestLine;
/** What the service answers to a run. */
let answer: (run: Run) => [status: number, body?: object];

interface Run {
  readonly callback: string;
  readonly waited: { readonly for: string; readonly over: boolean } | null;
  readonly order: { readonly id: string };
}

beforeEach(() => {
  answer = () => [202];
});
beforeAll(async () => {
  service = await startAnswering((response, { body }) => reply(response, ...answer(JSON.parse(body))));
  sources = await copySources();
  const code = `import { httpStage } from "../http-stage.ts";
export const fraudCheck = httpStage({ name: "fraud-check", to: "CHECKED", url: ${JSON.stringify(service.url)} });`;
  await sources.addStage({ file: "fraud-check.ts", name: "fraudCheck", code });
  line = await startLine({ folder: sources.folder });
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
});
afterAll(async () => {
  await line?.close();
  await sources?.remove();
  await service?.close();
});

const runs = (): Run[] => service.received.map(({ body }) => JSON.parse(body));
const runOf = (id: string) =>
  waitFor("the service to be asked", () => runs().find(({ order }) => order.id === id));
const waits = (id: string) =>
  waitFor(
    "the order to wait",
    async () => (await readOrder(line.environment.database, id)).waiting ?? undefined,
  );

async function callBack(url: string, result: object): Promise<{ status: number; body: unknown }> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(result),
  });
  const text = await response.text();
  return { status: response.status, body: text && JSON.parse(text) };
}

test("a service answers 202 and calls back, twice: the order goes on once, and the second callback does nothing", async () => {
  const { id } = await line.client.order(PLAIN_ORDER);
  expect(await waits(id)).toMatchObject({ stage: "fraud-check", for: "the service's result" });
  const { callback } = await runOf(id);
  expect(callback.startsWith(`${line.api.url}/operations/`)).toBe(true);
  expect(await callBack(callback, { done: { score: 7 } })).toEqual({ status: 204, body: "" });
  expect(await callBack(callback, { done: { score: 7 } })).toEqual({ status: 204, body: "" });
  await line.client.orderIn(id, "DELIVERED");
  expect(await callBack(callback, { done: { score: 7 } })).toEqual({ status: 204, body: "" });
  expect(await callBack(callback, { done: { score: 8 } })).toMatchObject({
    status: 409,
    body: { type: "urn:conveyor:problem:operation-answered", orderId: id },
  });
  const events = await listEvents(line.environment.database, id);
  const checked = events.filter(({ type, to }) => type === "status" && to === "CHECKED");
  expect(checked.map(({ record }) => record)).toEqual([{ score: 7 }]);
  expect(runs().filter(({ order }) => order.id === id)).toHaveLength(1);
});

test("a callback overtakes the 202", async () => {
  answer = ({ callback }) => {
    // The request is still open.
    void callBack(callback, { done: { fast: true } });
    return [202];
  };
  const ids = await Promise.all(
    Array.from({ length: 20 }, async () => (await line.client.order(PLAIN_ORDER)).id),
  );
  for (const id of ids) await line.client.orderIn(id, "DELIVERED");
});

test("an order that waits goes on by a callback, or is rejected, or asked again when it is woken", async () => {
  const approved = new Set<string>();
  const until = new Date(Date.now() + 3_600_000).toISOString();
  answer = ({ order }) =>
    approved.has(order.id) ? [200, { done: {} }] : [200, { wait: { for: "an approval", until } }];
  const [done, rejected, woken] = [
    (await line.client.order(PLAIN_ORDER)).id,
    (await line.client.order(PLAIN_ORDER)).id,
    (await line.client.order(PLAIN_ORDER)).id,
  ];
  for (const id of [done, rejected, woken]) expect(await waits(id)).toMatchObject({ for: "an approval" });
  await callBack((await runOf(done)).callback, { done: {} });
  await line.client.orderIn(done, "DELIVERED");
  await callBack((await runOf(rejected)).callback, { reject: "not today" });
  expect(await line.client.orderIn(rejected, "CANCELLED")).toMatchObject({
    cancellation: { reason: "not today" },
  });
  approved.add(woken);
  expect((await line.client.post(`/orders/${woken}/wake`, undefined)).status).toBe(202);
  await line.client.orderIn(woken, "DELIVERED");
  expect(runs().findLast(({ order }) => order.id === woken)?.waited).toMatchObject({
    for: "an approval",
    over: false,
  });
});

test("a callback may ask for time, after which the service is asked with another address", async () => {
  const { id } = await line.client.order(PLAIN_ORDER);
  await waits(id);
  const { callback } = await runOf(id);
  answer = () => [200, { done: {} }];
  await callBack(callback, { snooze: 100 });
  await line.client.orderIn(id, "DELIVERED");
  const [first, second] = runs().filter(({ order }) => order.id === id);
  expect(second?.callback).not.toBe(first?.callback);
});

test("an order that has failed in the stage goes on with the result that comes late", async () => {
  answer = () => [422, { error: "no such customer" }];
  const { id } = await line.client.order(PLAIN_ORDER);
  const { callback } = await runOf(id);
  await waitFor(
    "the order to fail",
    async () => (await readOrder(line.environment.database, id)).failed ?? undefined,
  );
  expect((await callBack(callback, { done: { score: 9 } })).status).toBe(204);
  await line.client.orderIn(id, "DELIVERED");
  const events = await listEvents(line.environment.database, id);
  expect(events.find(({ type }) => type === "resumed")).toMatchObject({ actor: "stage fraud-check" });
  expect(events.find(({ to, type }) => type === "status" && to === "CHECKED")?.record).toEqual({ score: 9 });
});

test("an order that has ended is not woken", async () => {
  answer = () => [200, { done: {} }];
  const { id } = await line.client.order(PLAIN_ORDER);
  await line.client.orderIn(id, "DELIVERED");
  expect(await line.client.post(`/orders/${id}/wake`, undefined)).toMatchObject({
    status: 409,
    body: { type: "urn:conveyor:problem:order-ended", orderStatus: "DELIVERED" },
  });
});

test("a callback is told what is wrong with it, and changes nothing", async () => {
  const { id } = await line.client.order(PLAIN_ORDER);
  await waits(id);
  const { callback } = await runOf(id);
  const forged = `${callback.slice(0, -4)}AAAA`;
  expect(await callBack(forged, { done: {} })).toMatchObject({ status: 404 });
  for (const body of [
    {},
    { done: {}, reject: "both" },
    { done: { deep: {} } },
    { approve: true },
    { snooze: -1 },
  ])
    expect(await callBack(callback, body)).toMatchObject({
      status: 422,
      body: { type: "urn:conveyor:problem:invalid-input", errors: expect.any(Array) },
    });
  expect((await readOrder(line.environment.database, id)).status).toBe("RESERVED");
  await line.client.post(`/orders/${id}/cancel`, { reason: "changed my mind" });
  await line.client.orderIn(id, "CANCELLED");
  expect(await callBack(callback, { done: {} })).toMatchObject({
    status: 410,
    body: { type: "urn:conveyor:problem:operation-over" },
  });
});
