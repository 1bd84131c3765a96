import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { reply, startAnswering, type AnsweringServer } from "../support/answering.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";

/*
 * Many orders that wait, half of them for a callback and half to be woken, and what they cost while they do. The figures are
 * in docs/http-stages.md.
 */

const ORDERS = 2_000;
/** One in so many is never called back or woken. */
const LOST = 10;
const MEASURED_MS = 20_000;
/** After five minutes the stage is asked again, and the sweeper walks every two seconds. */
const LONGEST_MS = 6 * 60_000;
const AT_ONCE = 20;

jest.setTimeout(15 * 60_000);

interface Run {
  readonly callback: string;
  readonly order: { readonly id: string; readonly reference: string };
}

let folder: string;
let service: AnsweringServer;
let line: TestLine;
let isDecided = false;
const callbacks = new Map<string, string>();
const runs = new Map<string, number>();

beforeAll(async () => {
  const until = new Date(Date.now() + 3_600_000).toISOString();
  service = await startAnswering((response, { body }) => {
    const { callback, order }: Run = JSON.parse(body);
    callbacks.set(order.id, callback);
    runs.set(order.id, (runs.get(order.id) ?? 0) + 1);
    if (isDecided) reply(response, 200, { done: {} });
    else if (order.reference === "by callback") reply(response, 202);
    else reply(response, 200, { wait: { for: "an approval", until } });
  });
  folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-waiting-"));
  const config = path.join(folder, "conveyor.config.json");
  const http = { name: "approve", to: "APPROVED", url: service.url };
  await writeFile(config, JSON.stringify({ pipeline: ["reserve", { http }, "pay", "ship", "deliver"] }));
  line = await startLine({ workers: 2, ownRedis: true, ownMysql: true, env: { CONVEYOR_CONFIG: config } });
  await line.client.put("/stock/MUG-BLUE", { onHand: 10 * ORDERS });
});
afterAll(async () => {
  await line?.close();
  await service?.close();
  await rm(folder, { recursive: true });
});

/** Has all of them done, a few at a time. */
async function each<T>(all: readonly T[], work: (one: T) => Promise<unknown>): Promise<void> {
  const left = [...all];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let next = left.pop(); next !== undefined; next = left.pop()) await work(next);
    }),
  );
}

async function rows(statement: ReturnType<typeof sql>): Promise<Record<string, unknown>[]> {
  const [found] = await line.environment.database.query((queries) => queries.execute(statement));
  if (!areRows(found)) throw new Error("the statement has no rows");
  return found;
}

function areRows(value: unknown): value is Record<string, unknown>[] {
  return Array.isArray(value);
}

const count = async (where: ReturnType<typeof sql>) =>
  Number((await rows(sql`SELECT COUNT(*) AS n FROM orders WHERE ${where}`))[0]?.["n"]);

/** Commands a second over a while. */
async function commands(): Promise<{ redis: number; mysql: number }> {
  const read = async () => ({
    redis: Number(/total_commands_processed:(\d+)/.exec(await line.environment.redis.info("stats"))?.[1]),
    mysql: Number((await rows(sql`SHOW GLOBAL STATUS LIKE 'Questions'`))[0]?.["Value"]),
  });
  const before = await read();
  await delay(MEASURED_MS);
  const after = await read();
  const perSecond = (name: "redis" | "mysql") => (after[name] - before[name]) / (MEASURED_MS / 1_000);
  return { redis: perSecond("redis"), mysql: perSecond("mysql") };
}

test("many orders wait at the cost of none, and all end though a tenth of their wakes are lost", async () => {
  const idle = await commands();
  const orders = Array.from({ length: ORDERS }, (_, index) =>
    index % 2 === 0 ? "by callback" : "by waking",
  );
  const ids: string[] = [];
  await each(orders, async (reference) =>
    ids.push((await line.client.order({ ...PLAIN_ORDER, reference })).id),
  );
  while ((await count(sql`waiting_stage = 'approve'`)) < ORDERS) await delay(500);
  const waiting = await commands();

  isDecided = true;
  const decidedAt = Date.now();
  const woken = ids.filter((_, index) => Math.floor(index / 2) % LOST !== 0);
  const sentAt = new Map<string, number>();
  await each(woken, async (id) => {
    sentAt.set(id, Date.now());
    const byCallback = (await line.client.get(`/orders/${id}`)).body.reference === "by callback";
    if (!byCallback) return line.client.post(`/orders/${id}/wake`, undefined);
    const headers = { "content-type": "application/json" };
    return fetch(callbacks.get(id) ?? "", { method: "POST", headers, body: JSON.stringify({ done: {} }) });
  });
  while (
    (await count(sql`status NOT IN ('DELIVERED', 'CANCELLED')`)) > 0 &&
    Date.now() - decidedAt < LONGEST_MS
  )
    await delay(500);

  const approved = await rows(
    sql`SELECT order_id, COUNT(*) AS times, MAX(at) AS at FROM order_events WHERE type = 'status' AND to_status = 'APPROVED' GROUP BY order_id`,
  );
  const delays = (isLost: boolean) =>
    approved
      .filter(({ order_id: id }) => sentAt.has(String(id)) !== isLost)
      .map(
        ({ order_id: id, at }) =>
          new Date(String(at).replace(" ", "T") + (String(at).endsWith("Z") ? "" : "Z")).getTime() -
          (sentAt.get(String(id)) ?? decidedAt),
      )
      .toSorted((a, b) => a - b);
  const [called, lost] = [delays(false), delays(true)];
  const most = Math.max(...runs.values());
  process.stdout.write(
    `${JSON.stringify({ idle, waiting, called: { median: called[called.length >> 1], longest: called.at(-1) }, lost: { count: lost.length, longest: lost.at(-1) }, mostRuns: most })}\n`,
  );
  expect(await count(sql`status = 'DELIVERED'`)).toBe(ORDERS);
  expect(approved.every(({ times }) => Number(times) === 1)).toBe(true);
  expect(Math.max(...delays(true))).toBeLessThan(LONGEST_MS);
  // Nothing polls: the sweeper walks over them every two seconds, page by page, and looks at the marker before each.
  expect(waiting.redis - idle.redis).toBeLessThan(25);
  expect(waiting.mysql - idle.mysql).toBeLessThan(20);
});
