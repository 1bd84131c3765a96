import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { listEvents } from "../../../db/order-events.ts";
import { jobId } from "../../../queues/job.ts";
import { Queues } from "../../../queues/queues.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { Lifecycle } from "../../../src/order/lifecycle.ts";
import { NotNowError, RequestRefusedError } from "../../../src/order/ports.ts";
import { reject, settingsOf, snooze, type Stage, type StageSettings } from "../../../src/order/stage.ts";
import { Executor } from "../../../src/engine/executor.ts";
import { InPlace } from "../../../workers/in-place.ts";
import { StageWorker, type StageWorkerOptions } from "../../../workers/stage-worker.ts";
import { FailureLog } from "../../../src/engine/failure-log.ts";
import { BatchingStore } from "../../../src/engine/batching-store.ts";
import { orderStore } from "../../../db/order-store.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder, NO_PORTS, readOrder } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";

let environment: TestEnvironment;
let closing: (() => Promise<unknown>)[];
beforeEach(async () => {
  environment = await createTestEnvironment();
  closing = [];
});
afterEach(async () => {
  for (const close of closing.toReversed()) await close();
  await environment.close();
});

/** One stage over real queues and a real worker, with quick retries. */
async function working(
  run: Stage["run"],
  settings: Partial<StageSettings> = {},
  { failures = {} }: { readonly failures?: Partial<StageWorkerOptions["failures"]> } = {},
) {
  const stage: Stage = { name: "wrap", to: "WRAPPED", run };
  const own = settingsOf(stage, { attempts: 3, backoff: { delay: 1, jitter: 0 }, ...settings });
  const lifecycle = new Lifecycle([stage]);
  const connection = new Redis(environment.redisUrl, { maxRetriesPerRequest: null });
  const queues = new Queues({ connection, lifecycle, overrides: own, onError: () => undefined });
  const recorded = new FailureLog({ store: orderStore(environment.database), lifecycle });
  const start = async () => {
    const worker = new StageWorker({
      step: stage,
      settings: own,
      connection,
      executor: new Executor({
        lifecycle,
        ports: NO_PORTS,
        store: new BatchingStore({ store: orderStore(environment.database) }),
      }),
      handOver: new InPlace({
        workerOf: () => undefined,
        enqueue: (job) => queues.enqueue([job]),
        limitsOf: async () => ({ isUnlimited: false, hasConcurrency: false }),
        announceGuests: async () => undefined,
        retractGuests: () => undefined,
        haveGuests: async () => false,
      }),
      log: createLogger({ name: "test", level: "silent" }),
      turns: queues.turnsOf(stage),
      stillFails: async () => true,
      isolation: { attempt: async () => Promise.reject(new Error("no job of this test has stalled")) },
      outages: {
        databaseAway: () => undefined,
        redisAway: () => undefined,
        judge: async () => ({ cause: "order" }),
        probeIntervalMs: 1,
      },
      failures: {
        markFailed: (failure) => recorded.markFailed(failure),
        noteFailedAttempt: (failure) => recorded.noteFailedAttempt(failure),
        ...failures,
      },
    });
    await worker.start();
    return worker;
  };
  const worker = await start();
  closing.push(
    async () => connection.disconnect(),
    () => queues.close(),
    () => worker.stop(0),
  );
  const transition = lifecycle.due("CREATED") ?? noTransition();
  const queue = queues.of(stage);
  return {
    queue,
    worker,
    start,
    /** Creates an order, queues it and gives its id. */
    async order(): Promise<string> {
      const orderId = await createOrder(environment.database);
      await queues.enqueue([{ orderId, transition }]);
      return orderId;
    },
    job: (orderId: string) => queue.getJob(jobId(orderId, transition)),
    enqueue: (orderId: string) => queues.enqueue([{ orderId, transition }]),
    revive: (orderId: string) => queues.revive([{ orderId, transition }]),
  };
}
type Line = Awaited<ReturnType<typeof working>>;

const order = (id: string) => readOrder(environment.database, id);
const inStatus = (id: string, status: string) =>
  waitFor(`order ${id} ${status}`, async () => (await order(id)).status === status);
const failed = (id: string) =>
  waitFor(`order ${id} failed`, async () => (await order(id)).failed ?? undefined);

