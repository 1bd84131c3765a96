import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { Database } from "../../db/database.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { startApi, startWorker } from "../support/processes.ts";
import { startTestMysql, type TestServer } from "../support/servers.ts";

jest.setTimeout(180_000);

const ORDERS = 40;
/** Of one order on its way: one takes it, one each makes the four changes of its status, and one writes its payment down. */
const OF_ONE = 6;

/** A MySQL that nobody else talks to, so that its transactions can be counted. */
let mysql: TestServer;
let environment: TestEnvironment;
beforeAll(async () => {
  [mysql, environment] = await Promise.all([startTestMysql(), createTestEnvironment()]);
});
afterAll(async () => {
  await mysql.stop();
  await environment.close();
});

/** How many transactions are committed while orders that are sent at once become DELIVERED. */
async function transactionsFor(env: Record<string, string>, name: string): Promise<number> {
  const server = new Database({ url: mysql.url });
  await server.query((queries) => queries.execute(sql.raw(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`)));
  const url = new URL(mysql.url);
  url.pathname = `/${name}`;
  await migrateDatabase({ url: url.href });
  await environment.redis.flushdb();
  const options = {
    databaseUrl: url.href,
    redisUrl: environment.redisUrl,
    providers: environment.providers,
    env: { SWEEP_INTERVAL_MS: "3600000", ...env },
  };
  const [api, worker] = await Promise.all([startApi(options), startWorker(options)]);
  try {
    const client = new TestClient(api.url);
    await client.put("/stock/MUG-BLUE", { onHand: 1_000 });
    const before = await committed(server);
    const placed = await Promise.all(Array.from({ length: ORDERS }, () => client.order(PLAIN_ORDER)));
    for (const { id } of placed) await client.orderIn(id, "DELIVERED");
    return (await committed(server)) - before;
  } finally {
    await Promise.all([api.stop(), worker.stop()]);
    await server.close();
  }
}

async function committed(server: Database): Promise<number> {
  const [rows] = await server.query((queries) => queries.execute(sql`SHOW GLOBAL STATUS LIKE 'Com_commit'`));
  const [row] = Array.isArray(rows) ? rows : [];
  if (row === undefined || !("Value" in row)) throw new Error("MySQL counts its commits");
  return Number(row["Value"]);
}

describe("orders of one moment", () => {
  test("share transactions", async () => {
    expect(await transactionsFor({}, "shared")).toBeLessThan((ORDERS * OF_ONE) / 2);
  });

  test("have each a transaction for every step with GROUP_COMMIT=off", async () => {
    const alone = await transactionsFor({ GROUP_COMMIT: "off" }, "alone");
    expect(alone).toBeGreaterThanOrEqual(ORDERS * OF_ONE);
    // Processes have a few of their own, such as for leases.
    expect(alone).toBeLessThan(ORDERS * (OF_ONE + 1));
  });
});
