import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { UnrecoverableError, Worker } from "bullmq";
import { sql } from "drizzle-orm";
import { Redis } from "ioredis";
import type { Database } from "../../../db/database.ts";
import { readInstallationId } from "../../../db/identity.ts";
import { orderStore } from "../../../db/order-store.ts";
import { Marker } from "../../../queues/marker.ts";
import { DatabaseError } from "../../../db/errors.ts";
import { DatabaseLease } from "../../../db/leases.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { markFailed } from "../../../db/failures.ts";
import { requestCancellation } from "../../../db/cancellations.ts";
import { jobId } from "../../../queues/job.ts";
import { Queues } from "../../../queues/queues.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { CANCEL, Lifecycle } from "../../../src/order/lifecycle.ts";
import type { Stage, Step } from "../../../src/order/stage.ts";
import { Sweeper, type SweeperOptions, type Walked } from "../../../src/engine/sweeper.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { UNDISPUTED } from "../../../src/platform/lease.ts";
import { createOrder, newOrder, readOrder } from "../../support/orders.ts";
import { startTestRedis, type TestServer } from "../../support/servers.ts";
import { countingDatabase } from "../../support/reads.ts";
import { waitFor } from "../../support/wait-for.ts";

const wrap: Stage = { name: "wrap", to: "WRAPPED", run: async () => ({}) };
const send: Stage = { name: "send", to: "SENT", run: async () => ({}) };
const lifecycle = new Lifecycle([wrap, send]);
const due = lifecycle.due("CREATED") ?? noTransition();

let environment: TestEnvironment;
let connection: Redis;
let queues: Queues;
beforeEach(async () => {
  environment = await createTestEnvironment();
  connection = new Redis(environment.redisUrl, { maxRetriesPerRequest: null });
  queues = new Queues({ connection, lifecycle, onError: () => undefined });
});
afterEach(async () => {
  await queues.close();
  connection.disconnect();
  await environment.close();
});

/** A sweeper that takes orders for lost at once, unless it is told otherwise. */
function sweeper({
  database = environment.database,
  ...given
}: Partial<SweeperOptions & { readonly database: Database }> = {}): Sweeper {
  return new Sweeper({
    store: orderStore(database),
    dispatcher: queues,
    lease: UNDISPUTED,
    marker: new Marker(connection, () => readInstallationId(database)),
    lifecycle,
    log: createLogger({ name: "test", level: "silent" }),
    intervalMs: 0,
    afterMs: -1,
    ...given,
  });
}

const lease = () => new DatabaseLease(environment.database, "sweeper");

const PAGE = 500;
/** What a round may take outside of what it measures of itself. */
const SLACK_MS = 20;
/** Writes so many orders that wait for their first stage. */
async function createMany(count: number): Promise<string[]> {
  const orders = Array.from({ length: count }, () => newOrder());
  for (let start = 0; start < count; start += PAGE) {
    await createOrders(environment.database, orders.slice(start, start + PAGE));
  }
  return orders.map(({ id }) => id);
}

const jobOf = (orderId: string) => queues.of(wrap).getJob(jobId(orderId, due));
const stateOf = async (orderId: string) => (await jobOf(orderId))?.getState();
const waiting = async (step: Step = wrap) => (await queues.of(step).getJobCounts("waiting"))["waiting"];
const cancelling = lifecycle.cancelling("CREATED") ?? noTransition();
/** Where the job is that undoes an order. */
const undoingOf = async (orderId: string) =>
  (await queues.of(CANCEL).getJob(jobId(orderId, cancelling)))?.getState();
const setStatus = (id: string, status: string) =>
  environment.database.query((queries) =>
    queries.execute(sql`UPDATE orders SET status = ${status} WHERE id = ${id}`),
  );
/** Has a job wait for its next attempt, or for a service to be back. */
async function delay(orderId: string): Promise<void> {
  const worker = new Worker(wrap.name, null, { connection, prefix: "{wrap}" });
  const job = await worker.getNextJob("token");
  if (job?.data.orderId !== orderId) throw new Error("another job was next");
  await job.moveToDelayed(Date.now() + 600_000, "token");
  await worker.close();
}
/** As if Redis had all its data, so that a round looks page by page. */
const marked = () => connection.set("conveyor:marker", "test");

