import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { createOrders } from "../../../db/new-orders.ts";
import { resumeFailed, type FailureFilter } from "../../../db/failures.ts";
import { resume } from "../../../src/api/resume.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { newOrder } from "../../support/orders.ts";
import { countingDatabase } from "../../support/reads.ts";

/** Orders of one transaction. */
const PAGE = 500;

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterEach(async () => {
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

const resumeIn = (withinMs: number) => (filter: FailureFilter) =>
  resume(environment.database, filter, "ada", withinMs);

test("all that failed go on after one request, and each is counted once, however often it was asked", async () => {
  await createFailed(1_300);
  const ask = resumeIn(60_000);
  const answers = await Promise.all([ask({}), ask({}), ask({ stage: "pay" })]);
  expect(answers.reduce((sum, { resumed }) => sum + resumed, 0)).toBe(1_300);
  expect(await ask({})).toEqual({ resumed: 0 });
});

test("more than can be resumed in time are told, and go on after further requests", async () => {
  await createFailed(1_300);
  const ask = resumeIn(0);
  expect(await ask({})).toEqual({ resumed: PAGE, more: true });
  expect(await ask({})).toEqual({ resumed: PAGE, more: true });
  expect(await ask({})).toEqual({ resumed: 300 });
});

test("no request ends with nothing because of others that come first", async () => {
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
      expect(await readsOf(() => resumeFailed(database, filter, 500))).toBeLessThan(5 * 500);
    }
    const after = { stage: "pay", id: orders[0]?.id ?? "" };
    expect(await readsOf(() => resumeFailed(database, {}, 500, after))).toBeLessThan(10);
  } finally {
    await database.close();
  }
});
