import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { openApiDocument } from "../../../src/api/openapi.ts";
import { TOKEN_LENGTH } from "../../../src/providers/http/callbacks.ts";
import { PLAIN_ORDER, TestClient, type Answer } from "../../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { startOwnMysql, type OwnMysql } from "../../support/own-mysql.ts";
import { startApi, type TestProcess } from "../../support/processes.ts";
import type { TestServer } from "../../support/servers.ts";
import { waitFor } from "../../support/wait-for.ts";

jest.setTimeout(120_000);

let environment: TestEnvironment;
let own: OwnMysql;
let mysql: TestServer;
let api: TestProcess & { readonly url: string };
let client: TestClient;
beforeAll(async () => {
  environment = await createTestEnvironment({ migrated: false });
  own = await startOwnMysql();
  mysql = own.server;
  api = await startApi({
    databaseUrl: own.databaseUrl,
    redisUrl: environment.redisUrl,
    env: { DATABASE_TIMEOUT_MS: String(TIMEOUT_MS) },
  });
  client = new TestClient(api.url);
});
afterAll(async () => {
  mysql.kill("SIGCONT");
  await api.stop();
  await own.stop();
  await environment.close();
});

const LOAD = 300;
const TIMEOUT_MS = 5_000;
/** Who waited first for a connection and then for an answer would take longer. */
const ANSWERED_WITHIN_MS = 2 * TIMEOUT_MS;
const ID = "01a20691-7a8e-777a-bbfa-0d625ad32c50";

