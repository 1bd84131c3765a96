import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { requestCancellation } from "../../../db/cancellations.ts";
import { listEvents } from "../../../db/order-events.ts";
import { orderStore } from "../../../db/order-store.ts";
import { readLimits } from "../../../queues/controls.ts";
import { jobId } from "../../../queues/job.ts";
import { Queues } from "../../../queues/queues.ts";
import { haveGuests } from "../../../queues/telemetry/heartbeats.ts";
import { MinuteCounts } from "../../../queues/telemetry/minute-counts.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { Lifecycle } from "../../../src/order/lifecycle.ts";
import { NotNowError } from "../../../src/order/ports.ts";
import {
  reject as rejection,
  settingsOf,
  snooze,
  type Stage,
  type StageSettings,
} from "../../../src/order/stage.ts";
import { Executor } from "../../../src/engine/executor.ts";
import { BatchingStore } from "../../../src/engine/batching-store.ts";
import { FailureLog } from "../../../src/engine/failure-log.ts";
import { WorkerHeartbeat } from "../../../workers/heartbeat.ts";
import { InPlace } from "../../../workers/in-place.ts";
import { StageWorker } from "../../../workers/stage-worker.ts";
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

interface Given {
  readonly wrap?: Stage["run"];
  readonly send?: Stage["run"];
  readonly wrapSettings?: Partial<StageSettings>;
  readonly sendSettings?: Partial<StageSettings>;
  /** The stages that this process works on. */
  readonly works?: readonly string[];
  readonly isInPlace?: boolean;
  /** Between heartbeats. */
  readonly intervalMs?: number;
}

/** Two stages over real queues, whose workers share a process. */
async function line(given: Given) {
  const quick = { attempts: 3, backoff: { delay: 1, jitter: 0 } };
  const wrap: Stage = {
    name: "wrap",
    to: "WRAPPED",
    run: given.wrap ?? (async () => ({})),
    settings: { ...quick, ...given.wrapSettings },
  };
  const send: Stage = {
    name: "send",
    to: "SENT",
    run: given.send ?? (async () => ({})),
    settings: { ...quick, ...given.sendSettings },
  };
  const lifecycle = new Lifecycle([wrap, send]);
  const { database } = environment;
  const connection = new Redis(environment.redisUrl, { maxRetriesPerRequest: null });
  const queues = new Queues({ connection, lifecycle, onError: () => undefined });
  const store = new BatchingStore({ store: orderStore(database) });
  const workers = new Map<string, StageWorker>();
  const own: StageWorker[] = [];
  const log = createLogger({ name: "test", level: "silent" });
  const heartbeat = new WorkerHeartbeat({
    redis: connection,
    workers: own,
    breakers: { troubles: [] },
    counts: new MinuteCounts(),
    log,
    intervalMs: given.intervalMs ?? 50,
  });
  const handOver = new InPlace({
    workerOf: ({ name }) => (given.isInPlace === false ? undefined : workers.get(name)),
    enqueue: (job) => queues.enqueue([job]),
    limitsOf: (step) => readLimits({ queues, redis: connection }, step),
    announceGuests: (step) => heartbeat.announceGuests(step),
    retractGuests: () => heartbeat.retractGuests(),
    haveGuests: (step) => haveGuests(connection, step),
  });
  const executor = new Executor({ lifecycle, ports: NO_PORTS, store });
  for (const step of lifecycle.steps) {
    if (!(given.works ?? ["wrap", "send"]).includes(step.name)) continue;
    const worker = new StageWorker({
      step,
      settings: settingsOf(step),
      connection,
      handOver,
      executor,
      stillFails: executor.stillFails.bind(executor),
      log,
      isolation: { attempt: async () => Promise.reject(new Error("no job of this test has stalled")) },
      outages: {
        databaseAway: () => undefined,
        redisAway: () => undefined,
        judge: async () => ({ cause: "order" }),
        probeIntervalMs: 1,
      },
      turns: queues.turnsOf(step),
      failures: new FailureLog({ store: orderStore(database), lifecycle }),
    });
    workers.set(step.name, worker);
    own.push(worker);
  }
  closing.push(
    async () => connection.disconnect(),
    () => queues.close(),
    () => heartbeat.stop(),
    () => Promise.all(own.map((worker) => worker.stop(0))),
  );
  const [toWrapped, toSent] = [lifecycle.due("CREATED"), lifecycle.due("WRAPPED")];
  if (!toWrapped || !toSent) throw new Error("the pipeline of this test is another one");
  const worker = (name: string): StageWorker => {
    const found = workers.get(name);
    if (!found) throw new Error(`nobody works on ${name} here`);
    return found;
  };
  return {
    wrap: queues.of(wrap),
    send: queues.of(send),
    worker,
    start: () => {
      heartbeat.start();
      return Promise.all(own.map((each) => each.start()));
    },
    order: async (): Promise<string> => {
      const orderId = await createOrder(database);
      await queues.enqueue([{ orderId, transition: toWrapped }]);
      return orderId;
    },
    /** An order that waits in the second stage's queue. */
    wrapped: async (): Promise<string> => {
      const orderId = await createOrder(database);
      await store.load(orderId);
      await store.applyTransition({
        orderId,
        from: "CREATED",
        to: "WRAPPED",
        stage: "wrap",
        reason: null,
        record: {},
        unlessCancelled: false,
        at: new Date(),
      });
      await queues.enqueue([{ orderId, transition: toSent }]);
      return orderId;
    },
    wrapJob: (orderId: string) => queues.of(wrap).getJob(jobId(orderId, toWrapped)),
    sendJob: (orderId: string) => queues.of(send).getJob(jobId(orderId, toSent)),
  };
}

