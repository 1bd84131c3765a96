import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { createOrders } from "../../../db/new-orders.ts";
import { requestCancellation } from "../../../db/cancellations.ts";
import { listFailed, markFailed, resumeOrders } from "../../../db/failures.ts";
import { listActions } from "../../../db/operator-actions.ts";
import { orderStore } from "../../../db/order-store.ts";
import { openOperations } from "../../../src/composition/operations.ts";
import { BackgroundCalls } from "../../../src/engine/background-calls.ts";
import { Cancellation } from "../../../src/engine/cancellation.ts";
import type { DueJob, Replacement, FailureFilter } from "../../../src/engine/ports.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { newOrder, readOrder } from "../../support/orders.ts";
import { countingDatabase } from "../../support/reads.ts";

/** Orders of one transaction. */
const PAGE = 500;

let environment: TestEnvironment;
let calls: BackgroundCalls;
let operations: ReturnType<typeof openOperations>;
/** What was queued, and when that is answered. */
let queued: DueJob[] = [];
let redisAnswers: Promise<void> | undefined;
/** Jobs that were taken out of their queues, or replaced. */
let removed: DueJob[] = [];
beforeAll(async () => {
  environment = await createTestEnvironment();
  const { database } = environment;
  const dispatcher = {
    enqueue: async () => undefined,
    revive: async (due: readonly DueJob[]) => {
      queued.push(...due);
      await redisAnswers;
      return due.length;
    },
    replace: async (replacements: readonly Replacement[]) => {
      removed.push(...replacements.map(({ job }) => job));
    },
  };
  const log = createLogger({ name: "test", level: "silent" });
  calls = new BackgroundCalls({ log });
  const cancellation = new Cancellation({ store: orderStore(database), dispatcher, lifecycle, calls });
  operations = openOperations({ database, dispatcher, cancellation, calls, log });
});
afterEach(async () => {
  queued = [];
  removed = [];
  redisAnswers = undefined;
  await environment.database.query((queries) => queries.execute(sql`DELETE FROM orders`));
});
afterAll(() => environment.close());

async function createFailed(count: number, stage = "pay", reason = "no answer"): Promise<void> {
  const orders = Array.from({ length: count }, () => newOrder());
  for (let start = 0; start < count; start += PAGE) {
    await createOrders(environment.database, orders.slice(start, start + PAGE));
  }
  await environment.database.query((queries) =>
    queries.execute(
      sql`UPDATE orders SET failed_stage = ${stage}, failed_reason = ${reason}, failed_at = ${new Date()}
        WHERE failed_stage IS NULL`,
    ),
  );
}

const resumeIn = (withinMs: number) => (group: FailureFilter) =>
  operations.failureGroups.resume(group, "ada", withinMs);

test("one request resumes all failed orders, and each counts once, however many ask", async () => {
  await createFailed(1_300);
  const ask = resumeIn(60_000);
  const answers = await Promise.all([ask({}), ask({}), ask({ stage: "pay" })]);
  expect(answers.reduce((sum, { resumed }) => sum + resumed, 0)).toBe(1_300);
  expect(await ask({})).toEqual({ resumed: 0 });
});

test("resumed orders are queued at once, and no client waits for a dispatcher that does not answer", async () => {
  await createFailed(10);
  let answer = () => {};
  redisAnswers = new Promise((resolve) => {
    answer = resolve;
  });
  expect(await resumeIn(0)({})).toEqual({ resumed: 10 });
  expect(queued.map(({ transition }) => transition.to)).toEqual(Array.from({ length: 10 }, () => "RESERVED"));
  let isIdle = false;
  const idle = calls.idle().then(() => (isIdle = true));
  expect(isIdle).toBe(false);
  answer();
  await idle;
});

test.each(["pay", "cancel"])(
  "a cancellation that failed in the queue of %s is found as one, and resumed",
  async (stage) => {
    const { database } = environment;
    const order = newOrder();
    const at = new Date();
    await createOrders(database, [order]);
    await requestCancellation(database, { orderId: order.id, whileIn: ["CREATED"], reason: "declined", at });
    await markFailed(database, { orderId: order.id, whileIn: ["CREATED"], stage, reason: "no answer", at });
    expect((await readOrder(database, order.id)).failed).toMatchObject({
      stage: "cancel",
      reason: "no answer",
    });
    expect(await resumeIn(60_000)({ stage: "cancel" })).toEqual({ resumed: 1 });
    expect(queued).toMatchObject([{ orderId: order.id, transition: { step: { name: "cancel" } } }]);
    // The stage's own job may have failed with it, and nobody looks at that any more.
    expect(removed).toMatchObject([{ orderId: order.id, transition: { step: { name: "reserve" } } }]);
  },
);

test("orders that failed alike are one group, whatever ids their reasons name", async () => {
  const { database } = environment;
  const ids = [newOrder(), newOrder()].map(({ id }) => id);
  for (const id of ids) await createFailed(1, "ship", `order ${id} is not known`);
  await createFailed(1, "ship", "another reason");
  expect(await resumeIn(60_000)({ reason: `order ${ids[0]} is not known` })).toEqual({ resumed: 2 });
  const { items } = await listActions(database, { limit: 1 });
  expect(items).toMatchObject([{ action: "resume-group", target: "any stage", actor: "ada", done: 2 }]);
});

test("more orders than can be resumed in time are reported, and further requests resume them", async () => {
  await createFailed(1_300);
  const ask = resumeIn(0);
  expect(await ask({})).toEqual({ resumed: PAGE, more: true });
  expect(await ask({})).toEqual({ resumed: PAGE, more: true });
  expect(await ask({})).toEqual({ resumed: 300 });
});

test("no request ends with nothing because of orders that come before its own", async () => {
  await createFailed(PAGE, "deliver");
  await createFailed(800, "pay", "another reason");
  await createFailed(10);
  const ask = resumeIn(0);
  expect(await ask({ reason: "no answer", stage: "pay" })).toEqual({ resumed: 10 });
  expect(await ask({ reason: "another reason" })).toEqual({ resumed: PAGE, more: true });
  expect(await ask({ reason: "another reason" })).toEqual({ resumed: 300 });
});

test("a page is read and written without looking at the orders around it", async () => {
  await createFailed(3_000);
  const orders = Array.from({ length: 3_000 }, () => newOrder());
  await createOrders(environment.database, orders);
  await environment.database.query((queries) => queries.execute(sql`ANALYZE TABLE orders`));
  const { database, readsOf } = countingDatabase(environment.databaseUrl);
  try {
    for (const filter of [{}, { stage: "pay" }, { reason: "another" }]) {
      // In the index, in the table, once more to lock it, and once to change it.
      const resume = async () => {
        const page = await listFailed(database, filter, { limit: 500 });
        const ids = page.orders.map(({ id }) => id);
        await resumeOrders(database, ids, "ada");
      };
      expect(await readsOf(resume)).toBeLessThan(5 * 500);
    }
    const after = { stage: "pay", id: orders[0]?.id ?? "" };
    expect(await readsOf(() => listFailed(database, {}, { limit: 500, after }))).toBeLessThan(10);
  } finally {
    await database.close();
  }
});
