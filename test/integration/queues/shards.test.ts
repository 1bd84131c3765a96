import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { setTimeout as sleep } from "node:timers/promises";
import { v7 as uuidv7 } from "uuid";
import { Worker } from "bullmq";
import { connectWorker } from "../../../queues/connection.ts";
import { readControls, readLimits, restoreControls } from "../../../queues/controls.ts";
import { jobId } from "../../../queues/job.ts";
import { promoteJob, readJob } from "../../../queues/job-status.ts";
import { queuePrefix } from "../../../queues/keys.ts";
import { Permits } from "../../../queues/permits.ts";
import { Queues } from "../../../queues/queues.ts";
import { announceSplits, closeUnused } from "../../../queues/shard-watch.ts";
import { queueNameFor } from "../../../queues/shards.ts";
import type { QueueSettings, StoredSettings } from "../../../src/engine/ports.ts";
import { Lifecycle } from "../../../src/order/lifecycle.ts";
import type { Stage } from "../../../src/order/stage.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { waitFor } from "../../support/wait-for.ts";

const run = async () => ({});
const pack: Stage = { name: "pack", to: "PACKED", run };
const post: Stage = { name: "post", to: "POSTED", run, settings: { rateLimit: { max: 5, duration: 1_000 } } };
const lifecycle = new Lifecycle([pack, post]);
const due = lifecycle.due("CREATED")!;

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment({ migrated: false });
});
afterAll(() => environment?.close());
beforeEach(() => environment.redis.flushdb());

const opened: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

/** A process with so many shards, which knows of the others. */
async function openProcess(shards: number) {
  const { redis } = environment;
  const queues = new Queues({ connection: redis, lifecycle, shards, onError: () => undefined });
  opened.push(() => queues.close());
  const look = () => announceSplits({ redis, queues });
  await look();
  return {
    queues,
    look,
    tidy: async () => closeUnused({ redis, queues }, await look()),
    names: () => queues.shards.served(pack).map(({ name }) => name),
    jobs: async () => {
      const counts = await Promise.all(
        queues.shards.known(pack).map((queue) => queue.getJobCounts("waiting", "delayed", "failed")),
      );
      return counts.reduce(
        (sum, { waiting = 0, delayed = 0, failed = 0 }) => sum + waiting + delayed + failed,
        0,
      );
    },
  };
}

const jobsOf = (ids: readonly string[]) => ids.map((orderId) => ({ orderId, transition: due }));
const someOrders = (count: number) => Array.from({ length: count }, () => uuidv7());

/** Nobody announces these splits any more. */
async function forget(shards: number): Promise<void> {
  const { redis } = environment;
  for (const { name } of lifecycle.steps)
    if (await redis.hexists("conveyor:shards", `${name}/${shards}`))
      await redis.hset("conveyor:shards", `${name}/${shards}`, Date.now() - 60_000);
}

/** Takes one job of an order, and fails it for good, or holds it. */
async function take(queues: Queues, orderId: string, how: "fail" | "hold"): Promise<void> {
  const queue = await queues.queueWith(orderId, due);
  const connection = connectWorker(environment.redisUrl);
  opened.push(async () => connection.disconnect());
  const worker = new Worker(queue.name, null, {
    connection,
    prefix: queuePrefix(environment.redis, queue),
  });
  opened.push(() => worker.close(true));
  const job = await worker.getNextJob("token", { block: false });
  if (job === undefined) throw new Error("the queue is empty");
  expect(job.data).toMatchObject({ orderId });
  if (how === "fail") {
    job.opts.attempts = 1;
    await job.moveToFailed(new Error("broken"), "token", false);
  }
}