/** A request to everything that can answer that MySQL is away. */
const REQUESTS: Record<string, () => Promise<Answer>> = {
  "POST /orders": () => client.post("/orders", PLAIN_ORDER, { "idempotency-key": randomUUID() }),
  "GET /orders": () => client.get("/orders?status=CREATED&limit=5"),
  "POST /orders/resume": () => client.post("/orders/resume", {}),
  "GET /orders/{id}": () => client.get(`/orders/${ID}`),
  "PATCH /orders/{id}": () => client.request("PATCH", `/orders/${ID}`, { note: "ring twice" }),
  "POST /orders/{id}/holds": () => client.post(`/orders/${ID}/holds`, { name: "fraud", reason: "too large" }),
  "DELETE /orders/{id}/holds/{name}": () => client.request("DELETE", `/orders/${ID}/holds/fraud`),
  "POST /orders/{id}/wake": () => client.post(`/orders/${ID}/wake`, {}),
  "GET /orders/{id}/payments": () => client.get(`/orders/${ID}/payments`),
  "POST /orders/{id}/refunds": () => client.post(`/orders/${ID}/refunds`, { reason: "broken", amount: 1 }),
  "GET /orders/{id}/shipments": () => client.get(`/orders/${ID}/shipments`),
  "POST /orders/{id}/shipments": () => client.post(`/orders/${ID}/shipments`, {}),
  "GET /orders/{id}/shipments/{number}": () => client.get(`/orders/${ID}/shipments/1`),
  "POST /orders/{id}/shipments/{number}/book": () => client.post(`/orders/${ID}/shipments/1/book`, {}),
  "POST /orders/{id}/shipments/{number}/void": () => client.post(`/orders/${ID}/shipments/1/void`, {}),
  "POST /orders/{id}/shipments/{number}/close": () =>
    client.post(`/orders/${ID}/shipments/1/close`, { reason: "lost" }),
  "GET /orders/{id}/shipments/{number}/label": () => client.get(`/orders/${ID}/shipments/1/label`),
  "POST /operations/{token}": () => client.post(`/operations/${"A".repeat(TOKEN_LENGTH)}`, { done: {} }),
  "POST /orders/{id}/cancel": () => client.post(`/orders/${ID}/cancel`, { reason: "changed my mind" }),
  "GET /orders/{id}/events": () => client.get(`/orders/${ID}/events`),
  "GET /events": () => client.get("/events"),
  // Nobody feeds Redis' stream here, so the log says where to begin.
  "GET /events/stream": () => client.get("/events/stream"),
  "GET /orders/{id}/stream": () => client.get(`/orders/${ID}/stream`),
  "POST /stock": () => client.post("/stock", { items: [{ sku: "MUG-BLUE", onHand: 1 }] }),
  "GET /stock": () => client.get("/stock"),
  "POST /stock/{sku}/adjustments": () =>
    client.post("/stock/MUG-BLUE/adjustments", { delta: 1, reason: "counted" }),
  "GET /stock/{sku}/movements": () => client.get("/stock/MUG-BLUE/movements"),
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

test("while MySQL takes no writes, what writes is answered 503 with Retry-After, what reads is answered, and readiness says why", async () => {
  await client.put("/stock/MUG-BLUE", { onHand: 10_000 });
  const { body: order } = await client.post("/orders", PLAIN_ORDER);
  await own.admin("SET GLOBAL read_only = 1");
  try {
    expect(await answers()).toEqual(new Set([503]));
    const refused = await Promise.all([
      client.post(`/orders/${order.id}/cancel`, { reason: "changed my mind" }),
      client.post("/stock", { items: [{ sku: "MUG-BLUE", onHand: 1 }] }),
      client.put("/stock/MUG-BLUE", { onHand: 1 }),
      client.post("/webhook-endpoints", { url: "https://example.com/hook" }),
    ]);
    expect(refused.map(({ status, headers }) => [status, headers.get("retry-after")])).toEqual(
      refused.map(() => [503, "1"]),
    );
    const answered = await Promise.all([
      client.get("/orders"),
      client.get(`/orders/${order.id}`),
      client.get(`/orders/${order.id}/events`),
      client.get("/events"),
      client.get("/stock/MUG-BLUE"),
      client.get("/health/live"),
    ]);
    expect(answered.map(({ status }) => status)).toEqual(answered.map(() => 200));
    const detail = "MySQL takes no writes: it is read-only (1290)";
    await waitFor("readiness to say so", async () => (await client.get("/health/ready")).status === 503);
    expect((await client.get("/health/ready")).body).toMatchObject({
      ready: false,
      checks: { mysql: { ready: false, detail } },
    });
  } finally {
    await own.admin("SET GLOBAL read_only = 0");
  }
  expect(await answers()).toEqual(new Set([202]));
  await waitFor("it to be ready", async () => (await client.get("/health/ready")).status === 200);
});

test("a row that somebody else has locked for long is answered 503 with Retry-After", async () => {
  await client.put("/stock/MUG-BLUE", { onHand: 10_000 });
  const other = await createConnection(own.databaseUrl);
  await other.query("START TRANSACTION");
  await other.query("SELECT * FROM stock WHERE sku = 'MUG-BLUE' FOR UPDATE");
  try {
    const { status, headers, body } = await client.put("/stock/MUG-BLUE", { onHand: 5 });
    expect({ status, retryAfter: headers.get("retry-after"), type: body.type }).toEqual({
      status: 503,
      retryAfter: "1",
      type: "urn:conveyor:problem:unavailable",
    });
  } finally {
    await other.end();
  }
  expect((await client.get("/stock/MUG-BLUE")).body.onHand).toBe(10_000);
});

test("nothing else of the API needs MySQL", () => {
  const operations = Object.entries(openApiDocument("").paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => "503" in operation.responses)
      .map(([method]) => `${method.toUpperCase()} ${path}`),
  );
  const checks = ["GET /health/accepting", "GET /health/ready"];
  // Only of providers that send some: http/unknown-outcome tries them.
  const webhooks = ["POST /providers/payments/webhook", "POST /providers/carrier/webhook"];
  expect(operations.toSorted()).toEqual([...Object.keys(REQUESTS), ...checks, ...webhooks].toSorted());
});
