import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { v7 as uuidv7 } from "uuid";
import { listRefunds } from "../../../db/refunds.ts";
import { refunds } from "../../../db/schema.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder } from "../../support/orders.ts";

let environment: TestEnvironment;
beforeEach(async () => {
  environment = await createTestEnvironment();
});
afterEach(async () => environment.close());

test("refunds are told in the order in which they were made, though a process whose clock is a day ahead made the first", async () => {
  const { database } = environment;
  const orderId = await createOrder(database);
  const noon = Date.UTC(2026, 10, 20, 12);
  const made = (minute: number, clockAheadMs: number) => {
    const at = new Date(noon + minute * 60_000);
    return {
      id: uuidv7({ msecs: at.getTime() + clockAheadMs }),
      orderId,
      sequence: 1,
      cause: "requested",
      state: "SUCCEEDED",
      amount: 100 + minute,
      currency: "EUR",
      reason: "damaged",
      restock: "no",
      spentKeys: 0,
      attempts: 1,
      dueAt: at,
      createdAt: at,
      updatedAt: at,
    } as const;
  };
  const all = [made(1, 25 * 3_600_000), made(2, 0), made(3, 0)];
  await database.transaction((queries) => queries.insert(refunds).values(all));
  expect((await listRefunds(database, [orderId])).map(({ id }) => id)).toEqual(all.map(({ id }) => id));
});
