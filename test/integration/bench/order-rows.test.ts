import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { OrderRows } from "../../../tools/bench/order-rows.ts";
import { Sql } from "../../../tools/chaos/sql.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder, newOrder } from "../../support/orders.ts";

const BACKLOG = 500;

let environment: TestEnvironment;
let sql: Sql;
let rows: OrderRows;

beforeEach(async () => {
  environment = await createTestEnvironment();
  sql = new Sql(environment.databaseUrl);
  rows = new OrderRows(sql);
});
afterEach(async () => {
  sql.close();
  await environment.close();
});

const place = () => createOrder(environment.database);
const set = (id: string, changes: string) => sql.rows(`UPDATE orders SET ${changes} WHERE id = ?`, [id]);

/** A worker that does something when it is asked for the third time whether it still runs. */
function watched(atThird: () => void) {
  let asked = 0;
  return {
    assertRunning() {
      if (++asked === 3) atThird();
    },
  };
}

/** Rows and index entries that this connection has read. */
async function readSoFar(): Promise<number> {
  const counters = await sql.rows("SHOW SESSION STATUS LIKE 'Handler_read%'");
  return counters.reduce((sum, row) => sum + Number(row["Value"]), 0);
}

test("a drain lasts until MySQL has the last order as delivered, whichever that is", async () => {
  const [first, second, newest] = [await place(), await place(), await place()];
  await set(newest, "status = 'DELIVERED'");
  await set(first, "status = 'DELIVERED'");
  const delivering: Promise<unknown>[] = [];
  const worker = watched(() => delivering.push(set(second, "status = 'DELIVERED'")));
  await rows.untilNoneIsUnderWay([worker], new AbortController().signal);
  expect(delivering).toHaveLength(1);
  await rows.assertDelivered(3);
});

test("a backlog is not counted while its newest order is under way", async () => {
  await createOrders(
    environment.database,
    Array.from({ length: BACKLOG }, () => newOrder()),
  );
  const stop = new AbortController();
  // MySQL's own counters are rows, too.
  const counting = -(await readSoFar()) + (await readSoFar());
  const before = await readSoFar();
  const draining = rows.untilNoneIsUnderWay([watched(() => stop.abort())], stop.signal);
  await expect(draining).rejects.toThrow("aborted");
  expect((await readSoFar()) - before - counting).toBeLessThan(BACKLOG);
});

test("orders that failed or were cancelled end a drain, which then was not one", async () => {
  await set(await place(), "status = 'CANCELLED'");
  await set(await place(), "failed_stage = 'pay'");
  await rows.untilNoneIsUnderWay([], new AbortController().signal);
  await expect(rows.assertDelivered(2)).rejects.toThrow("found 2 of which 2 are not delivered");
});

test("a worker that exits ends it", async () => {
  await place();
  const exited = watched(() => {
    throw new Error("drain-worker exited");
  });
  const draining = rows.untilNoneIsUnderWay([exited], new AbortController().signal);
  await expect(draining).rejects.toThrow("drain-worker exited");
});

test("only orders that were placed by then count as open", async () => {
  const then = new Date();
  await createOrder(environment.database, { createdAt: new Date(then.getTime() + 1_000) });
  const [open, later] = [await rows.countOpen(then), await rows.countOpen(new Date(then.getTime() + 1_000))];
  expect([open, later]).toEqual([0, 1]);
});
