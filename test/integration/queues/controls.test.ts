import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { changeQueueSettings, listQueueSettings } from "../../../db/queue-settings.ts";
import { readControls, restoreControls } from "../../../queues/controls.ts";
import { beat, lastBeat, readHeartbeats, type Heartbeat } from "../../../queues/telemetry/heartbeats.ts";
import { addCounts, MinuteCounts, minuteOf, readCounts } from "../../../queues/telemetry/minute-counts.ts";
import { Queues } from "../../../queues/queues.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { pay } from "../../../src/order/stages/pay.ts";
import { ship } from "../../../src/order/stages/ship.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { SuspectQuota } from "../../../workers/suspect-quota.ts";
import { SuspectPlaces } from "../../../src/engine/suspects.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";

let environment: TestEnvironment;
let queues: Queues;
beforeAll(async () => {
  environment = await createTestEnvironment();
  queues = new Queues({
    connection: environment.redis,
    steps: lifecycle.steps,
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
  const ofPay = () => readControls(queues.of(pay));

  test("are kept in MySQL, each by itself, and Redis is made to have them", async () => {
    const { database, redis } = environment;
    await changeQueueSettings(database, "pay", { concurrency: 3 });
    await changeQueueSettings(database, "pay", { rateLimit: { max: 7, durationMs: 2_000 } });
    await changeQueueSettings(database, "pay", { paused: true });
    expect(await restore()).toBe(1);
    const wanted = { paused: true, concurrency: 3, rateLimit: { max: 7, durationMs: 2_000 } };
    expect(await ofPay()).toEqual(wanted);
    expect(await restore()).toBe(0);

    await redis.flushdb();
    expect(await ofPay()).toEqual({ paused: false, concurrency: null, rateLimit: null });
    expect(await restore()).toBe(1);
    expect(await ofPay()).toEqual(wanted);

    await changeQueueSettings(database, "pay", { paused: false, concurrency: null, rateLimit: null });
    expect(await restore()).toBe(1);
    expect(await ofPay()).toEqual({ paused: false, concurrency: null, rateLimit: null });
  });

  test("that somebody has changed in Redis alone are left, until they are changed here", async () => {
    const { database } = environment;
    await changeQueueSettings(database, "pay", { paused: false });
    await changeQueueSettings(database, "ship", { paused: false });
    await restore();
    await queues.of(pay).pause();
    await changeQueueSettings(database, "ship", { concurrency: 1 });
    expect(await restore()).toBe(1);
    expect(await queues.of(pay).isPaused()).toBe(true);
    expect((await readControls(queues.of(ship))).concurrency).toBe(1);
  });

  test("of a stage that is no more do no harm", async () => {
    await changeQueueSettings(environment.database, "gone", { paused: true });
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

test("a limit over all workers is divided among those that are alive, for orders that have failed before", async () => {
  const { redis } = environment;
  const step = { name: "pay", held: 0, concurrency: 50, standsStill: false };
  const alive = { host: "h", pid: 1, startedAt: "2026-11-23T09:00:00.000Z", steps: [step], open: [] };
  const workers = ["a", "b"].map((self) => {
    const suspects = new SuspectPlaces(() => 50);
    const log = createLogger({ name: "test", level: "silent" });
    return {
      suspects,
      quota: new SuspectQuota({ redis, queues, workers: [{ name: "pay", suspects }], self, log }),
    };
  });
  const places = async () => {
    for (const { quota } of workers) await quota.divide();
    return workers.map(({ suspects }) => suspects.places);
  };
  for (const id of ["a", "b"]) await beat(redis, { ...alive, id });
  expect(await places()).toEqual([12, 12]);
  await queues.of(pay).setGlobalConcurrency(12);
  expect(await places()).toEqual([2, 1]);
  await queues.of(pay).removeGlobalConcurrency();
  expect(await places()).toEqual([12, 12]);
});
