import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { Redis } from "ioredis";
import { v7 as uuidv7 } from "uuid";
import { markFailed } from "../../../db/failures.ts";
import { readInstallationId } from "../../../db/identity.ts";
import { listEvents } from "../../../db/order-events.ts";
import { orderStore } from "../../../db/order-store.ts";
import { jobId } from "../../../queues/job.ts";
import { Marker } from "../../../queues/marker.ts";
import { Queues } from "../../../queues/queues.ts";
import { BatchingStore } from "../../../src/engine/batching-store.ts";
import { BackgroundCalls } from "../../../src/engine/background-calls.ts";
import { Cancellation } from "../../../src/engine/cancellation.ts";
import { Executor } from "../../../src/engine/executor.ts";
import { FailureLog } from "../../../src/engine/failure-log.ts";
import { InlineProcessing } from "../../../src/engine/inline/processing.ts";
import type { Dispatcher, DueJob } from "../../../src/engine/ports.ts";
import { Sweeper, type Walked } from "../../../src/engine/sweeper.ts";
import { Waking } from "../../../src/engine/waking.ts";
import { Lifecycle } from "../../../src/order/lifecycle.ts";
import {
  settingsOf,
  snooze,
  wait,
  type Stage,
  type StageContext,
  type StageSettings,
  OPERATOR,
} from "../../../src/order/stage.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { InPlace } from "../../../workers/in-place.ts";
import { StageWorker } from "../../../workers/stage-worker.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { UNDISPUTED } from "../../../src/platform/lease.ts";
import { createOrder, NO_PORTS, readOrder } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";

const log = createLogger({ name: "test", level: "silent" });
const HOUR_MS = 3_600_000;
const inAnHour = () => new Date(Date.now() + HOUR_MS);

let environment: TestEnvironment;
let connection: Redis;
let closing: (() => Promise<unknown>)[];
beforeEach(async () => {
  environment = await createTestEnvironment();
  connection = new Redis(environment.redisUrl, { maxRetriesPerRequest: null });
  await connection.set("conveyor:marker", "test");
  closing = [async () => connection.disconnect()];
});
afterEach(async () => {
  for (const close of closing.toReversed()) await close();
  await environment.close();
});

interface Given {
  readonly settings?: Partial<StageSettings>;
  /** Of `confirm`: waits until the customer has confirmed unless given. */
  readonly run?: (order: { readonly id: string }, context: StageContext) => ReturnType<Stage["run"]>;
}

/** Three stages, of which the second waits for customers, over real queues and workers. */
async function line({ settings = {}, run }: Given = {}) {
  const confirmed = new Set<string>();
  const asked: StageContext["waited"][] = [];
  const undone: string[] = [];
  const quick = { attempts: 2, backoff: { delay: 1, jitter: 0 } };
  const pick: Stage = { name: "pick", to: "PICKED", run: async () => ({}), settings: quick };
  const confirm: Stage = {
    name: "confirm",
    to: "CONFIRMED",
    settings: { ...quick, ...settings },
    async run(order, context) {
      asked.push(context.waited);
      if (run) return run(order, context);
      return confirmed.has(order.id) ? {} : wait({ for: "the customer", until: inAnHour() });
    },
    async undo({ id }) {
      undone.push(id);
      return {};
    },
  };
  const post: Stage = { name: "post", to: "POSTED", run: async () => ({}), settings: quick };
  const lifecycle = new Lifecycle([pick, confirm, post]);
  const { database } = environment;
  const store = orderStore(database);
  const queues = new Queues({ connection, lifecycle, onError: () => undefined });
  const executor = new Executor({ lifecycle, ports: NO_PORTS, store: new BatchingStore({ store }) });
  const workers = new Map<string, StageWorker>();
  const handOver = new InPlace({
    workerOf: ({ name }) => workers.get(name),
    enqueue: (job) => queues.enqueue([job]),
    limitsOf: async () => ({ isUnlimited: true, hasConcurrency: false }),
    announceGuests: async () => undefined,
    retractGuests: () => undefined,
    haveGuests: async () => false,
  });
  for (const step of lifecycle.steps) {
    const worker = new StageWorker({
      step,
      settings: settingsOf(step),
      connection,
      handOver,
      executor,
      stillFails: executor.stillFails.bind(executor),
      log,
      turns: queues.turnsOf(step),
      outages: {
        databaseAway: () => undefined,
        redisAway: () => undefined,
        judge: async () => ({ cause: "order" }),
        probeIntervalMs: 1,
      },
      failures: new FailureLog({ store, lifecycle }),
    });
    workers.set(step.name, worker);
    await worker.start();
  }
  closing.push(
    () => queues.close(),
    () => Promise.all([...workers.values()].map((worker) => worker.stop(0))),
  );
  const calls = new BackgroundCalls({ log });
  closing.push(() => calls.stop());
  const walks = new Map<string, Walked>();
  const transition = (from: string) => lifecycle.due(from) ?? noTransition();
  const at = (status: string) => (id: string) =>
    waitFor(`order ${id} ${status}`, async () => (await readOrder(database, id)).status === status);
  const place = async (): Promise<string> => {
    const orderId = await createOrder(database);
    await queues.enqueue([{ orderId, transition: transition("CREATED") }]);
    return orderId;
  };
  const isUnderWay = async (orderId: string) =>
    (await queues.areUnderWay([{ orderId, transition: transition("PICKED") }]))[0];
  return {
    lifecycle,
    confirmed,
    asked,
    undone,
    queues,
    walks,
    calls,
    waking: (dispatcher: Pick<Dispatcher, "revive"> = queues) =>
      new Waking({ store, dispatcher, lifecycle, calls }),
    cancellation: new Cancellation({ store, dispatcher: queues, lifecycle, calls }),
    sweeper: () =>
      new Sweeper({
        store,
        dispatcher: queues,
        lease: UNDISPUTED,
        marker: new Marker(connection, () => readInstallationId(database)),
        lifecycle,
        observer: { walked: (status, walked) => walks.set(status, walked), doesNotLead: () => undefined },
        log,
        intervalMs: 0,
        afterMs: -1,
      }),
    place,
    /** An order that waits, without a job. */
    waiting: async (): Promise<string> => {
      const id = await place();
      await waits(id);
      await waitFor("its job to be over", async () => !(await isUnderWay(id)));
      return id;
    },
    stateOf: async (orderId: string) =>
      (await queues.of(confirm).getJob(jobId(orderId, transition("PICKED"))))?.getState(),
    posted: at("POSTED"),
    cancelled: at("CANCELLED"),
  };
}

