import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { migrateDatabase } from "../../../db/migrate.ts";
import { openApiDocument } from "../../../src/api/openapi.ts";
import { PLAIN_ORDER, TestClient, type Answer } from "../../support/client.ts";
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
  api = await startApi({
    databaseUrl,
    redisUrl: environment.redisUrl,
    env: { DATABASE_TIMEOUT_MS: String(TIMEOUT_MS) },
  });
  client = new TestClient(api.url);
});
afterAll(async () => {
  mysql.kill("SIGCONT");
  await api.stop();
  await mysql.stop();
  await environment.close();
});

const LOAD = 300;
const TIMEOUT_MS = 2_000;
/** Who waited first for a connection and then for an answer would take longer. */
const ANSWERED_WITHIN_MS = 2 * TIMEOUT_MS;
const ID = "01a20691-7a8e-777a-bbfa-0d625ad32c50";

/** A request to everything that can answer that MySQL is away. */
const REQUESTS: Record<string, () => Promise<Answer>> = {
  "POST /orders": () => client.post("/orders", PLAIN_ORDER, { "idempotency-key": randomUUID() }),
  "GET /orders": () => client.get("/orders?status=CREATED&limit=5"),
  "POST /orders/resume": () => client.post("/orders/resume", {}),
  "GET /orders/{id}": () => client.get(`/orders/${ID}`),
  "POST /orders/{id}/cancel": () => client.post(`/orders/${ID}/cancel`, { reason: "changed my mind" }),
  "GET /orders/{id}/events": () => client.get(`/orders/${ID}/events`),
  "GET /events": () => client.get("/events"),
  // Nobody feeds Redis' stream here, so the log says where to begin.
  "GET /events/stream": () => client.get("/events/stream"),
  "GET /orders/{id}/stream": () => client.get(`/orders/${ID}/stream`),
  "POST /stock": () => client.post("/stock", { items: [{ sku: "MUG-BLUE", onHand: 1 }] }),
  "GET /stock/{sku}": () => client.get("/stock/MUG-BLUE"),
  "PUT /stock/{sku}": () => client.put("/stock/MUG-BLUE", { onHand: 1 }),
  "GET /webhook-endpoints": () => client.get("/webhook-endpoints"),
  "POST /webhook-endpoints": () => client.post("/webhook-endpoints", { url: "https://example.com/hook" }),
  "GET /webhook-endpoints/{id}": () => client.get(`/webhook-endpoints/${ID}`),
  "PATCH /webhook-endpoints/{id}": () => client.request("PATCH", `/webhook-endpoints/${ID}`, {}),
  "DELETE /webhook-endpoints/{id}": () => client.request("DELETE", `/webhook-endpoints/${ID}`),
  "GET /webhook-endpoints/{id}/deliveries": () => client.get(`/webhook-endpoints/${ID}/deliveries`),
  "POST /webhook-endpoints/{id}/rotate-secret": () =>
    client.post(`/webhook-endpoints/${ID}/rotate-secret`, {}),
  "POST /webhook-endpoints/{id}/test": () => client.post(`/webhook-endpoints/${ID}/test`, {}),
  "GET /webhook-deliveries/{id}": () => client.get("/webhook-deliveries/1"),
  "POST /webhook-deliveries/{id}/resend": () => client.post("/webhook-deliveries/1/resend", {}),
};

/** Asks everything several times at once. Each must be refused, in time, and with when to come back. */
async function expectRefusals(): Promise<void> {
  const rounds = Array.from({ length: 5 }, () => Object.entries(REQUESTS)).flat();
  const before = performance.now();
  const refusals = await Promise.all(
    rounds.map(async ([operation, request]) => {
      const { status, headers, body } = await request();
      const inTime = performance.now() - before < ANSWERED_WITHIN_MS;
      return { operation, status, retryAfter: headers.get("retry-after"), type: body.type, inTime };
    }),
  );
  const type = "urn:conveyor:problem:unavailable";
  expect(refusals).toEqual(
    rounds.map(([operation]) => ({ operation, status: 503, retryAfter: "1", type, inTime: true })),
  );
}

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
    await expectRefusals();
    mysql.kill("SIGCONT");
    await acceptsAgain();
  });

  test("when it was killed", async () => {
    mysql.kill("SIGKILL");
    await waitFor("the first refusal", async () => (await client.get("/orders")).status === 503);
    expect(await answers()).toEqual(new Set([503]));
    await expectRefusals();
    await mysql.restart();
    await acceptsAgain();
  });
});

test("nothing else of the API needs MySQL", () => {
  const operations = Object.entries(openApiDocument("").paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => "503" in operation.responses)
      .map(([method]) => `${method.toUpperCase()} ${path}`),
  );
  const checks = ["GET /health/ready"];
  expect(operations.toSorted()).toEqual([...Object.keys(REQUESTS), ...checks].toSorted());
});
