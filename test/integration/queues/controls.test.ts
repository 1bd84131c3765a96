import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { Database } from "../../../db/database.ts";
import type { QueueSettings } from "../../../src/engine/ports.ts";
import { changeQueueSettings, listQueueSettings } from "../../../db/queue-settings.ts";
import { readControls, restoreControls } from "../../../queues/controls.ts";
import { beat, lastBeat, readHeartbeats, type Heartbeat } from "../../../queues/telemetry/heartbeats.ts";
import { addCounts, MinuteCounts, minuteOf, readCounts } from "../../../queues/telemetry/minute-counts.ts";
import { Queues } from "../../../queues/queues.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { pay } from "../../../src/order/stages/pay.ts";
import { ship } from "../../../src/order/stages/ship.ts";
import { divideQuota } from "../../../workers/suspect-quota.ts";
import { SuspectPlaces } from "../../../src/engine/suspects.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";

let environment: TestEnvironment;
let queues: Queues;
beforeAll(async () => {
  environment = await createTestEnvironment();
  queues = new Queues({
    connection: environment.redis,
    lifecycle,
    onError: (error) => {
      throw error;
    },
  });
});
beforeEach(() => environment.redis.flushdb());
afterAll(async () => {
  await queues?.close();
  await environment?.close();
});

describe("settings of the queues", () => {
  const restore = async () =>
    restoreControls({ queues, redis: environment.redis }, await listQueueSettings(environment.database));
  const change = (database: Database, step: string, wanted: Partial<QueueSettings>) =>
    changeQueueSettings(database, step, wanted, { actor: "ada", action: "pause", target: step });
  const ofPay = () => readControls(queues.of(pay));

  test("are kept in MySQL, each by itself, and Redis is made to have them", async () => {
    const { database, redis } = environment;
    await change(database, "pay", { concurrency: 3 });
    await change(database, "pay", { rateLimit: { max: 7, durationMs: 2_000 } });
    await change(database, "pay", { paused: true });
    expect(await restore()).toBe(1);
    const wanted = { paused: true, concurrency: 3, rateLimit: { max: 7, durationMs: 2_000 } };
    expect(await ofPay()).toEqual(wanted);
    expect(await restore()).toBe(0);

    await redis.flushdb();
    expect(await ofPay()).toEqual({ paused: false, concurrency: null, rateLimit: null });
    expect(await restore()).toBe(1);
    expect(await ofPay()).toEqual(wanted);

    await change(database, "pay", { paused: false, concurrency: null, rateLimit: null });
    expect(await restore()).toBe(1);
    expect(await ofPay()).toEqual({ paused: false, concurrency: null, rateLimit: null });
  });

  test("a new rate limit does not wait for the window of the old one", async () => {
    const { database, redis } = environment;
    const window = queues.of(pay).toKey("limiter");
    await change(database, "pay", { rateLimit: { max: 1, durationMs: 86_400_000 } });
    await restore();
    await redis.set(window, 1, "PX", 86_400_000);
    await change(database, "pay", { paused: true });
    await restore();
    expect(await redis.exists(window)).toBe(1);
    await change(database, "pay", { rateLimit: { max: 20, durationMs: 1_000 } });
    await restore();
    expect(await redis.exists(window)).toBe(0);
  });

  test("that somebody has changed in Redis alone are left, until they are changed here", async () => {
    const { database } = environment;
    await change(database, "pay", { paused: false });
    await change(database, "ship", { paused: false });
    await restore();
    await queues.of(pay).pause();
    await change(database, "ship", { concurrency: 1 });
    expect(await restore()).toBe(1);
    expect(await queues.of(pay).isPaused()).toBe(true);
    expect((await readControls(queues.of(ship))).concurrency).toBe(1);
  });

  test("of a stage that is no more do no harm", async () => {
    await change(environment.database, "gone", { paused: true });
    await restore();
    expect(await restore()).toBe(0);
  });
});

test("counts of several workers are added up, by stage and minute", async () => {
  const { redis } = environment;
  const last = minuteOf(Date.now());
  for (let worker = 0; worker < 2; worker++) {
    const counts = new MinuteCounts();
    counts.done("pay", 100);
    counts.done("pay", 100);
    counts.failed("pay");
    await addCounts(redis, counts.take());
  }
  // The minute may have ended meanwhile.
  const minutes = (await readCounts(redis, ["pay", "ship"], { last: last + 1, minutes: 3 })).get("pay") ?? [];
  expect(minutes.map(({ done }) => done).reduce((a, b) => a + b)).toBe(4);
  expect(minutes.map(({ failed }) => failed).reduce((a, b) => a + b)).toBe(2);
  for (const key of await redis.keys("conveyor:minute:*"))
    expect(await redis.ttl(key)).toBeGreaterThan(3_600);
});

test("a worker is alive until it says goodbye, or says nothing for a while", async () => {
  const { redis } = environment;
  const worker = (id: string): Heartbeat => ({
    id,
    host: "h",
    pid: 1,
    startedAt: `2026-11-23T09:00:0${id}.000Z`,
    steps: [],
    open: [],
  });
  for (const id of ["2", "1", "3"]) await beat(redis, worker(id));
  expect(await readHeartbeats(redis)).toEqual([worker("1"), worker("2"), worker("3")]);
  await lastBeat(redis, "1");
  await redis.del("conveyor:worker:2");
  expect((await readHeartbeats(redis)).map(({ id }) => id)).toEqual(["3"]);
  expect(await redis.ttl("conveyor:worker:3")).toBeGreaterThan(0);
});