const read = (id: string) => readOrder(environment.database, id);
const waits = (id: string) =>
  waitFor(`order ${id} to wait`, async () => (await read(id)).waiting ?? undefined);
const eventsOf = async (id: string) =>
  (await listEvents(environment.database, id)).map(({ type, to }) => (type === "status" ? to : type));
const age = (id: string, column: "updated_at" | "waiting_until", seconds: number) =>
  environment.database.query((queries) =>
    queries.execute(
      sql`UPDATE orders SET ${sql.raw(column)} = NOW(3) - INTERVAL ${seconds} SECOND WHERE id = ${id}`,
    ),
  );

describe("a stage that waits", () => {
  test("says what for and until when, and leaves the queues", async () => {
    const { waiting, queues, stateOf } = await line();
    const before = Date.now();
    const id = await waiting();
    const order = await read(id);
    expect(order).toMatchObject({
      status: "PICKED",
      failed: null,
      waiting: { stage: "confirm", for: "the customer" },
    });
    expect(order.waiting?.since.getTime()).toBeGreaterThanOrEqual(before);
    expect(order.waiting?.until?.getTime()).toBeGreaterThanOrEqual(before + HOUR_MS);
    expect(await stateOf(id)).toBeUndefined();
    for (const queue of queues.all)
      expect(await queue.getJobCounts("waiting", "active", "delayed")).toEqual({
        waiting: 0,
        active: 0,
        delayed: 0,
      });
    expect(await eventsOf(id)).toEqual(["CREATED", "PICKED", "waiting"]);
  });

  test("goes on at once when it is woken", async () => {
    const { waiting, waking, confirmed, posted, asked } = await line();
    const id = await waiting();
    confirmed.add(id);
    expect(await waking().wake(id)).toMatchObject({ isWaiting: true, failedIn: null });
    await posted(id);
    expect(await read(id)).toMatchObject({ waiting: null });
    expect(asked).toHaveLength(2);
  });

  test("waits on if nothing has happened, since the same time, and with one event", async () => {
    const { waiting, waking, asked, confirmed, posted } = await line();
    const id = await waiting();
    const first = await read(id);
    await waking().wake(id);
    await waitFor("it to be asked", async () => (await read(id)).updatedAt > first.updatedAt);
    expect(asked[1]).toMatchObject({ for: "the customer", since: first.waiting?.since, isOver: false });
    expect((await read(id)).waiting?.since).toEqual(first.waiting?.since);
    expect((await read(id)).wokenAt).toBeNull();
    expect(await eventsOf(id)).toEqual(["CREATED", "PICKED", "waiting"]);
    confirmed.add(id);
    await waking().wake(id);
    await posted(id);
  });

  test("is asked again at once if it was woken before the wait was written", async () => {
    const wake: { now?: (id: string) => Promise<unknown> } = {};
    let runs = 0;
    const { place, waking, posted } = await line({
      run: async ({ id }) => {
        if (++runs > 1) return {};
        // The customer confirms right after the stage has asked.
        await wake.now?.(id);
        return wait({ for: "the customer", until: inAnHour() });
      },
    });
    wake.now = (id) => waking().wake(id);
    const id = await place();
    await posted(id);
    expect(await eventsOf(id)).toEqual(["CREATED", "PICKED", "CONFIRMED", "POSTED"]);
  });

  test("is asked again though it was woken while its job was still held", async () => {
    const { waiting, waking, confirmed, posted, queues } = await line();
    const id = await waiting();
    confirmed.add(id);
    let tries = 0;
    const held = { revive: async (due: readonly DueJob[]) => (++tries === 1 ? 0 : queues.revive(due)) };
    await waking(held).wake(id);
    await posted(id);
    expect(tries).toBe(2);
  });

  test("loses the mark of a failure, and its own when it fails or snoozes", async () => {
    const outcomes = ["wait", "throw", "throw", "wait", "snooze"];
    const { waiting, waking, queues, lifecycle } = await line({
      run: async () => {
        const outcome = outcomes.shift();
        if (outcome === "throw") throw new Error("no");
        return outcome === "wait" ? wait({ for: "the customer", until: inAnHour() }) : snooze(HOUR_MS);
      },
    });
    const id = await waiting();
    await waking().wake(id);
    await waitFor("it to fail", async () => (await read(id)).failed ?? undefined);
    expect((await read(id)).waiting).toBeNull();
    const orderId = id;
    await orderStore(environment.database).clearFailed(id);
    await markFailed(environment.database, {
      orderId,
      whileIn: ["PICKED"],
      stage: "confirm",
      reason: "x",
      at: new Date(),
    });
    await queues.revive([{ orderId, transition: lifecycle.due("PICKED") ?? noTransition() }]);
    await waits(id);
    expect((await read(id)).failed).toBeNull();
    await waitFor("it to be asked", async () => {
      await waking().wake(id);
      return (await read(id)).waiting === null;
    });
  });

  test("ends as soon as the order is cancelled", async () => {
    const { waiting, cancellation, cancelled, undone } = await line();
    const id = await waiting();
    expect((await cancellation.request(id, "changed my mind"))?.order.waiting).toBeNull();
    await cancelled(id);
    expect(undone).toEqual([id]);
  });

  test("is not written down for an order that was cancelled meanwhile", async () => {
    const cancel: { now?: (id: string) => Promise<unknown> } = {};
    const { place, cancellation, cancelled } = await line({
      run: async ({ id }) => {
        await cancel.now?.(id);
        return wait({ for: "the customer", until: inAnHour() });
      },
    });
    cancel.now = (id) => cancellation.request(id, "changed my mind");
    const id = await place();
    await cancelled(id);
    expect(await eventsOf(id)).not.toContain("waiting");
  });
});

