import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { listEvents } from "../../db/order-events.ts";
import { BASIC } from "../support/api.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startCommand } from "../support/command.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { start, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

const INSPECT = `import { defineStage } from "conveyor";
export default defineStage({ name: "inspect", to: "INSPECTED", run: async () => ({}) });
`;
const WAY = [
  "CREATED",
  "RESERVED",
  "payment.captured",
  "PAID",
  "INSPECTED",
  "shipment.booked",
  "SHIPPED",
  "shipment.delivered",
  "DELIVERED",
];

let folder: string;
let line: TestLine;
let withInspection: { env: { CONVEYOR_CONFIG: string } };
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-rollout-"));
  await writeFile(path.join(folder, "inspect.ts"), INSPECT);
  const pipeline = ["reserve", "pay", { module: "./inspect.ts" }, "ship", "deliver"];
  const file = path.join(folder, "conveyor.config.json");
  await writeFile(file, JSON.stringify({ pipeline }));
  withInspection = { env: { CONVEYOR_CONFIG: file } };
  line = await startLine({ workers: 1, env: { PROBE_INTERVAL_MS: "200", SWEEP_AFTER_MS: "2000" } });
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000 });
});
afterAll(async () => {
  await line?.close();
  await rm(folder, { recursive: true });
});

const order = (count: number) =>
  Promise.all(Array.from({ length: count }, () => line.client.order(PLAIN_ORDER)));
const leaves = (worker: TestProcess) =>
  worker.logs().find(({ msg }) => String(msg).startsWith("another pipeline is in force"));
const doneBy = (worker: TestProcess, stage: string, ids: readonly string[]) =>
  worker
    .logs()
    .filter((log) => log["msg"] === "done" && log["stage"] === stage && ids.includes(String(log["orderId"])));

async function expectWhole(ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await line.client.orderIn(id, "DELIVERED");
    const events = await listEvents(line.environment.database, id);
    expect(events.map(({ type, to }) => (type === "status" ? to : type))).toEqual(WAY);
  }
}

test("a worker with the former pipeline skips no stage that was put between, and goes on with what both have", async () => {
  const [old] = line.workers;
  if (old === undefined) throw new Error("there is a worker");
  line.environment.providers.setFault("carrier", { kind: "down" });
  const before = (await order(20)).map(({ id }) => id);
  for (const id of before) await line.client.orderIn(id, "PAID");

  const young = await line.addWorker(withInspection);
  await waitFor("the old worker to notice", () => leaves(old));
  expect(leaves(old)).toMatchObject({ left: ["ship", "cancel"] });
  const page = await waitFor("the console to say so", async () => {
    const text = await (await fetch(`${line.api.url}/console`, { headers: BASIC })).text();
    return text.includes("another pipeline than the one in force") && text;
  });
  expect(page).toContain("leaves ship, cancel to others");
  line.environment.providers.setFault("carrier", { kind: "none" });
  await expectWhole(before);
  expect(doneBy(old, "ship", before)).toEqual([]);
  expect(doneBy(young, "inspect", before)).toHaveLength(20);

  // The old one still does its part; and it says once what it leaves.
  const after = (await order(40)).map(({ id }) => id);
  await expectWhole(after);
  expect(doneBy(old, "reserve", after).length).toBeGreaterThan(0);
  expect(old.logs().filter(({ msg }) => String(msg).startsWith("another pipeline"))).toHaveLength(1);
});

test("a worker with the former pipeline that starts again does not bring it back", async () => {
  const again = await line.addWorker();
  expect(leaves(again)).toBeDefined();
  const ids = (await order(20)).map(({ id }) => id);
  await expectWhole(ids);
});

test("cancelling is left to workers that know every stage to undo", async () => {
  line.environment.providers.setFault("carrier", { kind: "down" });
  const ids = (await order(5)).map(({ id }) => id);
  for (const id of ids) await line.client.orderIn(id, "INSPECTED");
  const { databaseUrl, redisUrl } = line.environment;
  const cancel = startCommand(
    "tools/cli/orders.ts",
    ["cancel", ids[0] ?? "", "--reason", "changed my mind"],
    { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl, ...withInspection.env },
  );
  expect(await cancel.ended).toMatchObject({ code: 0 });
  line.environment.providers.setFault("carrier", { kind: "none" });
  await line.client.orderIn(ids[0] ?? "", "CANCELLED");
  await expectWhole(ids.slice(1));
});

test("npm run migrate brings a former pipeline back, whose workers then refuse orders that it does not know", async () => {
  line.environment.providers.setFault("carrier", { kind: "down" });
  const [{ id }] = [await line.client.order(PLAIN_ORDER)];
  await line.client.orderIn(id, "INSPECTED");
  const migrate = start("tools/cli/migrate.ts", line.environment);
  expect((await migrate.process.exited).code).toBe(0);
  const [old, young] = line.workers;
  await waitFor("the old worker to take all again", () =>
    old?.logs().some(({ msg }) => String(msg).startsWith("this process's pipeline is in force")),
  );
  await waitFor("the new one to leave its part", () => young && leaves(young));
  const refused = start("workers/main.ts", line.environment);
  expect((await refused.process.exited).code).toBe(1);
  expect(refused.lines.join("\n")).toMatch(/status that no stage of the pipeline leads to: INSPECTED/);
  const back = start("tools/cli/migrate.ts", { ...line.environment, ...withInspection });
  expect((await back.process.exited).code).toBe(0);
  line.environment.providers.setFault("carrier", { kind: "none" });
  await expectWhole([id]);
});
