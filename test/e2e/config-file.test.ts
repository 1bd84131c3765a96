import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { listEvents } from "../../db/order-events.ts";
import { reply, startAnswering } from "../support/answering.ts";
import { BASIC } from "../support/api.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startCommand } from "../support/command.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { start } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(120_000);

const EXAMPLE = path.resolve(import.meta.dirname, "../../examples/shop");

/** Changes what it is given, as stages of others may by mistake. */
const NOTICE = `import { defineStage } from "conveyor";
export default defineStage({
  name: "notice",
  to: "NOTICED",
  run: async (order) => {
    order.total = 1;
    order.id = "x";
    order.lines[0].quantity = 5;
    order.lines.pop();
    order.records["fraud-check"].score = 99;
    return {};
  },
});
`;
const PAYMENTS = `import type { PaymentProvider } from "conveyor";
const payments: PaymentProvider = {
  name: "own",
  keepsKeys: true,
  ping: async () => undefined,
  authorize: async (request) => {
    const { orderId, amount } = request;
    Object.assign(request.shipTo ?? {}, { city: "Nowhere" });
    return { state: "captured", id: "own-" + orderId, amount };
  },
  capture: async ({ id, amount }) => ({ state: "captured", id, amount }),
  cancel: async () => ({ state: "cancelled" }),
  find: async () => undefined,
  refund: async ({ orderId }) => ({ state: "succeeded", id: "own-" + orderId }),
  findRefund: async () => undefined,
};
export default payments;
`;
const CARRIER = `import { UndeliverableError, type CarrierProvider } from "conveyor";
const carrier: CarrierProvider = {
  name: "own",
  keepsKeys: true,
  ping: async () => undefined,
  create: async ({ reference, to }) => {
    if (to?.city === "Atlantis") throw new UndeliverableError("Atlantis has sunk");
    return { carrierId: reference, rates: null };
  },
  buy: async ({ carrierId }) => ({
    trackingNumber: "OWN-1",
    carrierId,
    service: null,
    cost: null,
    trackingUrl: null,
    labelUrl: null,
  }),
  void: async () => ({ outcome: "voided" }),
  track: async () => ({ state: "DELIVERED", at: new Date(), expectedAt: null, reason: null, askAgainIn: null }),
  find: async () => undefined,
};
export default carrier;
`;

const ADDRESS = { name: "Ada", line1: "1 High Street", city: "Leeds", postalCode: "LS1", country: "GB" };

/** A folder beside Conveyor's own: a configuration, stages and providers in TypeScript, and nothing else. */
let folder: string;
let line: TestLine;
const closing: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  const service = await startAnswering((response) => reply(response, 200, { done: { score: 12 } }));
  closing.push(() => service.close());
  folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-shop-"));
  await cp(EXAMPLE, folder, { recursive: true });
  const example = await readFile(path.join(EXAMPLE, "conveyor.config.ts"), "utf8");
  const config = example
    .replace("http://fraud:8080/check", service.url)
    .replace("    pay,", '    { module: "./stages/notice.ts" },\n    pay,')
    .replace(
      / {2}\],\n/,
      '  ],\n  payments: { module: "./payments.ts" },\n  carrier: { module: "./carrier.ts" },\n',
    );
  const files = {
    "conveyor.config.ts": config,
    "stages/notice.ts": NOTICE,
    "payments.ts": PAYMENTS,
    "carrier.ts": CARRIER,
  };
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), text);
  line = await startLine({
    env: {
      CONVEYOR_CONFIG: path.join(folder, "conveyor.config.ts"),
      PAYMENTS_URL: "",
      CARRIER_URL: "",
    },
  });
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
});
afterAll(async () => {
  await line?.close();
  for (const close of closing) await close();
  await rm(folder, { recursive: true });
});

const STATUSES = [
  "CREATED",
  "RESERVED",
  "CHECKED",
  "NOTICED",
  "PAID",
  "WRAPPED",
  "SHIPPED",
  "DELIVERED",
  "CANCELLED",
];