const status = async (id: string) => (await readOrder(environment.database, id)).status;
const inStatus = (id: string, wanted: string) =>
  waitFor(`order ${id} ${wanted}`, async () => (await status(id)) === wanted);

/** A stage whose orders wait until they are let on, and which counts them. */
function held() {
  let letOn: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (letOn = resolve));
  const counted = { now: 0, most: 0, all: 0 };
  const run: Stage["run"] = async (_order, { signal }) => {
    counted.most = Math.max(counted.most, ++counted.now);
    counted.all++;
    try {
      await Promise.race([
        gate,
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
      ]);
      return {};
    } finally {
      counted.now--;
    }
  };
  return { run, counted, letOn: () => letOn() };
}

describe("an order goes on in place", () => {
  test("with one job, which tells the stages that it went through", async () => {
    const { order, start, wrap, wrapJob, sendJob } = await line({});
    await start();
    const id = await order();
    await inStatus(id, "SENT");
    await waitFor("the job to be done", async () => (await (await wrapJob(id))?.getState()) === "completed");
    expect((await wrapJob(id))?.returnvalue).toBe("wrap -> WRAPPED, send -> SENT");
    expect(await sendJob(id)).toBeUndefined();
    expect(await wrap.getCompletedCount()).toBe(1);
  });

  test("to a stage that takes no jobs while a service is away, which this order may not call", async () => {
    const { order, start, worker, sendJob } = await line({});
    worker("send").gate.shut();
    await start();
    const id = await order();
    await inStatus(id, "SENT");
    expect(await sendJob(id)).toBeUndefined();
  });

  test.each<[string, Stage["run"]]>([
    ["snoozes", async () => snooze(60_000)],
    ["fails", async () => Promise.reject(new Error("out of stamps"))],
    ["is rejected", async () => rejection("no such place")],
  ])("and its job does not tell a stage that %s", async (_how, send) => {
    const { order, start, wrapJob } = await line({ send, sendSettings: { attempts: 1 } });
    await start();
    const id = await order();
    await waitFor("the job to be done", async () => (await (await wrapJob(id))?.getState()) === "completed");
    expect((await wrapJob(id))?.returnvalue).toBe("wrap -> WRAPPED");
  });

  test("and leaves its place in the stage before to the next order", async () => {
    const slow = held();
    const { order, start } = await line({ send: slow.run, wrapSettings: { concurrency: 1 } });
    await start();
    const ids = await Promise.all(Array.from({ length: 8 }, () => order()));
    await waitFor("all of them in the second stage", async () => slow.counted.now === ids.length);
    slow.letOn();
    await Promise.all(ids.map((id) => inStatus(id, "SENT")));
    expect(slow.counted.all).toBe(ids.length);
  });

  test("where there is a place beside the one for the queue's next job, and waits in the queue where there is none", async () => {
    const slow = held();
    const { order, start, send } = await line({ send: slow.run, sendSettings: { concurrency: 3 } });
    await start();
    const ids = await Promise.all(Array.from({ length: 12 }, () => order()));
    await waitFor("two guests, a job, and the others in the queue", async () => {
      const [waiting, active] = await Promise.all([send.getWaitingCount(), send.getActiveCount()]);
      return slow.counted.now === 3 && waiting === 9 && active === 1;
    });
    slow.letOn();
    await Promise.all(ids.map((id) => inStatus(id, "SENT")));
    expect(slow.counted).toEqual({ now: 0, most: 3, all: 12 });
  });

  test("behind whoever waits in the stage's queue, of which no job is taken before there is a place", async () => {
    const passed: string[] = [];
    const letOn = new Map<string, () => void>();
    const { order, wrapped, start, send } = await line({
      send: async ({ id }) => {
        passed.push(id);
        await new Promise<void>((resolve) => letOn.set(id, resolve));
        return {};
      },
      sendSettings: { concurrency: 3 },
    });
    const inStage = (id: string) => waitFor("it to be in the second stage", async () => letOn.has(id));
    await start();
    const guests = [await order(), await order()] as const;
    await Promise.all(guests.map(inStage));
    const job = await wrapped();
    await inStage(job);
    const next = await wrapped();
    const late = await order();
    await inStatus(late, "WRAPPED");
    expect(await send.getActiveCount()).toBe(1);
    letOn.get(guests[0])?.();
    await inStage(next);
    letOn.get(guests[1])?.();
    await inStage(late);
    letOn.forEach((each) => each());
    await Promise.all([...guests, job, next, late].map((id) => inStatus(id, "SENT")));
    expect(passed.slice(2)).toEqual([job, next, late]);
  });
});