/** Moves a job to its end by hand, as a worker would. */
async function finish(orderId: string, how: "completed" | "failed"): Promise<void> {
  const worker = new Worker(wrap.name, null, { connection, prefix: "{wrap}" });
  const job = await worker.getNextJob("token");
  if (job?.data.orderId !== orderId) throw new Error("another job was next");
  if (how === "completed") await job.moveToCompleted(undefined, "token", false);
  else await job.moveToFailed(new UnrecoverableError("no"), "token", false);
  await worker.close();
}

const fail = (orderId: string, at = new Date()) =>
  markFailed(environment.database, { orderId, whileIn: ["CREATED"], stage: "wrap", reason: "x", at });
const cancel = (orderId: string) =>
  requestCancellation(environment.database, {
    orderId,
    whileIn: ["CREATED"],
    reason: "y",
    at: new Date(),
  });

describe("a round of the sweeper", () => {
  test("queues an order whose job was never added", async () => {
    await marked();
    const id = await createOrder(environment.database);
    await sweeper().sweep();
    expect(await stateOf(id)).toBe("waiting");
  });

  test("leaves alone what has a job, has just moved, has ended, or waits for a person", async () => {
    await marked();
    const ended = await createOrder(environment.database);
    await setStatus(ended, "SENT");
    const cancelled = await createOrder(environment.database);
    await setStatus(cancelled, "CANCELLED");
    const failed = await createOrder(environment.database);
    await fail(failed);
    const queued = await createOrder(environment.database);
    await queues.enqueue([{ orderId: queued, transition: due }]);
    await sweeper().sweep();
    const young = await createOrder(environment.database);
    await sweeper({ afterMs: 60_000 }).sweep();
    expect(await waiting()).toBe(1);
    for (const id of [ended, cancelled, failed, young]) expect(await stateOf(id)).toBeUndefined();
  });

  test.each(["completed", "failed"] as const)(
    "replaces a %s job that keeps the order's new one out",
    async (how) => {
      await marked();
      const id = await createOrder(environment.database);
      await queues.enqueue([{ orderId: id, transition: due }]);
      await finish(id, how);
      await queues.enqueue([{ orderId: id, transition: due }]);
      expect(await stateOf(id)).toBe(how);
      await sweeper().sweep();
      expect(await stateOf(id)).toBe("waiting");
      expect((await jobOf(id))?.attemptsMade).toBe(0);
    },
  );

  test("gives a job that has stalled too often all its lives back", async () => {
    await marked();
    const id = await createOrder(environment.database);
    await queues.enqueue([{ orderId: id, transition: due }]);
    await connection.hset(queues.of(wrap).toKey(jobId(id, due)), "stc", 9, "atm", 9);
    await finish(id, "failed");
    expect(await jobOf(id)).toMatchObject({ stalledCounter: 9 });
    await sweeper().sweep();
    expect(await jobOf(id)).toMatchObject({ stalledCounter: 0, attemptsMade: 0 });
  });

  test("has undone what is to be cancelled, in place of a job that rests or waits for its time", async () => {
    await marked();
    const [failed, delayed, missing] = [
      await createOrder(environment.database),
      await createOrder(environment.database),
      await createOrder(environment.database),
    ];
    await queues.enqueue([{ orderId: failed, transition: due }]);
    await finish(failed, "failed");
    await fail(failed, new Date(Date.now() - 1_000));
    await queues.enqueue([{ orderId: delayed, transition: due }]);
    await delay(delayed);
    for (const id of [failed, delayed, missing]) await cancel(id);
    await sweeper().sweep();
    for (const id of [failed, delayed, missing]) {
      expect(await undoingOf(id)).toBe("waiting");
      expect(await stateOf(id)).toBeUndefined();
    }
  });

  test("leaves in its place a job in line, and lets one come to its end that runs", async () => {
    await marked();
    const [running, inLine] = [
      await createOrder(environment.database),
      await createOrder(environment.database),
    ];
    await queues.enqueue([
      { orderId: running, transition: due },
      { orderId: inLine, transition: due },
    ]);
    const worker = new Worker(wrap.name, null, { connection, prefix: "{wrap}" });
    expect((await worker.getNextJob("token"))?.data.orderId).toBe(running);
    await worker.close();
    await cancel(running);
    await cancel(inLine);
    await sweeper().sweep();
    expect([await stateOf(running), await undoingOf(running)]).toEqual(["active", undefined]);
    expect([await stateOf(inLine), await undoingOf(inLine)]).toEqual(["waiting", "waiting"]);
  });

  test("leaves alone what failed to be undone", async () => {
    await marked();
    const id = await createOrder(environment.database);
    await cancel(id);
    await fail(id, new Date(Date.now() + 1_000));
    await sweeper().sweep();
    expect(await undoingOf(id)).toBeUndefined();
  });

  test("goes on, page by page, where the round before ended, and then begins again", async () => {
    await marked();
    const ids = await createMany(1_100);
    const rounds = sweeper();
    const counts = [];
    for (let round = 0; round < 3; round++) {
      await rounds.sweep();
      counts.push(await waiting());
    }
    expect(counts).toEqual([PAGE, 2 * PAGE, ids.length]);
    await queues.of(wrap).obliterate();
    await rounds.sweep();
    expect(await waiting()).toBe(PAGE);
  });

  test("rests after each page of a backlog, and after a walk until the next is due", async () => {
    await marked();
    await createMany(600);
    const rounds = sweeper({ intervalMs: 60_000 });
    const before = performance.now();
    const rest = await rounds.sweep();
    // A tenth of its time, and no more.
    expect(rest).toBeGreaterThan(8 * (performance.now() - before - SLACK_MS));
    expect(rest).toBeLessThan(60_000);
    expect(await rounds.sweep()).toBeGreaterThan(30_000);
    // The walk that is due in a minute has not begun: the order is not seen. It would be on the second page.
    const id = await createOrder(environment.database);
    for (let round = 0; round < 2; round++) await rounds.sweep();
    expect(await stateOf(id)).toBeUndefined();
  });
});

