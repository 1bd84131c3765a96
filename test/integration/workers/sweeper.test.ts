import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { UnrecoverableError, Worker } from "bullmq";
import { sql } from "drizzle-orm";
import { Redis } from "ioredis";
import { createOrders, markFailed, requestCancellation } from "../../../db/orders.ts";
import { jobId } from "../../../queues/job.ts";
import { Queues } from "../../../queues/queues.ts";
import { createLogger } from "../../../src/log.ts";
import { CANCEL, Lifecycle } from "../../../src/order/lifecycle.ts";
import type { Stage } from "../../../src/order/stage.ts";
import { Sweeper } from "../../../workers/sweeper.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder, newOrder } from "../../support/orders.ts";

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
  queues = new Queues({ connection, steps: lifecycle.steps, onError: () => undefined });
});
afterEach(async () => {
  await queues.close();
  connection.disconnect();
  await environment.close();
});

/** A sweeper that takes orders for lost at once, unless it is told otherwise. */
function sweeper(afterMs = -1): Sweeper {
  const log = createLogger({ name: "test", level: "silent" });
  return new Sweeper({
    database: environment.database,
    redis: connection,
    queues,
    lifecycle,
    log,
    intervalMs: 10,
    afterMs,
  });
}

const jobOf = (orderId: string) => queues.of(wrap).getJob(jobId(orderId, due));
const stateOf = async (orderId: string) => (await jobOf(orderId))?.getState();
const setStatus = (id: string, status: string) =>
  environment.database.query((queries) =>
    queries.execute(sql`UPDATE orders SET status = ${status} WHERE id = ${id}`),
  );
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
    await markFailed(environment.database, {
      orderId: failed,
      whileIn: ["CREATED"],
      stage: "wrap",
      reason: "x",
      at: new Date(),
    });
    const queued = await createOrder(environment.database);
    await queues.enqueue([{ orderId: queued, move: due }]);
    await sweeper().sweep();
    const young = await createOrder(environment.database);
    await sweeper(60_000).sweep();
    expect(await queues.of(wrap).getJobCounts("waiting")).toEqual({ waiting: 1 });
    for (const id of [ended, cancelled, failed, young]) expect(await stateOf(id)).toBeUndefined();
  });

  test.each(["completed", "failed"] as const)(
    "replaces a %s job that keeps the order's new one out",
    async (how) => {
      await marked();
      const id = await createOrder(environment.database);
      await queues.enqueue([{ orderId: id, move: due }]);
      await finish(id, how);
      await queues.enqueue([{ orderId: id, move: due }]);
      expect(await stateOf(id)).toBe(how);
      await sweeper().sweep();
      expect(await stateOf(id)).toBe("waiting");
      expect((await jobOf(id))?.attemptsMade).toBe(0);
    },
  );

  test("queues an order that failed and was to be cancelled after that", async () => {
    await marked();
    const id = await createOrder(environment.database);
    const at = new Date(Date.now() - 1_000);
    await markFailed(environment.database, {
      orderId: id,
      whileIn: ["CREATED"],
      stage: "wrap",
      reason: "x",
      at,
    });
    await requestCancellation(environment.database, {
      orderId: id,
      whileIn: ["CREATED"],
      reason: "y",
      at: new Date(),
    });
    await sweeper().sweep();
    expect(await stateOf(id)).toBeUndefined();
    const cancelling = lifecycle.cancelling("CREATED") ?? noTransition();
    const job = await queues.of(CANCEL).getJob(jobId(id, cancelling));
    expect(await job?.getState()).toBe("waiting");
  });

  test("goes on, page by page, where the round before ended, and then begins again", async () => {
    await marked();
    const orders = Array.from({ length: 1_100 }, () => newOrder());
    await createOrders(environment.database, orders);
    const rounds = sweeper();
    const waiting = async () => (await queues.of(wrap).getJobCounts("waiting"))["waiting"];
    const counts = [];
    for (let round = 0; round < 3; round++) {
      await rounds.sweep();
      counts.push(await waiting());
    }
    expect(counts).toEqual([500, 1_000, orders.length]);
    await queues.of(wrap).obliterate();
    await marked();
    await rounds.sweep();
    expect(await waiting()).toBe(500);
  });
});

describe("a Redis that has lost its data", () => {
  test("gets every order on its way back in one round, however young, and only then its marker", async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, () => createOrder(environment.database)));
    await setStatus(ids[0] ?? "", "WRAPPED");
    await setStatus(ids[1] ?? "", "SENT");
    await sweeper(60_000).sweep();
    expect(await queues.of(wrap).getJobCounts("waiting")).toEqual({ waiting: 18 });
    expect(await queues.of(send).getJobCounts("waiting")).toEqual({ waiting: 1 });
    expect(await connection.exists("conveyor:marker")).toBe(1);
  });

  test("is noticed after each flush", async () => {
    const id = await createOrder(environment.database);
    const rounds = sweeper(60_000);
    await rounds.sweep();
    await connection.flushdb();
    await rounds.sweep();
    expect(await stateOf(id)).toBe("waiting");
  });
});

describe("of several sweepers", () => {
  test("one leads, until it stops", async () => {
    await marked();
    const [first, second] = [sweeper(), sweeper()];
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
