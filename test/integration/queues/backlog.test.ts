import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { connectOnce } from "../../../queues/connection.ts";
import { readBacklogs } from "../../../queues/backlog.ts";
import { queuePrefix } from "../../../queues/keys.ts";
import { startTestRedis, type TestServer } from "../../support/servers.ts";
import { waitFor } from "../../support/wait-for.ts";

const STAGE = { name: "pay", settings: {} };
const NOTHING = { ready: 0, abandoned: 0 };

let server: TestServer;
let redis: Redis;
const toServer = { connectOnce: () => connectOnce(server.url) };
let queue: Queue;
beforeAll(async () => {
  server = await startTestRedis();
  redis = new Redis(server.url, { maxRetriesPerRequest: null, disconnectTimeout: 100 });
  redis.on("error", () => undefined);
  queue = new Queue(STAGE.name, { connection: redis, prefix: queuePrefix(redis, STAGE) });
});
afterEach(() => redis.flushall());
afterAll(async () => {
  await queue.close();
  redis.disconnect();
  await server.stop();
});

const read = async (settings: { rateLimit?: { max: number; duration: number } } = {}) =>
  (await readBacklogs(toServer, [{ ...STAGE, settings }]))[0];
const add = (count: number, options = {}) =>
  queue.addBulk(Array.from({ length: count }, () => ({ name: "job", data: {}, opts: options })));

/** A worker that is driven by hand. It renews no locks. */
async function withWorker(
  work: (worker: Worker) => Promise<void>,
  options: { lockDuration?: number; limiter?: { max: number; duration: number } } = {},
): Promise<void> {
  const worker = new Worker(STAGE.name, null, {
    connection: redis,
    prefix: queuePrefix(redis, STAGE),
    ...options,
  });
  worker.on("error", () => undefined);
  try {
    await work(worker);
  } finally {
    await worker.close();
  }
}

describe("a queue's backlog", () => {
  test("is empty without a queue, and when all is done or delayed", async () => {
    expect(await readBacklogs(toServer, [{ name: "other", settings: {} }, STAGE])).toEqual([
      NOTHING,
      NOTHING,
    ]);
    await add(2, { delay: 60_000 });
    expect(await read()).toEqual(NOTHING);
  });

  test("has what waits, with or without a priority, and what is long overdue", async () => {
    await add(3);
    await add(2, { priority: 5 });
    await add(1, { delay: 1_000, timestamp: Date.now() - 60_000 });
    expect(await read()).toEqual({ ready: 6, abandoned: 0 });
  });

  test("is empty while the queue is paused", async () => {
    await add(3);
    await queue.pause();
    expect(await read()).toEqual(NOTHING);
    await queue.resume();
    expect(await read()).toEqual({ ready: 3, abandoned: 0 });
  });

  test("is empty while the queue is at its global concurrency", async () => {
    await queue.setGlobalConcurrency(1);
    await add(2);
    expect(await read()).toEqual({ ready: 2, abandoned: 0 });
    await withWorker(async (worker) => {
      await worker.getNextJob("token", { block: false });
      expect(await read()).toEqual(NOTHING);
    });
  });

  test("is empty while the workers are at their rate limit, or at the queue's", async () => {
    const rateLimit = { max: 1, duration: 60_000 };
    await add(3);
    expect(await read({ rateLimit })).toEqual({ ready: 3, abandoned: 0 });
    await withWorker((worker) => worker.getNextJob("token", { block: false }).then(() => undefined), {
      limiter: rateLimit,
    });
    expect(await read({ rateLimit })).toEqual(NOTHING);
    expect(await read({ rateLimit: { ...rateLimit, max: 2 } })).toEqual({ ready: 2, abandoned: 0 });
    await queue.setGlobalRateLimit(1, 60_000);
    expect(await read()).toEqual(NOTHING);
  });

  test("has jobs whose locks have run out, and not those that somebody holds", async () => {
    await add(2);
    await withWorker(async (worker) => {
      await worker.getNextJob("token", { block: false });
      expect(await read()).toEqual({ ready: 1, abandoned: 0 });
    });
    await withWorker(
      async (worker) => {
        await worker.getNextJob("token", { block: false });
        await waitFor("its lock to run out", async () => (await read())?.abandoned === 1);
      },
      { lockDuration: 100 },
    );
  });

  test("can't be read while Redis hangs or is gone", async () => {
    server.kill("SIGSTOP");
    await expect(read()).rejects.toThrow();
    server.kill("SIGKILL");
    await expect(read()).rejects.toThrow();
    await server.restart();
    await waitFor("Redis", async () => (await redis.ping()) === "PONG");
    expect(await read()).toEqual(NOTHING);
  });
});
