import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { Webhook } from "standardwebhooks";
import { listEvents } from "../../db/order-events.ts";
import { newSecret } from "../../src/events/webhooks/signature.ts";
import { reply, startAnswering, type Received } from "../support/answering.ts";
import { BASIC } from "../support/api.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { isHere, LANGUAGES, startExample } from "../support/examples.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { WITHOUT_TROUBLE } from "../support/orders.ts";
import { copySources, type Sources } from "../support/sources.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(120_000);

const SECRET = newSecret();
const withPython = isHere(LANGUAGES.Python) ? test : test.skip;

let sources: Sources;
let line: TestLine;
const closing: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  sources = await copySources();
});
afterEach(async () => {
  await line.close();
  await sources.remove();
  for (const close of closing.splice(0)) await close();
});

/** Starts everything with a pipeline that has a stage after `reserve` which this service does. */
async function start(url: string): Promise<void> {
  const code = `import { httpStage } from "../http-stage.ts";
export const fraudCheck = httpStage({ name: "fraud-check", to: "CHECKED", url: ${JSON.stringify(url)}, undo: true });`;
  await sources.addStage({ file: "fraud-check.ts", name: "fraudCheck", code });
  const env = { SIGNING_SECRET: SECRET, PROBE_INTERVAL_MS: "200" };
  line = await startLine({ env, folder: sources.folder });
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
}

const eventsOf = (id: string) => listEvents(line.environment.database, id);
const stockLeft = async () => (await line.client.get("/stock/MUG-BLUE")).body;

withPython(
  "orders go through a stage in Python: most are delivered, and those that it rejects undone",
  async () => {
    const python = await startExample(LANGUAGES.Python, [SECRET]);
    closing.push(() => python.close());
    await start(python.url);
    const large = { ...PLAIN_ORDER, lines: [{ sku: "MUG-BLUE", quantity: 1, unitPrice: 500_001 }] };
    const before = await stockLeft();
    const rejected = await line.client.order(large);
    expect(await line.client.orderIn(rejected.id, "CANCELLED")).toMatchObject({
      cancellation: { reason: "too large" },
    });
    expect(await stockLeft()).toEqual(before);

    const orders = await Promise.all(Array.from({ length: 20 }, () => line.client.order(PLAIN_ORDER)));
    for (const { id, total } of orders) {
      await line.client.orderIn(id, "DELIVERED");
      const events = await eventsOf(id);
      expect(events.map(({ to }) => to)).toContain("CHECKED");
      expect(events.find(({ to }) => to === "CHECKED")?.record).toEqual({ owed: total });
    }
  },
);

test("a service at a wrong address costs no order an attempt; the console says what it answers, and orders go on once it is mended", async () => {
  let isMended = false;
  const service = await startAnswering((response) =>
    isMended ? reply(response, 200, { done: {} }) : reply(response, 404, { error: "no such route" }),
  );
  closing.push(() => service.close());
  await start(service.url);
  const orders = await Promise.all(Array.from({ length: 10 }, () => line.client.order(PLAIN_ORDER)));
  const operator = new TestClient(line.api.url, BASIC);
  const console = await waitFor("the console to say so", async () => {
    const { body } = await operator.get<string>("/console");
    return body.includes("is not set up right") && body;
  });
  expect(console).toMatch(
    /fraud-check is on hold because stage fraud-check is not set up right: .*404.*no such route/,
  );
  isMended = true;
  for (const { id } of orders) {
    await line.client.orderIn(id, "DELIVERED");
    expect(new Set((await eventsOf(id)).map(({ type }) => type))).toEqual(WITHOUT_TROUBLE);
  }
});

test("an order that is cancelled meanwhile is undone by its service, signed and under the same keys", async () => {
  const runs: ((status: number) => void)[] = [];
  const service = await startAnswering((response, { body }) => {
    if (JSON.parse(body).operation === "undo") return reply(response, 200, { done: { forgotten: true } });
    runs.push((status) => reply(response, status, { done: {} }));
  });
  closing.push(() => service.close());
  await start(service.url);
  const { id } = await line.client.order(PLAIN_ORDER);
  await waitFor("the service to run", () => runs.length > 0);
  const { status } = await line.client.post(`/orders/${id}/cancel`, { reason: "changed my mind" });
  expect(status).toBe(202);
  for (const run of runs) run(200);
  await line.client.orderIn(id, "CANCELLED");
  const keys = service.received.map(({ headers }) => headers["webhook-id"]);
  expect(keys).toEqual([`${id}:fraud-check`, `${id}:fraud-check:undo`]);
  for (const request of service.received) expect(verified(request)).toMatchObject({ order: { id } });
});

/** @throws {Error} if the signature does not fit */
function verified({ headers, body }: Received): unknown {
  const given = Object.entries(headers).map(([name, value]) => [name, String(value)]);
  return new Webhook(SECRET).verify(body, Object.fromEntries(given));
}