describe("while a process with one queue a stage and one with four run side by side", () => {
  test("each adds to its own, and finds what the other has added", async () => {
    const [one, four] = [await openProcess(1), await openProcess(4)];
    await one.look();
    const [old, young] = [someOrders(20), someOrders(20)];
    await one.queues.enqueue(jobsOf(old));
    await four.queues.enqueue(jobsOf(young));
    expect(await one.queues.of(pack).getWaitingCount()).toBe(20);
    for (const { queues, names, jobs } of [one, four]) {
      expect(names()).toEqual(["pack", "pack-0", "pack-1", "pack-2", "pack-3"]);
      expect(await queues.revive(jobsOf([...old, ...young]))).toBe(0);
      expect(await queues.areStranded(jobsOf([...old, ...young]))).not.toContain(true);
      expect(await jobs()).toBe(40);
    }
  });

  test("a job is under way wherever a worker holds it, and replaced and promoted wherever it rests", async () => {
    const [one, four] = [await openProcess(1), await openProcess(4)];
    const [held, delayed, failed] = [uuidv7(), uuidv7(), uuidv7()];
    await one.queues.enqueue(jobsOf([held]));
    await take(one.queues, held, "hold");
    expect(await four.queues.areUnderWay(jobsOf([held]))).toEqual([true]);
    await one.queues.enqueue([{ orderId: delayed, transition: due, delayMs: 60_000 }]);
    const given = { queues: four.queues, redis: environment.redis };
    expect(await readJob(given, delayed, due)).toMatchObject({
      state: "delayed",
      queue: "pack",
      step: "pack",
    });
    expect(await promoteJob(four.queues, delayed, due)).toBe(true);
    expect(await readJob(given, delayed, due)).toMatchObject({ state: "waiting" });

    await one.queues.enqueue([{ orderId: failed, transition: due, delayMs: 60_000 }]);
    const cancelling = lifecycle.cancelling("CREATED")!;
    await four.queues.replace([
      { job: { orderId: failed, transition: due }, by: { orderId: failed, transition: cancelling } },
    ]);
    expect(await one.queues.of(pack).getJob(jobId(failed, due))).toBeUndefined();
    expect(await four.queues.of(cancelling.step, failed).getJob(jobId(failed, cancelling))).toBeDefined();
  });

  test("an order that failed in the other's queue is resumed in one's own, as one that failed", async () => {
    const [four, two] = [await openProcess(4), await openProcess(2)];
    const orderId = uuidv7();
    await four.queues.enqueue(jobsOf([orderId]));
    await take(four.queues, orderId, "fail");
    expect(await two.queues.revive(jobsOf([orderId]))).toBe(1);
    const job = await two.queues.of(pack, orderId).getJob(jobId(orderId, due));
    expect(job?.data).toMatchObject({ suspect: true });
    expect(await four.queues.of(pack, orderId).getFailedCount()).toBe(0);
  });
});

describe("queues that nobody adds to any more", () => {
  test("are served until they are empty, and then forgotten", async () => {
    const one = await openProcess(1);
    const orderId = uuidv7();
    await one.queues.enqueue(jobsOf([orderId]));
    const four = await openProcess(4);
    await forget(1);
    await four.tidy();
    expect(four.names()).toContain("pack");
    await one.queues.of(pack).remove(jobId(orderId, due));
    await four.tidy();
    await four.look();
    expect(four.names()).toEqual(["pack-0", "pack-1", "pack-2", "pack-3"]);
    expect(await environment.redis.hkeys("conveyor:shards")).not.toContain("pack/1");
  });

  test("with failed jobs are shown and found, but not served until one runs again", async () => {
    const [four, two] = [await openProcess(4), await openProcess(2)];
    // In a queue that two shards don't have.
    const orderId = someOrders(100).find((id) => queueNameFor(id, "pack", 4) === "pack-3") ?? "";
    await four.queues.enqueue(jobsOf([orderId]));
    await take(four.queues, orderId, "fail");
    for (const left of [1, 4]) await forget(left);
    await two.tidy();
    await two.look();
    expect(two.names()).toEqual(["pack-0", "pack-1"]);
    expect(two.queues.all.map(({ name }) => name)).toContain("pack-3");
    const queue = await two.queues.queueWith(orderId, due);
    expect(queue.name).toBe(four.queues.of(pack, orderId).name);
    // As Bull Board does with jobs that belong to no order.
    await (await queue.getJob(jobId(orderId, due)))?.retry("failed");
    await two.tidy();
    await two.look();
    expect(two.names()).toEqual(["pack-0", "pack-1", "pack-2", "pack-3"]);
  });

  test("of a version without shards are served at first", async () => {
    const four = await openProcess(4);
    expect(four.names()).toContain("pack");
  });
});

test("a stage with a rate limit of its own has one queue, which keeps to it exactly", async () => {
  const four = await openProcess(4);
  expect(four.queues.shards.own).toContainEqual({ step: "post", shards: 1, isServed: true });
});