test("orders go through the stages of a configuration outside, and are paid and shipped by its providers", async () => {
  const { id } = await line.client.order(PLAIN_ORDER);
  await line.client.orderIn(id, "DELIVERED");
  const events = await listEvents(line.environment.database, id);
  expect(events.flatMap(({ type, to }) => (type === "status" ? [to] : []))).toEqual(STATUSES.slice(0, -1));
  const records = Object.fromEntries(events.map(({ stage, record }) => [stage, record]));
  expect(records).toMatchObject({
    "fraud-check": { score: 12 },
    "gift-wrap": { paper: "red" },
    pay: { paymentId: `own-${id}` },
  });
});

test("what a stage or a provider outside changes in its order changes nothing for later stages, nor what is written", async () => {
  const { id } = await line.client.order({ ...PLAIN_ORDER, shipTo: ADDRESS });
  await line.client.orderIn(id, "DELIVERED");
  const told = async (what: string) => (await line.client.get(`/orders/${id}${what}`)).body;
  expect(await told("")).toMatchObject({ lines: [{ quantity: 2 }], total: 2_500, shipTo: ADDRESS });
  expect(await told("/payments")).toMatchObject({ payments: [{ amount: 2_500 }] });
  expect(await told("/shipments")).toMatchObject({ items: [{ lines: [{ quantity: 2 }] }] });
});

test("an order waits for another address when a carrier outside says that it can't deliver there", async () => {
  const { id } = await line.client.order({ ...PLAIN_ORDER, shipTo: { ...ADDRESS, city: "Atlantis" } });
  const waiting = await waitFor(
    "it waits",
    async () => (await line.client.get(`/orders/${id}`)).body.waiting,
  );
  expect(waiting).toMatchObject({ for: "an address that can be delivered to: Atlantis has sunk" });
});

test("what a stage outside rejects is undone, and cancelled with its reason", async () => {
  const [first] = PLAIN_ORDER.lines;
  const { id } = await line.client.order({ ...PLAIN_ORDER, lines: [first, first] });
  expect(await line.client.orderIn(id, "CANCELLED")).toMatchObject({
    cancellation: { reason: "too many to wrap" },
  });
  const events = await listEvents(line.environment.database, id);
  expect(events.at(-1)?.record).toMatchObject({ "pay.refundId": `own-${id}` });
});

test("whatever follows from the pipeline knows its stages: API, console, board, metrics, commands", async () => {
  const { url } = line.api;
  const page = async (at: string) => (await fetch(url + at, { headers: BASIC })).text();
  for (const status of STATUSES) expect(await page("/openapi.json")).toContain(`"${status}"`);
  expect((await line.client.get("/orders?status=WRAPPED")).status).toBe(200);
  expect((await line.client.get("/orders?status=STRANGE")).status).toBe(400);
  for (const at of ["/console/queues", "/queues/api/queues", "/metrics"])
    for (const stage of ["fraud-check", "gift-wrap", "notice"]) expect(await page(at)).toContain(stage);
  const { databaseUrl, redisUrl } = line.environment;
  const paused = await startCommand("tools/cli/orders.ts", ["pause", "gift-wrap", "--reason", "no paper"], {
    DATABASE_URL: databaseUrl,
    REDIS_URL: redisUrl,
    CONVEYOR_CONFIG: path.join(folder, "conveyor.config.ts"),
  }).ended;
  expect(paused).toMatchObject({ code: 0, stdout: expect.stringContaining("gift-wrap") });
});

test("a process whose configuration is wrong says all of it, and does not start", async () => {
  const broken = path.join(folder, "broken.ts");
  const text = await readFile(path.join(folder, "conveyor.config.ts"), "utf8");
  await writeFile(
    broken,
    text
      .replace('"./stages/notice.ts"', '"./stages/none.ts"')
      .replace("giftWrap,\n    ship", '"gift",\n    ship'),
  );
  for (const script of ["src/main.ts", "workers/main.ts", "tools/cli/migrate.ts"]) {
    const child = start(script, { ...line.environment, env: { CONVEYOR_CONFIG: broken, LOG_LEVEL: "loud" } });
    expect((await child.process.exited).code).toBe(1);
    expect(child.lines.slice(0, 3)).toEqual([
      "the configuration is invalid:",
      expect.stringMatching(/^ {2}broken\.ts pipeline\[2\] \.\/stages\/none\.ts can't be loaded: /),
      expect.stringMatching(/^ {2}broken\.ts pipeline\[4\] "gift" is no stage of Conveyor's own/),
    ]);
  }
});