describe("a worker", () => {
  test("completes the job of a stage that is done", async () => {
    const line = await working(async () => ({}));
    const id = await line.order();
    await inStatus(id, "WRAPPED");
    await waitFor(
      "the job to be completed",
      async () => (await (await line.job(id))?.getState()) === "completed",
    );
  });

  test("carries nothing in a job but the order's id", async () => {
    const line = await working(() => new Promise(() => {}));
    const id = await line.order();
    expect((await line.job(id))?.data).toEqual({ orderId: id });
  });

  test("completes the job of an order that was rejected, after one attempt", async () => {
    let runs = 0;
    const line = await working(async () => (runs++, reject("no paper")));
    const id = await line.order();
    await inStatus(id, "CANCELLED");
    await waitFor(
      "the job to be completed",
      async () => (await (await line.job(id))?.getState()) === "completed",
    );
    expect(runs).toBe(1);
  });

  test("runs a snoozed stage again later, and uses up no attempt", async () => {
    let runs = 0;
    const line = await working(async () => (++runs <= 5 ? snooze(10) : {}), { attempts: 2 });
    const id = await line.order();
    await inStatus(id, "WRAPPED");
    expect(runs).toBe(6);
    await waitFor(
      "the job to be completed",
      async () => (await (await line.job(id))?.getState()) === "completed",
    );
    expect((await line.job(id))?.attemptsMade).toBe(1);
  });

  test("runs a stage again later whose service says that it can't now, and uses up no attempt", async () => {
    let runs = 0;
    const busy = () => Promise.reject(new NotNowError("busy", 10));
    const line = await working(async () => (++runs <= 5 ? busy() : {}), { attempts: 2 });
    const id = await line.order();
    await inStatus(id, "WRAPPED");
    expect(runs).toBe(6);
    const events = await listEvents(environment.database, id);
    expect(events.map(({ type }) => type)).toEqual(["status", "status"]);
  });

  test("rests an order for a person at once whose service can make nothing of it", async () => {
    let runs = 0;
    const line = await working(async () => (runs++, Promise.reject(new RequestRefusedError("no such SKU"))));
    const id = await line.order();
    expect(await failed(id)).toMatchObject({ stage: "wrap", reason: "no such SKU" });
    expect(runs).toBe(1);
  });

  test("tries a stage that throws as often as it may; then the order says that it failed", async () => {
    let runs = 0;
    const line = await working(async () => (runs++, Promise.reject(new Error(`paper jam ${runs}`))));
    const id = await line.order();
    expect(await failed(id)).toMatchObject({ stage: "wrap", reason: "paper jam 3", at: expect.any(Date) });
    expect(runs).toBe(3);
    await waitFor("the job to be failed", async () => (await (await line.job(id))?.getState()) === "failed");
    expect((await order(id)).status).toBe("CREATED");
  });

  test("carries a failed order on when its job is retried", async () => {
    let broken = true;
    const line = await working(async () => (broken ? Promise.reject(new Error("paper jam")) : {}));
    const id = await line.order();
    await failed(id);
    await waitFor("the job to be failed", async () => (await (await line.job(id))?.getState()) === "failed");
    broken = false;
    await (await line.job(id))?.retry();
    await inStatus(id, "WRAPPED");
    expect((await order(id)).failed).toBeNull();
  });

  test("ends an attempt that takes too long, as a failed one", async () => {
    const line = await working(() => new Promise(() => {}), { attempts: 2, timeout: 30 });
    const id = await line.order();
    expect(await failed(id)).toMatchObject({ reason: "took longer than 30 ms" });
  });

  test("stops the attempt when it has lost the lock of its job, and leaves the order to whoever has it", async () => {
    const ended: unknown[] = [];
    const line = await working((_order, { signal }) => {
      signal.addEventListener("abort", () => ended.push(signal.reason));
      return new Promise(() => {});
    });
    const id = await line.order();
    await waitFor("the job to run", async () => (await (await line.job(id))?.getState()) === "active");
    const job = await line.job(id);
    await environment.redis.del(`${line.queue.toKey(job?.id ?? "")}:lock`);
    await waitFor("the attempt to be ended", () => ended.length > 0);
    expect(ended[0]).toBe("the job's lock was lost");
    expect(await order(id)).toMatchObject({ status: "CREATED", failed: null });
  });

  test("does not retry a job whose order does not exist", async () => {
    const line = await working(async () => ({}));
    const orderId = "01a20691-7a8e-777a-bbfa-0d625ad32c50";
    await line.enqueue(orderId);
    await waitFor(
      "the job to be failed",
      async () => (await (await line.job(orderId))?.getState()) === "failed",
    );
    expect(await line.job(orderId)).toMatchObject({
      attemptsMade: 1,
      failedReason: expect.stringContaining("there is no order"),
    });
  });

  test("fails a job without an order id, and goes on", async () => {
    const line = await working(async () => ({}));
    // As somebody may add or edit it on the board.
    await line.queue.add("wrap", JSON.parse('{ "orderId": 7 }'), { jobId: "by-hand", attempts: 3 });
    await waitFor(
      "the job to be failed",
      async () => (await (await line.queue.getJob("by-hand"))?.getState()) === "failed",
    );
    await inStatus(await line.order(), "WRAPPED");
  });

  test("has no more orders in a stage at once than it may", async () => {
    let active = 0;
    let most = 0;
    const line = await working(
      async () => {
        most = Math.max(most, ++active);
        await new Promise((resolve) => setImmediate(resolve));
        active--;
        return {};
      },
      { concurrency: 3 },
    );
    const ids = await Promise.all(Array.from({ length: 20 }, () => line.order()));
    for (const id of ids) await inStatus(id, "WRAPPED");
    expect(most).toBeLessThanOrEqual(3);
    expect(most).toBeGreaterThan(1);
  });
});

