import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { migrateDatabase } from "../../../db/migrate.ts";
import { PLAIN_ORDER, TestClient } from "../../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { startApi, type TestProcess } from "../../support/processes.ts";
import { startTestMysql, type TestServer } from "../../support/servers.ts";
import { waitFor } from "../../support/wait-for.ts";

jest.setTimeout(120_000);

let environment: TestEnvironment;
let mysql: TestServer;
let api: TestProcess & { readonly url: string };
let client: TestClient;
beforeAll(async () => {
  environment = await createTestEnvironment({ migrated: false });
  mysql = await startTestMysql();
  const connection = await createConnection(mysql.url);
  await connection.query("CREATE DATABASE shop CHARACTER SET utf8mb4");
  await connection.end();
  const databaseUrl = Object.assign(new URL(mysql.url), { pathname: "/shop" }).href;
  await migrateDatabase({ url: databaseUrl });
  api = await startApi({ databaseUrl, redisUrl: environment.redisUrl });
  client = new TestClient(api.url);
});
afterAll(async () => {
  mysql.kill("SIGCONT");
  await api.stop();
  await mysql.stop();
  await environment.close();
});

const LOAD = 300;

/** What three hundred orders at once are answered, and nothing else: each must be answered while MySQL is away. */
async function answers(): Promise<Set<number>> {
  const all = await Promise.all(Array.from({ length: LOAD }, () => client.post("/orders", PLAIN_ORDER)));
  for (const { status, headers } of all) if (status === 503) expect(headers.get("retry-after")).toBe("1");
  return new Set(all.map((answer) => answer.status));
}

const acceptsAgain = () =>
  waitFor("an order to be accepted", async () => (await client.post("/orders", PLAIN_ORDER)).status === 202);

describe("while MySQL is away, every order under load is answered 503 with Retry-After", () => {
  test("when it hangs", async () => {
    expect(await answers()).toEqual(new Set([202]));
    mysql.kill("SIGSTOP");
    expect(await answers()).toEqual(new Set([503]));
    expect((await client.get("/orders")).status).toBe(503);
    mysql.kill("SIGCONT");
    await acceptsAgain();
  });

  test("when it was killed", async () => {
    mysql.kill("SIGKILL");
    await waitFor("the first refusal", async () => (await client.get("/orders")).status === 503);
    expect(await answers()).toEqual(new Set([503]));
    await mysql.restart();
    await acceptsAgain();
  });
});
