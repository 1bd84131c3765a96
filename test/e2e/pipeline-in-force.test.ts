import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from "@jest/globals";
import { setStock } from "../../db/stock.ts";
import { ContractClient } from "../support/contract.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { createOrder, readOrder, statusesOf } from "../support/orders.ts";
import { start, startApi, startWorker, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(120_000);

const INSPECT = `import { defineStage } from "conveyor";
export default defineStage({ name: "inspect", to: "INSPECTED", run: async () => ({}) });
`;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-pipelines-"));
  await writeFile(path.join(folder, "inspect.ts"), INSPECT);
});
afterAll(() => rm(folder, { recursive: true }));

let environment: TestEnvironment;
const running: TestProcess[] = [];
beforeEach(async () => {
  environment = await createTestEnvironment();
  await setStock(environment.database, [{ sku: "MUG-BLUE", onHand: 100 }]);
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((each) => each.stop()));
  await environment.close();
});

/** The environment of processes with this pipeline. */
async function having(...pipeline: readonly unknown[]): Promise<{ CONVEYOR_CONFIG: string }> {
  const file = path.join(folder, `${JSON.stringify(pipeline).replaceAll(/\W+/g, "-")}.json`);
  await writeFile(file, JSON.stringify({ pipeline }));
  return { CONVEYOR_CONFIG: file };
}
const inspecting = () => having("reserve", "pay", { module: "./inspect.ts" }, "ship", "deliver");
const payingFirst = () => having("pay", "reserve", "ship", "deliver");
/** With `MUG-BLUE` and a card. */
const order = () => createOrder(environment.database, { paymentToken: "tok_approved" });
const statusIs = (id: string, status: string) =>
  waitFor(
    `order ${id} in ${status}`,
    async () => (await readOrder(environment.database, id)).status === status,
  );

/** What a process says that ends by itself. */
async function end(script: string, env: Readonly<Record<string, string>> = {}) {
  const process = start(script, { ...environment, env });
  const { code } = await process.process.exited;
  return { code, lines: [...process.lines] };
}
const migrate = (env: Readonly<Record<string, string>> = {}) => end("tools/cli/migrate.ts", env);
async function work(env: Readonly<Record<string, string>> = {}): Promise<TestProcess> {
  const worker = await startWorker({
    ...environment,
    env: { SWEEP_INTERVAL_MS: "100", SWEEP_AFTER_MS: "200", ...env },
  });
  running.push(worker);
  return worker;
}
const said = (process: TestProcess, text: string) =>
  process.logs().filter(({ msg }) => String(msg).startsWith(text));

test("stages in another sequence are refused while orders would skip one, and by nobody once there are none", async () => {
  await migrate();
  const id = await order();
  const swapped = await payingFirst();
  const refusal = {
    code: 1,
    lines: [
      "the pipeline has stages in another sequence than the one in force, so that orders could skip pay or go through " +
        "reserve again: keep the sequence for as long as there are orders in CREATED",
    ],
  };
  expect(await end("workers/main.ts", swapped)).toEqual(refusal);
  expect(await end("src/main.ts", { ...swapped, PORT: "0" })).toEqual(refusal);
  expect(await migrate(swapped)).toEqual(refusal);

  // The one in force still is: the order goes its way.
  const worker = await work();
  await statusIs(id, "DELIVERED");
  await worker.stop();
  await work(swapped);
  const next = await order();
  await statusIs(next, "DELIVERED");
  expect(await statusesOf(environment.database, next)).toEqual([
    "CREATED",
    "PAID",
    "RESERVED",
    "SHIPPED",
    "DELIVERED",
  ]);
});

test("with PIPELINE_SET_BY=migrate a stray worker leaves the pipeline in force, and npm run migrate alone replaces it", async () => {
  await migrate();
  const env = { ...(await inspecting()), PIPELINE_SET_BY: "migrate" };
  const stray = await work(env);
  expect(said(stray, "another pipeline is in force")).toMatchObject([
    { left: ["inspect", "ship", "cancel"] },
  ]);
  const worker = await work();
  const id = await order();
  await statusIs(id, "DELIVERED");
  expect(await statusesOf(environment.database, id)).not.toContain("INSPECTED");

  expect((await migrate(env)).code).toBe(0);
  await waitFor("the workers to notice", () => {
    const isIn = said(stray, "this process's pipeline is in force").length > 0;
    return isIn && said(worker, "another pipeline is in force").length > 0;
  });
  const next = await order();
  await statusIs(next, "DELIVERED");
  expect(await statusesOf(environment.database, next)).toContain("INSPECTED");
  expect(said(stray, "another pipeline is in force")).toHaveLength(1);
});

test("an API without a queue leaves what another pipeline in force does otherwise, and goes on once its own is", async () => {
  await migrate();
  await migrate(await inspecting());
  const api = await startApi({
    databaseUrl: environment.databaseUrl,
    providers: environment.providers,
    env: { PROCESSING: "sync", SWEEP_INTERVAL_MS: "100", SWEEP_AFTER_MS: "200" },
  });
  running.push(api);
  expect(said(api, "another pipeline is in force")).toMatchObject([{ left: ["ship", "cancel"] }]);
  const client = await ContractClient.of(api.url);
  const { status, body } = await client.post("/orders", {
    customerId: "cust-1",
    currency: "EUR",
    paymentToken: "tok_approved",
    lines: [{ sku: "MUG-BLUE", quantity: 1, unitPrice: 100 }],
  });
  expect([status, body.status]).toEqual([202, "PAID"]);
  // It was looked for more than once by then.
  await waitFor("the sweeper", async () => {
    const { updatedAt } = await readOrder(environment.database, body.id);
    return Date.now() - updatedAt.getTime() > 1_000;
  });
  expect((await readOrder(environment.database, body.id)).status).toBe("PAID");

  expect((await migrate()).code).toBe(0);
  await statusIs(body.id, "DELIVERED");
  expect(said(api, "another pipeline is in force")).toHaveLength(1);
});