describe("an order takes the way of the queue", () => {
  const queued = async (
    given: Given,
    change: (shop: Awaited<ReturnType<typeof line>>) => Promise<unknown> = async () => undefined,
  ) => {
    const shop = await line(given);
    await change(shop);
    await shop.start();
    const id = await shop.order();
    const job = await waitFor("the job of the second stage", () => shop.sendJob(id));
    return { shop, id, job };
  };

  test("to a stage that others work on", async () => {
    const { job } = await queued({ works: ["wrap"] });
    expect(await job.getState()).toBe("waiting");
  });

  test("when each stage is to have a job of its own", async () => {
    const { id } = await queued({ isInPlace: false });
    await inStatus(id, "SENT");
  });

  test("to a stage that is paused", async () => {
    const { id } = await queued({}, ({ send }) => send.pause());
    expect(await status(id)).toBe("WRAPPED");
  });

  test("to a stage that is held here", async () => {
    const { id } = await queued({}, ({ worker }) => worker("send").hold("MySQL is away"));
    expect(await status(id)).toBe("WRAPPED");
  });

  test.each([
    ["in number over all workers", ({ send }) => send.setGlobalConcurrency(5)],
    ["in rate over all workers", ({ send }) => send.setGlobalRateLimit(5, 1_000)],
  ] as [string, (shop: Awaited<ReturnType<typeof line>>) => Promise<unknown>][])(
    "to a stage that is limited %s",
    async (_how, limit) => {
      const { id } = await queued({}, limit);
      await inStatus(id, "SENT");
    },
  );

  test("to a stage that has a rate limit of its own", async () => {
    const { id } = await queued({ sendSettings: { rateLimit: { max: 100, duration: 1_000 } } });
    await inStatus(id, "SENT");
  });

  test("again, once a limit is set under way", async () => {
    const slow = held();
    const shop = await line({ send: slow.run });
    await shop.start();
    const first = await shop.order();
    await waitFor("it to be in the second stage", async () => slow.counted.now === 1);
    await shop.send.setGlobalConcurrency(1);
    const second = await shop.order();
    await waitFor("the other one's job", () => shop.sendJob(second));
    slow.letOn();
    await Promise.all([first, second].map((id) => inStatus(id, "SENT")));
    expect(await shop.sendJob(first)).toBeUndefined();
  });
});