describe("a stage's settings", () => {
  const settings = (wanted: Partial<QueueSettings>): StoredSettings[] => [
    { step: "pack", paused: false, concurrency: null, rateLimit: null, updatedAt: new Date(), ...wanted },
  ];

  /** A process with four shards, and no others. */
  async function four() {
    await openProcess(1);
    const made = await openProcess(4);
    await environment.redis.del("conveyor:shards");
    await environment.redis.hset("conveyor:shards", "pack/4", Date.now());
    await made.look();
    const given = { queues: made.queues, redis: environment.redis };
    const each = <T>(ask: (queue: (typeof made.queues.all)[number]) => Promise<T>) =>
      Promise.all(made.queues.shards.served(pack).map(ask));
    return { ...made, given, each };
  }

  test("are divided among its queues, told as a whole, and undone", async () => {
    const { given, each } = await four();
    const wanted = { paused: true, concurrency: 6, rateLimit: { max: 2, durationMs: 1_000 } };
    expect(await restoreControls(given, settings(wanted))).toBe(4);
    expect(await each((queue) => queue.getGlobalConcurrency())).toEqual([2, 2, 1, 1]);
    expect(await each((queue) => queue.getGlobalRateLimit())).toEqual(
      Array.from({ length: 4 }, () => ({ max: 1, duration: 2_000 })),
    );
    expect(await each((queue) => queue.isPaused())).toEqual([true, true, true, true]);
    expect(await readControls(given, pack)).toEqual(wanted);
    expect(await readLimits(given, pack)).toEqual({
      isUnlimited: false,
      concurrency: 6,
      rateLimit: wanted.rateLimit,
    });
    await restoreControls(given, settings({}));
    expect(await readControls(given, pack)).toEqual({ paused: false, concurrency: null, rateLimit: null });
    expect(await each((queue) => queue.isPaused())).not.toContain(true);
  });

  test("are divided anew when the number of queues changes", async () => {
    const { given, look } = await four();
    const stored = settings({ concurrency: 10 });
    await restoreControls(given, stored);
    expect(await restoreControls(given, stored)).toBe(0);
    await openProcess(7);
    await look();
    expect(await restoreControls(given, stored)).toBe(7);
    const parts = given.queues.shards.served(pack).map((queue) => queue.getGlobalConcurrency());
    expect(await Promise.all(parts)).toEqual([2, 2, 2, 1, 1, 1, 1]);
  });
});

describe("permits", () => {
  const limit = (concurrency: number | null, rateLimit: QueueSettings["rateLimit"] = null) => ({
    concurrency,
    rateLimit,
  });
  const permit = (holder: string) => ({ step: pack, holder });
  const permits = () => new Permits(environment.redis);

  test("are given to as many as the limit allows, and to the others in turn", async () => {
    const [mine, theirs] = [permits(), permits()];
    const [a, b, c, d] = ["a", "b", "c", "d"].map(permit);
    expect(await mine.ask(a!, limit(2))).toBe(0);
    expect(await theirs.ask(b!, limit(2))).toBe(0);
    expect(await mine.ask(c!, limit(2))).toBeGreaterThan(0);
    expect(await theirs.ask(d!, limit(2))).toBeGreaterThan(0);
    await mine.leave(a!);
    // It asks first, but came last.
    expect(await theirs.ask(d!, limit(2))).toBeGreaterThan(0);
    expect(await mine.ask(c!, limit(2))).toBe(0);
    await theirs.leave(b!);
    expect(await theirs.ask(d!, limit(2))).toBe(0);
    for (const held of [c!, d!]) await mine.leave(held);
    expect(await environment.redis.keys("*permits*")).toEqual([]);
  });

  test("that a process leaves behind are free after a while", async () => {
    const [a, b] = ["a", "b"].map(permit);
    await permits().ask(a!, limit(1));
    const survivor = permits();
    expect(await survivor.ask(b!, limit(1))).toBeGreaterThan(0);
    const [alive = ""] = await environment.redis.keys("*permits:alive");
    await environment.redis.zadd(alive, "XX", 1, "a");
    expect(await survivor.ask(b!, limit(1))).toBe(0);
    await survivor.leave(b!);
  });

  test("keep to a rate, too", async () => {
    const asked = permits();
    const rate = { max: 2, durationMs: 400 };
    const startedAt = performance.now();
    const starts = await Promise.all(
      ["a", "b", "c", "d", "e"].map(async (name) => {
        for (;;) {
          const waitMs = await asked.ask(permit(name), limit(null, rate));
          if (waitMs === 0) return performance.now() - startedAt;
          await asked.untilFree(waitMs, undefined);
        }
      }),
    );
    const sorted = starts.toSorted((x, y) => x - y);
    expect(sorted[2]! - sorted[0]!).toBeGreaterThan(350);
    expect(sorted[4]! - sorted[2]!).toBeGreaterThan(350);
  });

  test("wake who waits in the same process, and nobody after an abort", async () => {
    const held = permits();
    await held.ask(permit("a"), limit(1));
    const woken = held.untilFree(60_000, undefined);
    await held.leave(permit("a"));
    await woken;
    await expect(held.untilFree(60_000, AbortSignal.abort(new Error("stopped")))).rejects.toThrow("stopped");
    const stop = new AbortController();
    const waiting = held.untilFree(60_000, stop.signal);
    await sleep(0);
    stop.abort(new Error("stopped later"));
    await expect(waiting).rejects.toThrow("stopped later");
  });

  test("are renewed while they are held", async () => {
    const held = permits();
    await held.ask(permit("a"), limit(1));
    const score = async () => Number(await environment.redis.zscore("{pack}:permits:alive", "a"));
    const first = await score();
    await waitFor("a renewal", async () => (await score()) > first + 1_000);
  });
});