describe("orders that have failed before", () => {
  /** Redis tells the time of an event in whole milliseconds. */
  const CLOCKS_DIFFER_MS = 2;
  /** When these orders' jobs were taken from the queue, as often as they were; milliseconds since 1970. */
  async function takenAt(queue: Line["queue"], orderIds: readonly string[]): Promise<number[]> {
    const events = await environment.redis.xrange(queue.toKey("events"), "-", "+");
    const taken = events.filter(([, [, event]]) => event === "active");
    return taken
      .filter(([, fields]) => orderIds.some((id) => fields.join().includes(id)))
      .map(([id]) => Number.parseInt(id, 10));
  }

  /**
   * A stage that fails while it is broken and holds every order for a moment, and until it has had so many at once at
   * least; and how many it has had at once.
   */
  function failing() {
    const state = { isBroken: true, active: 0, most: 0, least: 0 };
    const run = async () => {
      state.most = Math.max(state.most, ++state.active);
      await new Promise((resolve) => setTimeout(resolve, 20));
      await waitFor(`${state.least} at once`, () => state.most >= state.least);
      state.active--;
      if (state.isBroken) throw new Error("paper jam");
      return {};
    };
    return { state, run };
  }
  const place = (count: number, line: { order: () => Promise<string> }) =>
    Promise.all(Array.from({ length: count }, () => line.order()));

  test("take a quarter of the places, while others take all", async () => {
    const { state, run } = failing();
    const line = await working(run, { concurrency: 8, attempts: 3 });
    Object.assign(state, { isBroken: false, least: 8 });
    for (const id of await place(30, line)) await inStatus(id, "WRAPPED");
    expect(state.most).toBe(8);
    Object.assign(state, { isBroken: true, least: 0 });
    const ids = await place(8, line);
    await waitFor("each to fail once", async () =>
      (await Promise.all(ids.map((id) => line.job(id)))).every((job) => (job?.attemptsMade ?? 0) >= 1),
    );
    await waitFor("none to be under way", () => state.active <= 2);
    state.most = 0;
    for (const id of ids) await failed(id);
    expect(state.most).toBeLessThanOrEqual(2);
    expect(state.most).toBeGreaterThan(0);
  });

  test.each([
    [
      "by the board",
      async (line: Line, id: string) => (await line.job(id))?.retry("failed", { resetAttemptsMade: true }),
    ],
    ["by the API or the console", (line: Line, id: string) => line.revive(id)],
  ] as const)("come back as a share of the stream when they are resumed %s", async (_how, resume) => {
    const { state, run } = failing();
    const line = await working(run, { concurrency: 8, attempts: 1 });
    const ids = await place(24, line);
    for (const id of ids) {
      await failed(id);
      await waitFor("it to rest", async () => (await (await line.job(id))?.getState()) === "failed");
    }
    state.isBroken = false;
    state.most = 0;
    await line.queue.pause();
    for (const id of ids) await resume(line, id);
    await line.queue.resume();
    for (const id of ids) await inStatus(id, "WRAPPED");
    expect(state.most).toBeLessThanOrEqual(2);
  });

  test.each([
    ["an operator's", {}, (line: Line) => line.queue.setGlobalRateLimit(20, 1_000)],
    ["the stage's own", { rateLimit: { max: 20, duration: 1_000 } }, async () => undefined],
    // There is one place for them, and an order holds it for longer than turns lie apart.
    ["beside few places", { concurrency: 4 }, (line: Line) => line.queue.setGlobalRateLimit(20, 1_000)],
  ] as const)(
    "take a quarter of a rate limit, %s, retries included, and make all their attempts",
    async (_which, settings, setLimit) => {
      const TURN_MS = 200;
      let isSlow = false;
      const line = await working(
        async () => {
          if (isSlow) await new Promise((resolve) => setTimeout(resolve, 1.5 * TURN_MS));
          throw new Error("paper jam");
        },
        { attempts: 2, ...settings },
      );
      const ids = await place(8, line);
      const untilAllRest = async () => {
        for (const id of ids)
          await waitFor("it to rest", async () => (await (await line.job(id))?.getState()) === "failed");
      };
      await untilAllRest();
      isSlow = "concurrency" in settings;
      await setLimit(line);
      const resumedAt = Date.now();
      await Promise.all(ids.map((id) => line.revive(id)));
      await untilAllRest();
      for (const id of ids) expect((await line.job(id))?.attemptsMade).toBe(2);
      const taken = (await takenAt(line.queue, ids)).filter((at) => at >= resumedAt);
      if (isSlow) expect(taken.length).toBeGreaterThan(2 * ids.length);
      else expect(taken).toHaveLength(2 * ids.length);
      for (const [index, at] of taken.entries())
        expect(at - resumedAt).toBeGreaterThanOrEqual(index * TURN_MS - CLOCKS_DIFFER_MS);
    },
  );

  test("lose no attempt by waiting for a place", async () => {
    const { state, run } = failing();
    const line = await working(run, { concurrency: 4, attempts: 3 });
    const ids = await place(12, line);
    for (const id of ids) await failed(id);
    for (const id of ids)
      await waitFor(
        "its job to have made all its attempts",
        async () => (await line.job(id))?.attemptsMade === 3,
      );
    expect(state.active).toBe(0);
  });

  test("are orders like others again when their service has served them", async () => {
    let runs = 0;
    const line = await working(
      async () => {
        if (++runs === 1) throw new Error("paper jam");
        return runs < 4 ? snooze(10) : {};
      },
      { attempts: 5 },
    );
    const id = await line.order();
    await inStatus(id, "WRAPPED");
    await waitFor("its job to say so", async () => {
      const job = await line.job(id);
      return job?.data.goodAtAttempt === 1;
    });
  });
});