describe("a limit over all workers", () => {
  /** Eight workers of one stage, whose orders each wait until they are let on. */
  const eight = async () => {
    const inStage = new Map<string, () => void>();
    const started: { readonly id: string; readonly among: number }[] = [];
    const send: Stage["run"] = async ({ id }, { signal }) => {
      await new Promise<void>((resolve, reject) => {
        inStage.set(id, resolve);
        started.push({ id, among: inStage.size });
        signal.addEventListener("abort", () => reject(signal.reason));
      }).finally(() => inStage.delete(id));
      return {};
    };
    const shops = await Promise.all(
      Array.from({ length: 8 }, () => line({ send, sendSettings: { concurrency: 10 } })),
    );
    await Promise.all(shops.map((shop) => shop.start()));
    const [first] = shops;
    if (!first) throw new Error("there are eight");
    const letOn = (ids: readonly string[] = [...inStage.keys()]) => ids.forEach((id) => inStage.get(id)?.());
    return { ...first, inStage, started, letOn };
  };

  test("holds from the moment it is set, however many entered in place before", async () => {
    const { order, send, inStage, started, letOn } = await eight();
    const guests = await Promise.all(Array.from({ length: 20 }, () => order()));
    await waitFor("all of them in the second stage", async () => inStage.size === 20);
    expect(await send.getActiveCount()).toBe(0);
    await send.setGlobalConcurrency(5);
    const later = await Promise.all(Array.from({ length: 20 }, () => order()));
    await waitFor("the others to have jobs", async () => (await send.getActiveCount()) === 5);
    letOn(guests.slice(1));
    await Promise.all(guests.slice(1).map((id) => inStatus(id, "SENT")));
    // One guest is left, so none of the five jobs has begun.
    expect([...inStage.keys()]).toEqual(guests.slice(0, 1));
    letOn();
    await waitFor("five in the stage", async () => inStage.size === 5);
    for (const limit of [2, 7, 5]) {
      await send.setGlobalConcurrency(limit);
      const before = started.length;
      letOn();
      await waitFor("others", async () => started.length > before);
    }
    const done = Promise.all(later.map((id) => inStatus(id, "SENT")));
    const passing = setInterval(letOn, 5);
    await done.finally(() => clearInterval(passing));
    expect(
      Math.max(...started.filter(({ id }) => later.includes(id)).map(({ among }) => among)),
    ).toBeLessThanOrEqual(7);
  });
});

test("a limit over all workers lets its orders through while others keep arriving in place", async () => {
  // Only what is announced beside the heartbeats counts.
  const shops = await Promise.all([1, 2].map(() => line({ intervalMs: 60_000 })));
  await Promise.all(shops.map((shop) => shop.start()));
  const [first] = shops;
  if (!first) throw new Error("there are two");
  const { order, send } = first;
  // So that each worker has had a guest.
  await Promise.all(
    await Promise.all(Array.from({ length: 10 }, order)).then((ids) => ids.map((id) => inStatus(id, "SENT"))),
  );
  await send.setGlobalConcurrency(2);
  for (let round = 0; round < 10; round++) {
    const ids = await Promise.all(Array.from({ length: 4 }, order));
    await Promise.all(ids.map((id) => inStatus(id, "SENT")));
  }
  await waitFor("their jobs to be done", async () => (await send.getCompletedCount()) === 40);
});

test("a limit over all workers counts an order only while it is in the stage, and not in those that follow", async () => {
  const slow = held();
  const { order, start, wrap } = await line({ send: slow.run });
  await wrap.setGlobalConcurrency(1);
  await start();
  const ids = await Promise.all(Array.from({ length: 4 }, order));
  await waitFor("all of them in the second stage", async () => slow.counted.now === ids.length);
  slow.letOn();
  await Promise.all(ids.map((id) => inStatus(id, "SENT")));
});

