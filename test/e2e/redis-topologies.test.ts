import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { listEvents } from "../../db/order-events.ts";
import { connectOnce, establish } from "../../queues/connection.ts";
import { jobId } from "../../queues/job.ts";
import { Sql } from "../../tools/chaos/sql.ts";
import { BASIC } from "../support/api.ts";
import { PLAIN_ORDER } from "../support/client.ts";
import { EventStreamClient } from "../support/event-stream.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { WITHOUT_TROUBLE } from "../support/orders.ts";
import { TEST_KEY } from "../support/processes.ts";
import { startRedisCluster, startRedisSentinels, type RedisTopology } from "../support/redis-topologies.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(300_000);

/** Milliseconds between two orders of a load. */
const PACE_MS = 40;
/** Whose masters are killed, one after the other; in a cluster they are of several shards. */
const KILLED = ["{pay}", "{reserve}", "{ship}", "{deliver}", "{pay}"];
/** Log lines of a failed attempt. */
const FAILED = new Set(["will be retried", "failed"]);

let line: TestLine | undefined;
afterEach(async () => {
  await line?.close();
  line = undefined;
});

/** Each test has a prefix of its own. */
let prefix = "";

async function start(redis: RedisTopology, env: Record<string, string> = {}): Promise<TestLine> {
  prefix = `shop-${randomUUID()}`;
  line = await startLine({
    workers: 2,
    redisUrl: redis.accountUrl,
    env: { STAGE_ATTEMPTS: "3", REDIS_PREFIX: prefix, ...env },
  });
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000_000 });
  return line;
}

/** Each has been delivered, charged once and shipped once, and no attempt has failed. */
async function expectAllWell(
  { client, environment, workers }: TestLine,
  ids: readonly string[],
): Promise<void> {
  for (const id of ids) {
    await client.orderIn(id, "DELIVERED");
    const entries = environment.providers.entriesOf(id);
    expect(entries.map(({ kind, outcome }) => `${kind} ${outcome}`).toSorted()).toEqual([
      "charge approved",
      "label approved",
    ]);
    const events = await listEvents(environment.database, id);
    expect(events.filter(({ type }) => !WITHOUT_TROUBLE.has(type))).toEqual([]);
  }
  const failures = workers.flatMap((worker) => worker.logs().filter(({ msg }) => FAILED.has(String(msg))));
  expect(failures).toEqual([]);
}

function operate({ api }: TestLine, path: string, body: Record<string, string> = {}) {
  return fetch(`${api.url}/console/queues/${path}`, {
    method: "POST",
    headers: { ...BASIC, origin: api.url },
    body: new URLSearchParams(body),
    redirect: "manual",
  });
}

async function page({ api }: TestLine, path: string): Promise<string> {
  const answer = await fetch(`${api.url}${path}`, { headers: BASIC });
  expect(answer.status).toBe(200);
  return answer.text();
}

const TOPOLOGIES = { "a cluster": startRedisCluster, Sentinels: startRedisSentinels };