describe("a wake", () => {
  test("of an order that does not wait, or does not exist, does nothing", async () => {
    const { place, posted, waking, confirmed, asked } = await line();
    const id = await place();
    confirmed.add(id);
    await posted(id);
    expect(await waking().wake(id)).toMatchObject({ isWaiting: false });
    expect(await waking().wake(uuidv7())).toBeUndefined();
    expect(asked).toHaveLength(1);
  });

  test("of many at once, and many times, asks each once", async () => {
    const { waiting, waking, calls, confirmed, posted, asked } = await line();
    const ids = await Promise.all(Array.from({ length: 20 }, () => waiting()));
    for (const id of ids) confirmed.add(id);
    const woken = waking();
    await Promise.all([...ids, ...ids].map((id) => woken.wake(id)));
    for (const id of ids) await posted(id);
    await calls.idle();
    expect(asked).toHaveLength(40);
  });

  test("that Redis did not take is made up for by the sweeper", async () => {
    const { waiting, waking, calls, confirmed, posted, sweeper } = await line();
    const id = await waiting();
    confirmed.add(id);
    const away = waking({ revive: () => Promise.reject(new Error("away")) });
    await away.wake(id);
    await calls.idle();
    await sweeper().sweep();
    await posted(id);
  });
});

describe("the sweeper", () => {
  test("leaves orders alone that wait, also when Redis has lost its data, and counts them apart", async () => {
    const { waiting, sweeper, asked, walks } = await line();
    const id = await waiting();
    const rounds = sweeper();
    await rounds.sweep();
    await connection.flushdb();
    // The restoration, and the walk after it.
    for (let round = 0; round < 3; round++) await rounds.sweep();
    expect(asked).toHaveLength(1);
    const { since } = await waits(id);
    expect(walks.get("PICKED")).toMatchObject({
      moving: { count: 0 },
      waiting: { count: 1, oldest: since.getTime() },
    });
  });

  test("counts orders apart that nobody but an operator brings forward", async () => {
    const { waiting, sweeper, walks } = await line();
    const id = await waiting();
    await environment.database.transaction((transaction) =>
      transaction.commit([
        {
          sql: "UPDATE orders SET waiting_for = ? WHERE id = ?",
          values: [`${OPERATOR}1 piece is to be shipped, parcel 1 is LOST`, id],
        },
      ]),
    );
    await sweeper().sweep();
    expect(walks.get("PICKED")).toMatchObject({ waiting: { count: 0 }, operator: { count: 1 } });
  });

  test("asks again after some minutes, in case a wake was lost", async () => {
    const { waiting, sweeper, confirmed, posted, asked } = await line();
    const id = await waiting();
    confirmed.add(id);
    await age(id, "updated_at", 240);
    await sweeper().sweep();
    expect(asked).toHaveLength(1);
    await age(id, "updated_at", 301);
    await sweeper().sweep();
    await posted(id);
  });

  test("has the stage decide once, when the wait is over", async () => {
    const { waiting, sweeper, posted, asked } = await line({
      run: async (_order, { waited }) =>
        waited?.isOver ? { confirmed: false } : wait({ for: "the customer", until: inAnHour() }),
    });
    const id = await waiting();
    await age(id, "updated_at", 2);
    await age(id, "waiting_until", 1);
    await sweeper().sweep();
    await posted(id);
    expect(asked[1]).toMatchObject({ isOver: true });
    expect((await read(id)).records).toMatchObject({ confirm: { confirmed: false } });
  });

  test("asks once, and not on and on, for an order whose wait was over before it began", async () => {
    const until = new Date(Date.now() - 1_000);
    const { waiting, sweeper, asked } = await line({ run: async () => wait({ for: "the customer", until }) });
    const id = await waiting();
    const rounds = sweeper();
    await rounds.sweep();
    await waitFor(
      "it to wait again",
      async () => (await read(id)).waiting?.until?.getTime() === until.getTime(),
    );
    for (let round = 0; round < 5; round++) await rounds.sweep();
    expect(asked.map((waited) => waited?.isOver)).toEqual([undefined, true]);
  });

  test("asks once more for an order whose wait was over while its stage was asked", async () => {
    let until = inAnHour();
    const { waiting, sweeper, waking, asked } = await line({
      run: async () => {
        // Nobody has told this attempt that it is over.
        await waitFor("the time", () => asked.length !== 2 || Date.now() > until.getTime());
        return wait({ for: "the customer", until });
      },
    });
    const id = await waiting();
    until = new Date(Date.now() + 1_000);
    await environment.database.query((queries) =>
      queries.execute(sql`UPDATE orders SET waiting_until = ${until} WHERE id = ${id}`),
    );
    await waking().wake(id);
    await waitFor("it to be asked", () => asked.length === 2);
    await waitFor("it to be asked again", async () => {
      await sweeper().sweep();
      return asked.length === 3;
    });
    expect(asked.map((waited) => waited?.isOver)).toEqual([undefined, false, true]);
  });

  test("cancels an order that waits past its stage's deadline", async () => {
    const { waiting, sweeper, cancelled } = await line({ settings: { deadline: 1_000 } });
    const id = await waiting();
    await waitFor("the deadline", async () => Date.now() - (await read(id)).createdAt.getTime() > 1_000);
    await sweeper().sweep();
    await cancelled(id);
  });
});

test("without queues an order waits and is woken, too", async () => {
  const { lifecycle, confirmed, waking } = await line();
  const store = orderStore(environment.database);
  const processing = new InlineProcessing({
    lifecycle,
    ports: NO_PORTS,
    store: new BatchingStore({ store }),
    failures: new FailureLog({ store, lifecycle }),
    probeIntervalMs: 10,
    log,
  });
  const id = await createOrder(environment.database);
  expect(await processing.process(id)).toMatchObject({
    outcome: "processed",
    order: { status: "PICKED", waiting: { for: "the customer" } },
  });
  confirmed.add(id);
  await waking(processing).wake(id);
  await waitFor("the order to go on", async () => (await read(id)).status === "POSTED");
  await processing.idle();
});

function noTransition(): never {
  throw new Error("nothing is due");
}
