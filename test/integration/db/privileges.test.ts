import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { Database } from "../../../db/database.ts";
import { migrateDatabase } from "../../../db/migrate.ts";
import { probeMysql } from "../../../tools/launcher/servers/probe.ts";
import { startProviders, type Providers } from "../../../tools/simulators/providers.ts";
import { PLAIN_ORDER, TestClient } from "../../support/client.ts";
import { startApi, startWorker } from "../../support/processes.ts";
import { startTestMysql, startTestRedis, type TestServer } from "../../support/servers.ts";

const GUIDE = readFileSync(path.join(import.meta.dirname, "../../../docs/deploying.md"), "utf8");

let mysql: TestServer;
let redis: TestServer;
let providers: Providers;
beforeAll(async () => {
  [mysql, redis, providers] = await Promise.all([
    startTestMysql(),
    startTestRedis(),
    startProviders({ transitMs: 0 }),
  ]);
});
afterAll(async () => {
  await Promise.all([mysql?.stop(), redis?.stop(), providers?.close()]);
});

async function admin(...statements: string[]): Promise<void> {
  const connection = await createConnection(mysql.url);
  for (const statement of statements) await connection.query(statement);
  await connection.end();
}

/** An account with the rights that the guide names, and no others; on MySQL with its default way to log in. */
async function accountFor(purpose: "run" | "migrate"): Promise<string> {
  const grant = new RegExp(`<!-- grants: ${purpose} -->\\s+\`\`\`sql\\s+([^;]+);`).exec(GUIDE)?.[1];
  const user = /TO '(\w+)'@'%'/.exec(grant ?? "")?.[1];
  if (grant === undefined || user === undefined) throw new Error(`the guide has no grant to ${purpose}`);
  const isMysql = (await probeMysql(mysql.url)).startsWith("MySQL");
  const way = isMysql ? "WITH caching_sha2_password " : "";
  await admin(`CREATE USER '${user}'@'%' IDENTIFIED ${way}BY 'secret word'`, grant);
  const url = new URL(mysql.url);
  return Object.assign(url, { username: user, password: "secret word", pathname: "/shop" }).href;
}

test("an order is delivered with the rights that the guide names for the service and the migration", async () => {
  await admin("CREATE DATABASE shop CHARACTER SET utf8mb4");
  const migrator = await accountFor("migrate");
  expect(await migrateDatabase({ url: migrator })).toBeGreaterThan(20);
  expect(await migrateDatabase({ url: migrator })).toBe(0);

  const databaseUrl = await accountFor("run");
  const database = new Database({ url: databaseUrl });
  await expect(
    database.query(({ $client }) => $client.query("CREATE TABLE more (id int)")),
  ).rejects.toMatchObject({ errno: 1142 });
  await database.close();
  const options = { databaseUrl, redisUrl: redis.url, providers };
  const [api, worker] = await Promise.all([startApi(options), startWorker(options)]);
  try {
    const client = new TestClient(api.url);
    await client.post("/stock", { items: [{ sku: "MUG-BLUE", onHand: 10 }] });
    const { id } = await client.order(PLAIN_ORDER);
    await client.orderIn(id, "DELIVERED");
    expect(await client.get("/health/ready")).toMatchObject({ status: 200 });
  } finally {
    await Promise.all([api.stop(), worker.stop()]);
  }
});
