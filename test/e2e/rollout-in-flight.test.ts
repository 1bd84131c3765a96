import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import pLimit from "p-limit";
import { z } from "zod";
import { reply, startAnswering, type AnsweringServer } from "../support/answering.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import type { TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(600_000);

const ORDERS = 2_000;
const AT_ONCE = 10;
/** Orders that the former workers have paid before the first is replaced. */
const PAID_BEFORE = 500;
const WORKERS = 3;
const LATENCY_MS = 100;

let folder: string;
let service: AnsweringServer;
let line: TestLine;
beforeAll(async () => {
  service = await startAnswering((response) => reply(response, 200, { done: { score: 12 } }));
  folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-rollout-"));
  const http = { name: "fraud-check", to: "CHECKED", url: service.url };
  const pipeline = ["reserve", "pay", { http }, "ship", "deliver"];
  await writeFile(path.join(folder, "conveyor.config.json"), JSON.stringify({ pipeline }));
  line = await startLine({ workers: WORKERS, latencyMs: LATENCY_MS, env: { PROVIDERS_MODULE: "" } });
  await line.client.put("/stock/MUG-BLUE", { onHand: 2 * ORDERS });
});
afterAll(async () => {
  await line?.close();
  await service?.close();
  await rm(folder, { recursive: true });
});

const rows = z.array(z.record(z.string(), z.unknown()));

async function select(statement: ReturnType<typeof sql>): Promise<z.output<typeof rows>> {
  const [found] = await line.environment.database.query((queries) => queries.execute(statement));
  return rows.parse(found);
}

const leavesSome = (worker: TestProcess) =>
  worker.logs().some(({ msg }) => String(msg).startsWith("another pipeline is in force"));

/** Orders by status. */
async function counts(): Promise<Record<string, number>> {
  const found = await select(sql`SELECT status, COUNT(*) AS orders FROM orders GROUP BY status`);
  return Object.fromEntries(found.map(({ status, orders }) => [String(status), Number(orders)]));
}

test("2,000 orders in flight end, each once, while workers are replaced one by one by those with a further stage over HTTP", async () => {
  const { environment, client } = line;
  environment.providers.setFault("carrier", { kind: "down" });
  const limit = pLimit(AT_ONCE);
  const orders = await Promise.all(
    Array.from({ length: ORDERS }, () => limit(() => client.order(PLAIN_ORDER))),
  );
  await waitFor("orders to be paid", async () => ((await counts())["PAID"] ?? 0) >= PAID_BEFORE);

  const inFlight = await counts();
  const beganAt = performance.now();
  const former = [...line.workers];
  for (const [index, old] of former.entries()) {
    await line.addWorker({ env: { CONVEYOR_CONFIG: path.join(folder, "conveyor.config.json") } });
    if (index === 0) {
      // Only then, so that every order has the new stage before it.
      await waitFor("the former workers to leave shipping to it", () => former.every(leavesSome));
      environment.providers.setFault("carrier", { kind: "none" });
    }
    expect(await old.stop()).toBe(0);
  }
  const replacedAfter = performance.now() - beganAt;
  const left = ORDERS - ((await counts())["DELIVERED"] ?? 0);
  expect(left).toBeGreaterThan(0);
  await waitFor("all to be delivered", async () => (await counts())["DELIVERED"] === ORDERS, {
    timeoutMs: 300_000,
  });
  const took = performance.now() - beganAt;

  const ways = await select(sql`
    SELECT way, COUNT(*) AS orders FROM (
      SELECT order_id, GROUP_CONCAT(to_status ORDER BY id) AS way FROM order_events
      WHERE type = 'status' GROUP BY order_id
    ) AS each_order GROUP BY way`);
  expect(ways).toEqual([{ way: "CREATED,RESERVED,PAID,CHECKED,SHIPPED,DELIVERED", orders: ORDERS }]);
  const others = await select(sql`
    SELECT type, stage, reason, COUNT(*) AS events FROM order_events WHERE type IN ('attempt-failed', 'failed') GROUP BY type, stage, reason`);
  // Nothing but attempts that were repeated, and none of the new stage.
  expect(others.filter(({ type, stage }) => type !== "attempt-failed" || stage === "fraud-check")).toEqual(
    [],
  );

  const keys = orders.map(({ id }) => `${id}:fraud-check`).toSorted();
  expect(service.received.map(({ headers }) => String(headers["webhook-id"])).toSorted()).toEqual(keys);
  for (const kind of ["charge", "label"] as const) {
    const of = environment.ledger.entries.filter((entry) => entry.kind === kind);
    expect(of.map(({ orderId }) => orderId).toSorted()).toEqual(orders.map(({ id }) => id).toSorted());
    expect(environment.ledger.issued(kind)).toBe(ORDERS);
  }
  const seconds = (ms: number) => Math.round(ms / 1_000);
  process.stderr.write(
    `in flight: ${JSON.stringify(inFlight)}; workers replaced in ${seconds(replacedAfter)} s, with ${left} still to deliver; ` +
      `all delivered after ${seconds(took)} s; repeated attempts: ${JSON.stringify(others)}\n`,
  );
});