describe("a worker that stops", () => {
  test("finishes what runs, and takes nothing new", async () => {
    let started = 0;
    let finish: () => void = () => {};
    const gate = new Promise<void>((resolve) => (finish = resolve));
    const line = await working(async () => (started++, await gate, {}), { concurrency: 1 });
    const [running, waiting] = [await line.order(), await line.order()];
    await waitFor("the first to run", () => started === 1);
    const stopped = line.worker.stop(60_000);
    finish();
    await stopped;
    expect((await order(running)).status).toBe("WRAPPED");
    expect((await order(waiting)).status).toBe("CREATED");
    expect(await (await line.job(waiting))?.getState()).toBe("waiting");
  });

  test("hands back what does not end in time, and burns no attempt by it", async () => {
    let hang = true;
    let started = 0;
    const line = await working(async () => (started++, hang ? new Promise<never>(() => {}) : {}), {
      attempts: 1,
    });
    const id = await line.order();
    await waitFor("the stage to run", () => started === 1);
    await line.worker.stop(1);
    const job = await line.job(id);
    expect([await job?.getState(), job?.failedReason]).toEqual(["waiting", undefined]);
    expect(job?.attemptsMade).toBe(0);
    hang = false;
    const next = await line.start();
    closing.push(() => next.stop(0));
    await inStatus(id, "WRAPPED");
    expect((await order(id)).failed).toBeNull();
  });
});

function noTransition(): never {
  throw new Error("a pipeline has a first stage");
}

describe("the log of events", () => {
  test("tells every attempt with when it began, and the last one as what the order rests for", async () => {
    const began: number[] = [];
    const line = await working(async () => {
      began.push(Date.now());
      throw new Error("out of tape");
    });
    const id = await line.order();
    await failed(id);
    const events = (await listEvents(environment.database, id)).slice(1);
    expect(events).toMatchObject(
      ["attempt-failed", "attempt-failed", "failed"].map((type, index) => ({
        type,
        from: "CREATED",
        to: "CREATED",
        stage: "wrap",
        reason: "out of tape",
        attempt: index + 1,
      })),
    );
    for (const [index, { startedAt, at }] of events.entries()) {
      expect(startedAt?.getTime()).toBeLessThanOrEqual(began[index] ?? 0);
      expect(at.getTime()).toBeGreaterThanOrEqual(began[index] ?? Infinity);
    }
  });

  test("tells which attempt brought the order on", async () => {
    let runs = 0;
    const line = await working(async () => {
      if (++runs < 3) throw new Error("out of tape");
      return {};
    });
    const id = await line.order();
    await inStatus(id, "WRAPPED");
    expect((await listEvents(environment.database, id)).at(-1)).toMatchObject({
      type: "status",
      to: "WRAPPED",
      attempt: 3,
      startedAt: expect.any(Date),
    });
  });

  test("that can't be written fails no order", async () => {
    let runs = 0;
    const line = await working(
      async () => {
        if (++runs < 3) throw new Error("out of tape");
        return {};
      },
      {},
      { failures: { noteFailedAttempt: () => Promise.reject(new Error("no room in the log")) } },
    );
    const id = await line.order();
    await inStatus(id, "WRAPPED");
    expect(runs).toBe(3);
  });
});
