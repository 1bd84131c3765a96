import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import type { RowDataPacket } from "mysql2";
import { PLAIN_ORDER } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { holdLocks } from "../support/locks.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

/** The service while others use its database: they hold locks for long, and kill connections. */
let line: TestLine;
beforeAll(async () => {
  // This process is the clients, and would be slow to answer as a provider: only MySQL is the matter here.
  const env = {
    PROVIDERS_MODULE: "tools/simulators/in-process",
    INVENTORY_SIMULATOR_URL: "",
    LOG_LEVEL: "warn",
  };
  line = await startLine({ workers: 2, env });
  await line.client.put("/stock/MUG-BLUE", { onHand: 100_000 });
});
afterAll(() => line.close());

const orderFor = (...skus: string[]) => ({
  ...PLAIN_ORDER,
  lines: skus.map((sku) => ({ sku, quantity: 1, unitPrice: 100 })),
});

async function count(query: ReturnType<typeof sql>): Promise<number> {
  const [found] = await line.environment.database.query((queries) => queries.execute(query));
  const [row] = Array.isArray(found) ? found.map((each) => Object.assign({ count: 0 }, each)) : [];
  return Number(row?.count);
}

const failedAttempts = () =>
  count(sql`SELECT COUNT(*) AS count FROM order_events WHERE type IN ('attempt-failed', 'failed')`);

describe("a stock row that somebody else keeps locked", () => {
  test("holds up the orders for that product, and no others", async () => {
    const { client, environment } = line;
    for (const sku of ["LOCKED", "FREE"]) await client.put(`/stock/${sku}`, { onHand: 1_000 });
    const holder = await holdLocks(
      environment.database,
      "SELECT sku FROM stock WHERE sku = 'LOCKED' FOR UPDATE",
    );

    const [locked, both, free]: [string[], string[], string[]] = [[], [], []];
    for (let round = 0; round < 10; round++) {
      free.push(...(await placed(orderFor("FREE"), orderFor("FREE"), orderFor("FREE"))));
      locked.push(...(await placed(orderFor("LOCKED"))));
      both.push(...(await placed(orderFor("FREE", "LOCKED"))));
    }
    for (const id of free) await client.orderIn(id, "DELIVERED");
    // Also later on, when the others are tried again and again.
    for (const id of await placed(orderFor("FREE"), orderFor("FREE"))) await client.orderIn(id, "DELIVERED");
    for (const id of [...locked, ...both])
      expect(await client.get(`/orders/${id}`)).toMatchObject({ body: { status: "CREATED" } });

    await holder.release();
    for (const id of [...locked, ...both]) await client.orderIn(id, "DELIVERED");
    expect(await failedAttempts()).toBe(0);
    expect((await client.get("/stock/LOCKED")).body).toMatchObject({ onHand: 980, reserved: 0 });
    expect((await client.get("/stock/FREE")).body).toMatchObject({ onHand: 958, reserved: 0 });
  });
});

describe("an idempotency key that somebody else's transaction holds", () => {
  test("is a 503 with Retry-After for the request that has it, and for no other", async () => {
    const { client, environment } = line;
    const columns = "status, customer_id, currency, total, idempotency_client, created_at, updated_at";
    const { id } = await client.order(PLAIN_ORDER, { "idempotency-key": "model" });
    const holder = await holdLocks(
      environment.database,
      `INSERT INTO orders (id, idempotency_key, ${columns})
       SELECT '01990000-0000-7000-8000-000000000000', 'held', ${columns} FROM orders WHERE id = '${id}'`,
    );
    const held = client.post("/orders", PLAIN_ORDER, { "idempotency-key": "held" });
    const others = Array.from({ length: 10 }, (_, index) =>
      client.post("/orders", PLAIN_ORDER, { "idempotency-key": `free-${index}` }),
    );
    expect((await Promise.all(others)).map(({ status }) => status)).toEqual(Array(10).fill(202));
    const { status, headers } = await held;
    expect([status, headers.get("retry-after")]).toEqual([503, "1"]);
    await holder.release();
    await waitFor("the request to be accepted", async () => {
      const again = await client.post("/orders", PLAIN_ORDER, { "idempotency-key": "held" });
      return again.status === 202;
    });
  });
});

describe("connections that are killed one after the other under load", () => {
  const KILLS = 29;
  const CLIENTS = 20;

  test("cost nobody an answer, no order an attempt, and no order is lost or doubled", async () => {
    const { client, environment } = line;
    const before = await count(sql`SELECT COUNT(*) AS count FROM orders`);
    const statuses = new Map<number, number>();
    const progress = { killing: true };
    const load = Array.from({ length: CLIENTS }, async () => {
      const ids: string[] = [];
      while (progress.killing) {
        const { status, body } = await client.post("/orders", PLAIN_ORDER);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (status === 202) ids.push(body.id);
      }
      return ids;
    });
    const killed = await environment.database.withConnection(async (connection) => {
      let kills = 0;
      while (kills < KILLS) {
        const answered = statuses.get(202) ?? 0;
        await waitFor("orders between two kills", () => (statuses.get(202) ?? 0) > answered + 10);
        // Those that are at work first: there are few of them.
        const [rows] = await connection.query<(RowDataPacket & { id: number })[]>(
          `SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()
           ORDER BY command = 'Sleep', RAND() LIMIT 1`,
        );
        for (const { id } of rows)
          kills += await connection.query(`KILL ${id}`).then(
            () => 1,
            () => 0,
          );
      }
      return kills;
    });
    progress.killing = false;
    const ids = (await Promise.all(load)).flat();
    expect(killed).toBe(KILLS);
    expect(Object.fromEntries(statuses)).toEqual({ 202: ids.length });
    expect(new Set(ids).size).toBe(ids.length);
    expect((await count(sql`SELECT COUNT(*) AS count FROM orders`)) - before).toBe(ids.length);
    await waitFor(
      "all orders to be delivered",
      async () => (await count(sql`SELECT COUNT(*) AS count FROM orders WHERE status <> 'DELIVERED'`)) === 0,
    );
    expect(await failedAttempts()).toBe(0);
    const moves = sql`SELECT order_id FROM order_events WHERE type = 'status' GROUP BY order_id, to_status HAVING COUNT(*) > 1`;
    expect(await count(sql`SELECT COUNT(*) AS count FROM (${moves}) AS doubled`)).toBe(0);
  });
});

async function placed(...orders: ReturnType<typeof orderFor>[]): Promise<string[]> {
  return Promise.all(orders.map(async (order) => (await line.client.order(order)).id));
}