describe.each(Object.entries(TOPOLOGIES))("Redis with %s", (kind, startTopology) => {
  let redis: RedisTopology;
  beforeAll(async () => {
    redis = await startTopology();
  });
  afterAll(() => redis?.stop());

  test("takes orders to their end, and shows, tells and controls all that one server does", async () => {
    const shop = await start(redis);
    const listener = await EventStreamClient.open(`${shop.api.url}/events/stream`, {
      authorization: `Bearer ${TEST_KEY}`,
    });
    const ids = await Promise.all(
      Array.from({ length: 40 }, async () => (await shop.client.order(PLAIN_ORDER)).id),
    );
    await expectAllWell(shop, ids);
    expect(await shop.client.get("/health/ready")).toMatchObject({ status: 200 });
    for (const worker of shop.workers)
      expect(await page(shop, "/console")).toContain(String(worker.process.pid));
    const board: unknown = JSON.parse(
      await page(shop, "/queues/api/queues?activeQueue=deliver&status=completed"),
    );
    expect(board).toMatchObject({
      queues: expect.arrayContaining([expect.objectContaining({ name: "pay" })]),
    });
    expect(await page(shop, "/queues/api/redis/stats")).toContain("version");
    expect(await page(shop, "/metrics")).toContain("conveyor_redis_up 1");

    const look = connectOnce(redis.url);
    await establish(look);
    const events = (await Promise.all(ids.map((id) => listEvents(shop.environment.database, id)))).flat();
    await waitFor(
      "the stream to have all events",
      async () => (await look.xlen(`${prefix}:events`)) === events.length,
    );
    look.disconnect();
    await waitFor("the listener to have all events", () => listener.received.length === events.length);

    await operate(shop, "pay/pause");
    const { id } = await shop.client.order(PLAIN_ORDER);
    await shop.client.orderIn(id, "RESERVED");
    expect(await page(shop, "/console/queues")).toContain("paused");
    await operate(shop, "pay/resume");
    await expectAllWell(shop, [id]);
  });

  test("loses no order and no attempt when masters are killed under load, five times, and takes them back", async () => {
    const shop = await start(redis);
    const ids: string[] = [];
    const over = new AbortController();
    const load = (async () => {
      while (!over.signal.aborted) {
        ids.push((await shop.client.order(PLAIN_ORDER)).id);
        await sleep(PACE_MS);
      }
    })();
    const replacedMs: number[] = [];
    for (const tag of KILLED) {
      const before = ids.length;
      await waitFor("a load", () => ids.length > before + 40);
      const master = await redis.masterOf(tag);
      const killedAt = performance.now();
      master.kill("SIGKILL");
      await waitFor("another master", () =>
        redis.masterOf(tag).then(
          ({ port }) => port !== master.port,
          () => false,
        ),
      );
      replacedMs.push(Math.round(performance.now() - killedAt));
      await shop.client.orderIn((await shop.client.order(PLAIN_ORDER)).id, "DELIVERED");
      await master.restart();
      await redis.untilReplicated(master);
    }
    over.abort();
    await load;
    await expectAllWell(shop, ids);
    await waitFor("health", async () => (await shop.client.get("/health/ready")).status === 200);
    const figures = { orders: ids.length, replacedMs, ...(await standStill(shop.environment.databaseUrl)) };
    process.stdout.write(`masters of ${kind} killed: ${JSON.stringify(figures)}\n`);
  });
});

/** The longest time in which no order went on, and how long the slowest order took, from its acceptance to its end. Milliseconds. */
async function standStill(databaseUrl: string): Promise<{ longestMs: number; slowestOrderMs: number }> {
  const sql = new Sql(databaseUrl);
  try {
    const [row] = await sql.rows(`
      SELECT (SELECT MAX(gap) FROM (
          SELECT TIMESTAMPDIFF(MICROSECOND, LAG(at) OVER (ORDER BY at), at) / 1000 AS gap
          FROM order_events WHERE type = 'status' AND from_status IS NOT NULL
        ) AS gaps) AS longest,
        (SELECT MAX(TIMESTAMPDIFF(MICROSECOND, created_at, updated_at)) / 1000 FROM orders) AS slowest`);
    return {
      longestMs: Math.round(Number(row?.["longest"])),
      slowestOrderMs: Math.round(Number(row?.["slowest"])),
    };
  } finally {
    sql.close();
  }
}

describe("a cluster of which one shard loses its data", () => {
  let redis: RedisTopology;
  beforeAll(async () => {
    redis = await startRedisCluster();
  });
  afterAll(() => redis?.stop());

  test("has its jobs and settings again within seconds, long before anybody looks for an order that stands still", async () => {
    const shop = await start(redis, { SWEEP_AFTER_MS: "600000", SWEEP_INTERVAL_MS: "500" });
    shop.environment.providers.setFault("carrier", { kind: "down" });
    await operate(shop, "ship/concurrency", { concurrency: "77" });
    const ids = await Promise.all(
      Array.from({ length: 20 }, async () => (await shop.client.order(PLAIN_ORDER)).id),
    );
    for (const id of ids) await shop.client.orderIn(id, "PAID");
    const queue = `${prefix}:{ship}:ship`;
    const jobs = ids.map((id) => `${queue}:${jobId(id, { from: "PAID", to: "SHIPPED" })}`);
    const shard = redis.admin(await redis.masterOf("{ship}"));
    const areThere = async () =>
      (await shard.exists(...jobs)) === ids.length &&
      (await shard.hget(`${queue}:meta`, "concurrency")) === "77";
    await waitFor("jobs and setting", areThere);
    await shard.flushall();
    await waitFor("jobs and setting again", areThere);
    shop.environment.providers.setFault("carrier", { kind: "none" });
    await expectAllWell(shop, ids);
  });
});
