import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { copyOrders } from "../../../tools/bench/history.ts";
import { Sql } from "../../../tools/chaos/sql.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder } from "../../support/orders.ts";

let small: TestEnvironment;
let large: TestEnvironment;
let sql: Sql;
beforeAll(async () => {
  [small, large] = await Promise.all([createTestEnvironment(), createTestEnvironment()]);
  sql = new Sql(small.databaseUrl);
});
afterAll(async () => {
  sql.close();
  await Promise.all([small.close(), large.close()]);
});

const nameOf = ({ databaseUrl }: TestEnvironment) => new URL(databaseUrl).pathname.slice(1);

test("orders are copied as orders of earlier times, with what belongs to them", async () => {
  const id = await createOrder(small.database);
  await copyOrders(sql, { from: nameOf(small), to: nameOf(large), copies: 3 });
  const copied = await sql.rows(
    `SELECT o.id, o.idempotency_key AS idempotencyKey, COUNT(DISTINCT l.position) AS orderLines,
            COUNT(DISTINCT e.id) AS events
       FROM ${nameOf(large)}.orders o
       JOIN ${nameOf(large)}.order_lines l ON l.order_id = o.id
       JOIN ${nameOf(large)}.order_events e ON e.order_id = o.id
      GROUP BY o.id, o.idempotency_key ORDER BY o.id`,
  );
  expect(copied).toHaveLength(3);
  expect(new Set(copied.map((row) => row["idempotencyKey"])).size).toBe(3);
  for (const row of copied) {
    expect(row).toMatchObject({ idempotencyKey: expect.stringMatching(/^[0-9a-f]{32}$/), events: 1 });
    expect(row["orderLines"]).toBeGreaterThan(0);
    expect(String(row["id"]) < id).toBe(true);
  }
});