describe("a stage that an order came to in place", () => {
  const attempts = async (id: string) =>
    (await listEvents(environment.database, id))
      .filter(({ type }) => type === "attempt-failed" || type === "failed")
      .map(({ type, stage, attempt }) => [type, stage, attempt]);

  test("and that fails, has used one attempt, and is tried again from its own queue", async () => {
    let runs = 0;
    const { order, start, sendJob, wrapJob } = await line({
      send: async () => {
        if (++runs < 3) throw new Error("out of stamps");
        return {};
      },
    });
    await start();
    const id = await order();
    await inStatus(id, "SENT");
    expect(await attempts(id)).toEqual([
      ["attempt-failed", "send", 1],
      ["attempt-failed", "send", 2],
    ]);
    await waitFor("its job to be done", async () => (await (await sendJob(id))?.getState()) === "completed");
    expect((await sendJob(id))?.attemptsMade).toBe(3);
    expect((await wrapJob(id))?.failedReason).toBeUndefined();
    expect(runs).toBe(3);
  });

  test.each([1, 2])(
    "rests in its own queue's failed set after %i attempts, and moves on when retried",
    async (most) => {
      let runs = 0;
      let isMended = false;
      const { order, start, sendJob } = await line({
        send: async () => {
          runs++;
          if (!isMended) throw new Error("out of stamps");
          return {};
        },
        sendSettings: { attempts: most },
      });
      await start();
      const id = await order();
      await waitFor("the order to rest", async () => (await readOrder(environment.database, id)).failed);
      const job = await waitFor("the job to rest", async () => {
        const found = await sendJob(id);
        // Read again: it had not failed when it was read.
        return (await found?.getState()) === "failed" && sendJob(id);
      });
      expect(job.failedReason).toBe("out of stamps");
      expect(runs).toBe(most);
      expect((await attempts(id)).at(-1)).toEqual(["failed", "send", most]);
      isMended = true;
      await job.retry("failed", { resetAttemptsMade: true });
      await inStatus(id, "SENT");
      expect(runs).toBe(most + 1);
    },
  );

  test("shows its last failure at once, and fails no job of an order that was cancelled meanwhile", async () => {
    const { database } = environment;
    const shop = await line({
      send: async () => {
        await shop.send.pause();
        throw new Error("out of stamps");
      },
      sendSettings: { attempts: 1 },
    });
    await shop.start();
    const id = await shop.order();
    const state = async () => (await shop.sendJob(id))?.getState();
    await waitFor("its job", async () => (await state()) !== undefined);
    expect(await state()).toBe("waiting");
    expect((await readOrder(database, id)).failed).toMatchObject({ stage: "send", reason: "out of stamps" });
    await requestCancellation(database, { orderId: id, whileIn: ["WRAPPED"], reason: "no", at: new Date() });
    await shop.send.resume();
    await inStatus(id, "CANCELLED");
    await waitFor("its job to be done", async () => (await state()) === "completed");
    expect(await attempts(id)).toEqual([["failed", "send", 1]]);
  });

  test.each([
    ["that snoozes", async () => snooze(10)],
    ["whose service can't now", () => Promise.reject(new NotNowError("busy", 10))],
  ])("and %s, is asked again from its own queue, with no attempt used", async (_which, notYet) => {
    let runs = 0;
    const { order, start, sendJob } = await line({
      send: async () => (++runs === 1 ? notYet() : {}),
      sendSettings: { attempts: 1 },
    });
    await start();
    const id = await order();
    await inStatus(id, "SENT");
    expect(await attempts(id)).toEqual([]);
    await waitFor("its job to be done", async () => (await (await sendJob(id))?.getState()) === "completed");
  });

  test("and that is under way at a shutdown, is handed back to its own queue, with no attempt used", async () => {
    const slow = held();
    const { order, start, worker, sendJob, wrapJob } = await line({ send: slow.run });
    await start();
    const id = await order();
    await waitFor("it to be in the second stage", async () => slow.counted.now === 1);
    await Promise.all(["wrap", "send"].map((name) => worker(name).stop(0)));
    expect(await (await sendJob(id))?.getState()).toBe("waiting");
    expect(await (await wrapJob(id))?.getState()).toBe("completed");
    expect(await attempts(id)).toEqual([]);
  });
});
