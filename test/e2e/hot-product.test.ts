import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(300_000);

const ORDERS = 2_000;
const ON_HAND = 300;
const WORKERS = 4;
const AT_ONCE = 50;

let line: TestLine;
beforeAll(async () => {
  line = await startLine({ workers: WORKERS, env: { LOG_LEVEL: "warn" } });
});
afterAll(() => line.close());

test("four workers sell exactly the pieces there are to two thousand who want one", async () => {
  await line.client.put("/stock/HOT", { onHand: ON_HAND });
  const order = { ...PLAIN_ORDER, lines: [{ sku: "HOT", quantity: 1, unitPrice: 100 }] };
  for (let placed = 0; placed < ORDERS; placed += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, () => line.client.order(order)));
  }
  const counts = await waitFor(
    "all orders to have ended",
    async () => {
      const byStatus = await countByStatus();
      return (byStatus["DELIVERED"] ?? 0) + (byStatus["CANCELLED"] ?? 0) === ORDERS && byStatus;
    },
    { timeoutMs: 240_000 },
  );
  expect(counts).toEqual({ DELIVERED: ON_HAND, CANCELLED: ORDERS - ON_HAND });
  expect((await line.client.get("/stock/HOT")).body).toEqual({
    sku: "HOT",
    onHand: 0,
    reserved: 0,
    available: 0,
  });
  expect(line.environment.providers.books.charges.length).toBe(ON_HAND);
});

async function rows(query: ReturnType<typeof sql>): Promise<Record<string, unknown>[]> {
  const [found] = await line.environment.database.query((queries) => queries.execute(query));
  return Array.isArray(found) ? found.flatMap((row) => [Object.assign({}, row)]) : [];
}

async function countByStatus(): Promise<Record<string, number>> {
  const found = await rows(sql`SELECT status, COUNT(*) AS count FROM orders GROUP BY status`);
  return Object.fromEntries(found.map((row) => [String(row["status"]), Number(row["count"])]));
}