describe("after MySQL was away", () => {
  const AFTER_MS = 200;
  let isAway: boolean;
  let rounds: Sweeper;
  let old: string;
  beforeEach(async () => {
    isAway = false;
    const database = new Proxy(environment.database, {
      get(target, name) {
        if (isAway) throw new DatabaseError("ECONNREFUSED", undefined);
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    rounds = sweeper({ database, afterMs: AFTER_MS });
    const time = new Date(Date.now() - 60_000);
    old = await createOrder(environment.database, { createdAt: time });
    await environment.database.query((queries) =>
      queries.execute(sql`UPDATE orders SET updated_at = ${time} WHERE id = ${old}`),
    );
  });

  async function goAway(): Promise<void> {
    isAway = true;
    await expect(rounds.sweep()).rejects.toThrow(DatabaseError);
    isAway = false;
  }

  test("orders are left to whoever withdraws them for as long as they must not have moved", async () => {
    await marked();
    await goAway();
    const before = Date.now();
    await waitFor("it to be queued", async () => {
      await rounds.sweep();
      return (await stateOf(old)) === "waiting";
    });
    expect(Date.now() - before).toBeGreaterThanOrEqual(AFTER_MS);
  });

  test("orders are queued at once all the same when Redis has lost its data", async () => {
    await goAway();
    await rounds.sweep();
    expect(await stateOf(old)).toBe("waiting");
  });
});

describe("a round reads a page, and not the backlog", () => {
  /** Rows and index entries that MySQL looks at in each round of a walk over all orders. */
  async function readsOfRounds(count: number, afterMs: number): Promise<number[]> {
    const { database, readsOf } = countingDatabase(environment.databaseUrl);
    const deadlines = lifecycle.deadlines({ [wrap.name]: 86_400_000 });
    const rounds = sweeper({ database, afterMs, deadlines });
    const reads = [];
    for (let seen = 0; seen < count; seen += PAGE) reads.push(await readsOf(() => rounds.sweep()));
    await database.close();
    return reads;
  }

  test.each([
    ["when all have just moved", 60_000, "nothing", 3_000],
    ["when none has moved for long, and all have their jobs", -1, "jobs", 3_000],
    ["when none has moved for long, and all wait for people", -1, "marks", 3_000],
    // Of fewer, a page is such a part that it is quicker to change it by going through all of them.
    ["when all are too late", 60_000, "no time", 8_000],
  ])("%s", async (_, afterMs, given, count) => {
    await marked();
    const ids = await createMany(count);
    if (given === "jobs") await queues.enqueue(ids.map((orderId) => ({ orderId, transition: due })));
    if (given === "marks") {
      await environment.database.query((queries) =>
        queries.execute(
          sql`UPDATE orders SET failed_stage = 'wrap', failed_reason = 'x', failed_at = updated_at`,
        ),
      );
    }
    if (given === "no time") {
      await environment.database.query((queries) =>
        queries.execute(sql`UPDATE orders SET created_at = '2020-01-01'`),
      );
    }
    await environment.database.query((queries) => queries.execute(sql`ANALYZE TABLE orders`));
    const reads = await readsOfRounds(ids.length, afterMs);
    expect(reads).toHaveLength(count / PAGE);
    // Each order of the page in the index, in the table, once more to lock it, and once to cancel it.
    for (const read of reads) expect(read).toBeLessThan(5 * PAGE);
    expect(await waiting()).toBe(given === "jobs" ? ids.length : 0);
  });

  test("and still finds the few that are lost in it", async () => {
    await marked();
    const ids = await createMany(1_500);
    const lost = ids.filter((_, index) => index % 100 === 7);
    const kept = ids.filter((id) => !lost.includes(id));
    await queues.enqueue(kept.map((orderId) => ({ orderId, transition: due })));
    const rounds = sweeper();
    for (let round = 0; round < 4; round++) await rounds.sweep();
    expect(await waiting()).toBe(ids.length);
    for (const id of lost) expect(await stateOf(id)).toBe("waiting");
  });
});

describe("an order that has not met its deadline", () => {
  const DAY_MS = 86_400_000;
  const deadlines = lifecycle.deadlines({ [wrap.name]: DAY_MS });
  const created = (ago: number) =>
    createOrder(environment.database, { createdAt: new Date(Date.now() - ago) });

  test("is cancelled, and its job replaced, whether it waits, will be retried, or has failed", async () => {
    await marked();
    const [inLine, delayed, failed] = [
      await created(DAY_MS),
      await created(DAY_MS + 1),
      await created(DAY_MS),
    ];
    await queues.enqueue([{ orderId: failed, transition: due }]);
    await finish(failed, "failed");
    await fail(failed);
    await queues.enqueue([{ orderId: delayed, transition: due }]);
    await delay(delayed);
    await queues.enqueue([{ orderId: inLine, transition: due }]);
    await sweeper({ deadlines }).sweep();
    for (const id of [inLine, delayed, failed]) {
      const { cancellation } = await readOrder(environment.database, id);
      expect(cancellation?.reason).toBe("not wrapped within 24 hours");
      expect(await undoingOf(id)).toBe("waiting");
    }
    expect([await stateOf(inLine), await stateOf(delayed), await stateOf(failed)]).toEqual([
      "waiting",
      undefined,
      undefined,
    ]);
  });

  test("is cancelled once: what is to be cancelled already keeps its reason", async () => {
    await marked();
    const id = await created(DAY_MS);
    await cancel(id);
    const rounds = sweeper({ deadlines });
    await rounds.sweep();
    const { cancellation } = await readOrder(environment.database, id);
    expect(cancellation?.reason).toBe("y");
  });

  test("may have moved just now", async () => {
    await marked();
    const id = await created(DAY_MS);
    await environment.database.query((queries) =>
      queries.execute(sql`UPDATE orders SET updated_at = ${new Date()} WHERE id = ${id}`),
    );
    await sweeper({ deadlines, afterMs: 60_000 }).sweep();
    expect((await readOrder(environment.database, id)).cancellation).not.toBeNull();
  });

  test("is another than one that has met it, or has time left", async () => {
    await marked();
    const [young, wrapped, ended] = [
      await created(DAY_MS - 60_000),
      await created(DAY_MS),
      await created(DAY_MS),
    ];
    await setStatus(wrapped, "WRAPPED");
    await setStatus(ended, "SENT");
    await sweeper({ deadlines }).sweep();
    for (const id of [young, wrapped, ended]) {
      expect((await readOrder(environment.database, id)).cancellation).toBeNull();
    }
  });

  test("is found page by page, however many there are", async () => {
    await marked();
    const ids = await createMany(600);
    await environment.database.query((queries) =>
      queries.execute(sql`UPDATE orders SET created_at = ${new Date(Date.now() - DAY_MS)}`),
    );
    const rounds = sweeper({ deadlines });
    await rounds.sweep();
    expect(await waiting(CANCEL)).toBe(PAGE);
    await rounds.sweep();
    expect(await waiting(CANCEL)).toBe(ids.length);
  });
});

describe("a Redis that may have lost the last jobs", () => {
  let server: TestServer;
  let own: Redis;
  beforeEach(async () => {
    server = await startTestRedis();
    own = new Redis(server.url, { maxRetriesPerRequest: null });
    own.on("error", () => undefined);
  });
  afterEach(async () => {
    own.disconnect();
    await server.stop();
  });

  test.each([
    ["was restarted", () => server.restart()],
    // As one that was a replica until then.
    [
      "was promoted",
      async () => {
        await own.replicaof("127.0.0.1", "1");
        await own.replicaof("NO", "ONE");
      },
    ],
  ])("because it %s gets all that have none, however young, and no others", async (_, lose) => {
    const { database } = environment;
    const there = new Queues({ connection: own, lifecycle, onError: () => undefined });
    const rounds = sweeper({
      dispatcher: there,
      marker: new Marker(own, () => readInstallationId(database)),
      afterMs: 60_000,
    });
    const [lost, locked, kept] = await createMany(3);
    if (lost === undefined || locked === undefined) throw new Error("there are three");
    // The first has all orders queued, since there is no marker.
    await rounds.sweep();
    for (const id of [lost, locked]) await there.of(wrap).remove(jobId(id, due));
    await rounds.sweep();
    const ids = async () => (await there.of(wrap).getJobs(["waiting"])).map(({ data }) => data.orderId);
    expect(await ids()).toEqual([kept]);

    // As if a worker had it; but it was done with it, and that is lost too.
    const lock = there.of(wrap).toKey(`${jobId(locked, due)}:lock`);
    await own.set(lock, "token");
    await lose();
    await rounds.sweep();
    expect(new Set(await ids())).toEqual(new Set([lost, kept]));
    await own.del(lock);
    await rounds.sweep();
    expect(new Set(await ids())).toEqual(new Set([lost, locked, kept]));
    await there.close();
  });
});

describe("a Redis that has lost its data", () => {
  test("gets every order on its way back, however young, and only then its marker", async () => {
    const ids = await createMany(20);
    await setStatus(ids[0] ?? "", "WRAPPED");
    await setStatus(ids[1] ?? "", "SENT");
    await cancel(ids[2] ?? "");
    await fail(ids[3] ?? "");
    await sweeper({ afterMs: 60_000 }).sweep();
    expect([await waiting(), await waiting(send), await waiting(CANCEL)]).toEqual([16, 1, 1]);
    expect(await connection.exists("conveyor:marker")).toBe(1);
  });

  test("is noticed after each flush", async () => {
    const id = await createOrder(environment.database);
    const rounds = sweeper({ afterMs: 60_000 });
    await rounds.sweep();
    await connection.flushdb();
    await rounds.sweep();
    expect(await stateOf(id)).toBe("waiting");
  });

  test("gets them page by page, those first that are nearest to their end", async () => {
    const ids = await createMany(1_100);
    for (const id of ids.slice(-10)) await setStatus(id, "WRAPPED");
    const rounds = sweeper({ afterMs: 60_000 });
    await rounds.sweep();
    expect([await waiting(send), await waiting()]).toEqual([10, PAGE - 10]);
    await rounds.sweep();
    expect([await waiting(send), await waiting()]).toEqual([10, 2 * PAGE - 10]);
    await rounds.sweep();
    expect([await waiting(send), await waiting()]).toEqual([10, 1_090]);
  });

  test("gets the rest from the next leader when one ends in the middle", async () => {
    const ids = await createMany(1_100);
    const first = sweeper({ afterMs: 60_000 });
    await first.sweep();
    await first.stop();
    // What was queued before the change is gone: it is not to be asked for again.
    await queues.of(wrap).obliterate();
    const next = sweeper({ afterMs: 60_000 });
    await next.sweep();
    expect([await stateOf(ids[0] ?? ""), await stateOf(ids[PAGE] ?? "")]).toEqual([undefined, "waiting"]);
    await next.sweep();
    expect(await waiting()).toBe(ids.length - PAGE);
  });

  test("again in the middle of it gets all of them again", async () => {
    const ids = await createMany(1_100);
    const rounds = sweeper({ afterMs: 60_000 });
    await rounds.sweep();
    await connection.flushdb();
    for (let round = 0; round < 3; round++) await rounds.sweep();
    expect(await waiting()).toBe(ids.length);
  });
});

describe("what a walk comes by", () => {
  test("is told at its end: what moves, what failed, what is to be cancelled, and since when", async () => {
    await marked();
    const [first] = await createMany(PAGE + 1);
    const [failed, cancelled] = [
      await createOrder(environment.database),
      await createOrder(environment.database),
    ];
    await fail(failed);
    await cancel(cancelled);
    const old = new Date("2026-01-02T03:04:05.678Z");
    await environment.database.query((each) =>
      each.execute(sql`UPDATE orders SET updated_at = ${old} WHERE id = ${first}`),
    );
    const told: [string, Walked][] = [];
    const observer = { walked: (...walk: [string, Walked]) => told.push(walk), doesNotLead: () => undefined };
    const one = sweeper({ afterMs: 86_400_000, observer });

    await one.sweep();
    expect(told.map(([status]) => status)).toEqual(["WRAPPED"]);
    expect(told[0]?.[1].moving).toEqual({ count: 0, oldest: Infinity });

    await one.sweep();
    expect(told.map(([status]) => status)).toEqual(["WRAPPED", "CREATED", "WRAPPED"]);
    const [, created] = told[1]!;
    expect(created.moving).toEqual({ count: PAGE + 1, oldest: old.getTime() });
    expect(created.failed.count).toBe(1);
    expect(created.cancelling.count).toBe(1);
    expect(Math.abs(created.failed.oldest - Date.now())).toBeLessThan(60_000);
    expect(Math.abs(created.at - Date.now())).toBeLessThan(60_000);

    // What the walk before has seen is not counted again.
    await one.sweep();
    await one.sweep();
    expect(told.findLast(([status]) => status === "CREATED")?.[1].moving.count).toBe(PAGE + 1);
  });

  test("is told by whoever leads; who does not is told so", async () => {
    await marked();
    const told: string[] = [];
    const observing = (name: string) => ({
      walked: (status: string) => told.push(`${name} ${status}`),
      doesNotLead: () => told.push(`${name} does not lead`),
    });
    await sweeper({ lease: lease(), observer: observing("first") }).sweep();
    await sweeper({ lease: lease(), observer: observing("second") }).sweep();
    expect(told).toEqual(["first CREATED", "first WRAPPED", "second does not lead"]);
  });
});

describe("of several sweepers", () => {
  test("one leads, until it stops", async () => {
    await marked();
    const [first, second] = [sweeper({ lease: lease() }), sweeper({ lease: lease() })];
    await first.sweep();
    const id = await createOrder(environment.database);
    await second.sweep();
    expect(await stateOf(id)).toBeUndefined();
    await first.stop();
    await second.sweep();
    expect(await stateOf(id)).toBe("waiting");
  });
});

function noTransition(): never {
  throw new Error("a pipeline has a first stage");
}
