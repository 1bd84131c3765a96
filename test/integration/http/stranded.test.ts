import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { Redis } from "ioredis";
import { jobId, SCORES_PER_MS } from "../../../queues/job.ts";
import { Queues } from "../../../queues/queues.ts";
import { StatusReader } from "../../../src/api/console/status.ts";
import { verdictOf } from "../../../src/api/console/verdict.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder } from "../../support/orders.ts";

const ORDERS = 3;
const HOUR_MS = 3_600_000;
const due = lifecycle.due("CREATED");
if (due === undefined) throw new Error("a new order is due for its first stage");

let environment: TestEnvironment;
let redis: Redis;
let queues: Queues;
const ids: string[] = [];
beforeAll(async () => {
  environment = await createTestEnvironment();
  redis = new Redis(environment.redisUrl, { maxRetriesPerRequest: null });
  queues = new Queues({ connection: redis, lifecycle, onError: () => undefined });
  for (let index = 0; index < ORDERS; index++) ids.push(await createOrder(environment.database));
});
afterAll(async () => {
  await queues?.close();
  redis?.disconnect();
  await environment?.close();
});

/** What the overview says as if a worker were alive, of orders that stand still. */
async function verdict(of: Queues = queues): Promise<string> {
  const ready = { ready: true, detail: "well" };
  const health = { check: async () => ({ ready: true, checks: { mysql: ready, redis: ready } }) };
  const reader = new StatusReader({
    database: environment.database,
    reads: environment.database,
    redis,
    queues: of,
    health,
    lifecycle,
  });
  const worker = {
    id: "w",
    host: "h",
    pid: 1,
    startedAt: new Date().toISOString(),
    open: [],
    steps: lifecycle.steps.map(({ name }) => ({ name, held: 0, concurrency: 1, standsStill: false })),
  };
  const { level, text } = verdictOf({ ...(await reader.status()), workers: [worker] });
  return `${level}: ${text}`;
}

async function age(minutes: number): Promise<void> {
  await environment.database.transaction((queries) =>
    queries.execute(sql`UPDATE orders SET updated_at = NOW(3) - INTERVAL ${minutes} MINUTE`),
  );
}

const WELL = "good: All is well: 1 worker running, no failed orders.";
const STUCK = `bad: ${ORDERS} orders have not moved for minutes before reserve, without a job that will. See the workers' logs.`;

test("orders that stand still in MySQL without a job are told, however empty the queues are", async () => {
  expect(await verdict()).toBe(WELL);
  await age(10);
  expect(await verdict()).toBe(STUCK);
});

test("an overview that could not look for them does not say that all is well", async () => {
  await age(0);
  class Broken extends Queues {
    override async areStranded(): Promise<boolean[]> {
      throw new Error("a script is not there");
    }
  }
  const broken = new Broken({ connection: redis, lifecycle, onError: () => undefined });
  try {
    expect(await verdict(broken)).toBe(
      "attention: Could not read orders that stand still: what is wrong there is not shown.",
    );
  } finally {
    await broken.close();
  }
});

test("orders that have a job are not, delayed or not, unless it is due at a time that no delay explains", async () => {
  await age(10);
  await queues.enqueue(ids.map((orderId) => ({ orderId, transition: due, delayMs: HOUR_MS })));
  expect(await verdict()).toBe(WELL);
  const delayed = queues.of(due.step).toKey("delayed");
  const score = (atMs: number) => String(atMs * SCORES_PER_MS);
  const shiftTo = async (atMs: number) => {
    for (const id of ids) await redis.zadd(delayed, "XX", score(atMs), jobId(id, due));
  };
  await shiftTo(Date.now() + 25 * HOUR_MS);
  expect(await verdict()).toBe(STUCK);
  await shiftTo(Date.now() - HOUR_MS);
  expect(await verdict()).toBe(STUCK);

  expect(await queues.bringForward(ids.map((orderId) => ({ orderId, transition: due })))).toBe(ORDERS);
  expect(await queues.of(due.step).getJobCounts("waiting", "delayed")).toEqual({
    waiting: ORDERS,
    delayed: 0,
  });
  expect(await queues.bringForward(ids.map((orderId) => ({ orderId, transition: due })))).toBe(0);
});

test("a job that is due in a day, whose order has ended, runs now", async () => {
  const { queue, id } = { queue: queues.of(due.step), id: "an-order-that-ended" };
  await queue.add(due.step.name, { orderId: id }, { jobId: id, delay: 1_000 });
  await redis.zadd(queue.toKey("delayed"), "XX", String((Date.now() + 25 * HOUR_MS) * SCORES_PER_MS), id);
  expect(await queues.bringForward([])).toBe(1);
  expect(await queue.getJobState(id)).toBe("waiting");
});