describe("a rate limit", () => {
  const suspects = new SuspectPlaces(() => 50);
  const limited = (max: number, ms: number) => queues.of(pay).setGlobalRateLimit(max, ms);
  const look = () =>
    divideQuota({
      redis: environment.redis,
      queues,
      workers: [{ name: "pay", step: pay, suspects }],
      self: "a",
    });
  const transition = lifecycle.due("RESERVED") ?? { from: "RESERVED", to: "PAID", step: pay };
  const addSuspects = (count: number, prefix = "order") =>
    queues.enqueue(
      Array.from({ length: count }, (_, index) => ({
        orderId: `${prefix}-${index}`,
        transition,
        suspect: true,
      })),
    );
  /** Milliseconds until each job that waits for its time may be taken, in that order. */
  const dueIn = async (prefix = "order") => {
    const entries = await environment.redis.zrange(queues.of(pay).toKey("delayed"), "0", "-1", "WITHSCORES");
    return entries.flatMap((id, index) =>
      index % 2 === 0 && id.startsWith(prefix) ? [Number(entries[index + 1]) / 0x1000 - Date.now()] : [],
    );
  };
  const TOLERANCE_MS = 3_000;
  const expectTurns = (due: readonly number[], gapMs: number, first = 0) => {
    for (const [index, each] of due.entries())
      expect(Math.abs(each - (first + index) * gapMs)).toBeLessThan(TOLERANCE_MS);
  };

  test("leaves suspects a turn each, a quarter of it in all, and the first at once", async () => {
    await limited(1, 60_000);
    await addSuspects(3);
    await addSuspects(2, "later");
    // The first does not wait.
    const due = await dueIn("");
    expect(due).toHaveLength(4);
    expectTurns(due, 240_000, 1);
  });

  test("that is set, changed or removed has suspects wait by the new one, and nobody else", async () => {
    const queue = queues.of(pay);
    await queue.addBulk(
      Array.from({ length: 5 }, (_, index) => ({
        name: "pay",
        data: { orderId: `order-${index}`, suspect: true as const },
        opts: { jobId: `order-${index}`, delay: 1_000 + index },
      })),
    );
    await queue.add("pay", { orderId: "other" }, { jobId: "other", delay: 500_000 });
    await look();
    expect(Math.max(...(await dueIn()))).toBeLessThan(TOLERANCE_MS);

    await limited(1, 60_000);
    await look();
    expectTurns((await dueIn()).slice(1), 240_000, 1);
    expect((await queues.turnsOf(pay).take())[0]).toBeGreaterThan(5 * 240_000 - TOLERANCE_MS);

    await limited(4, 60_000);
    await look();
    expectTurns((await dueIn()).slice(1), 60_000, 1);

    await queue.removeGlobalRateLimit();
    await look();
    expect(Math.max(...(await dueIn()))).toBeLessThanOrEqual(60_000);
    expect(await queues.turnsOf(pay).take(2)).toEqual([0, 0]);
    const [other = 0] = await dueIn("other");
    expect(Math.abs(other - 500_000)).toBeLessThan(TOLERANCE_MS);
  });

  test("that stays the same leaves all as it is", async () => {
    await limited(1, 60_000);
    await look();
    await queues.of(pay).add("pay", { orderId: "o", suspect: true }, { jobId: "order-o", delay: 90_000 });
    await look();
    expectTurns(await dueIn(), 90_000, 1);
  });

  test("has nobody wait for those that are gone", async () => {
    await limited(1, 60_000);
    await addSuspects(50);
    await queues.of(pay).drain(true);
    // As if that were some time ago.
    await environment.redis.hset(queues.of(pay).toKey("suspects"), { since: 0 });
    expect(await queues.turnsOf(pay).take(2)).toEqual([0, 240_000]);
  });
});

test("a limit over all workers is divided among those that are alive, for orders that have failed before", async () => {
  const { redis } = environment;
  const step = { name: "pay", held: 0, concurrency: 50, standsStill: false };
  const alive = { host: "h", pid: 1, startedAt: "2026-11-23T09:00:00.000Z", steps: [step], open: [] };
  const workers = ["a", "b"].map((self) => {
    const suspects = new SuspectPlaces(() => 50);
    return {
      suspects,
      divide: () => divideQuota({ redis, queues, workers: [{ name: "pay", step: pay, suspects }], self }),
    };
  });
  const places = async () => {
    for (const { divide } of workers) await divide();
    return workers.map(({ suspects }) => suspects.places);
  };
  for (const id of ["a", "b"]) await beat(redis, { ...alive, id });
  expect(await places()).toEqual([12, 12]);
  await queues.of(pay).setGlobalConcurrency(12);
  expect(await places()).toEqual([2, 1]);
  await queues.of(pay).removeGlobalConcurrency();
  expect(await places()).toEqual([12, 12]);
});
