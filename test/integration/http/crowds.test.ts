import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { PLAIN_ORDER, TestClient } from "../../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { startApi, untilLogged, type TestProcess } from "../../support/processes.ts";

/** Files and connections that the API may have open; far fewer than usual, so that a test can use them up. */
const OPEN_FILES = 256;
const CROWD = 1_100;

let environment: TestEnvironment;
let api: TestProcess & { readonly url: string };
let client: TestClient;
const sockets: Socket[] = [];
beforeAll(async () => {
  environment = await createTestEnvironment({ ownRedis: true });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await api.stop();
});
afterAll(async () => {
  await environment?.close();
});

async function openConnection(url = api.url): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) }).on("error", () => {});
  sockets.push(socket);
  await once(socket, "connect");
  return socket;
}

/** @param openFiles as many as the system allows by default. */
async function serve(openFiles?: number, env: Record<string, string> = {}): Promise<void> {
  api = await startApi({ ...environment, env, ...(openFiles !== undefined && { openFiles }) });
  client = new TestClient(api.url);
}

test("silent connections, more than can be open, shut nobody out, and are logged", async () => {
  await serve(OPEN_FILES);
  for (let opened = 0; opened < 2 * OPEN_FILES; opened++) await openConnection();

  await client.order(PLAIN_ORDER);
  expect((await client.get("/health/ready")).body).toMatchObject({ ready: true });
  expect(api.logs()).toContainEqual(
    expect.objectContaining({
      level: "warn",
      msg: expect.stringMatching(/^no more connections can be open/),
    }),
  );
});

test("silent connections to METRICS_PORT, more than can be open, shut nobody out from either port", async () => {
  await serve(OPEN_FILES, { METRICS_PORT: "0" });
  const { metrics } = await untilLogged(api, "listening");
  for (let opened = 0; opened < 2 * OPEN_FILES; opened++) await openConnection(String(metrics));

  await client.order(PLAIN_ORDER);
  expect((await client.get("/health/ready")).body).toMatchObject({ ready: true });
  expect((await fetch(String(metrics))).status).toBe(200);
});

test.each([
  ["/operations/" + "A".repeat(51), "application/json"],
  ["/providers/payments/webhook", "application/json"],
])("clients that send half of a body to %s, more than can be open, shut nobody out", async (path, type) => {
  await serve(OPEN_FILES);
  const half = `POST ${path} HTTP/1.1\r\nhost: api\r\ncontent-type: ${type}\r\ncontent-length: 100\r\n\r\n{`;
  for (let opened = 0; opened < 2 * OPEN_FILES; opened++) (await openConnection()).write(half);

  await client.order(PLAIN_ORDER);
  expect((await client.get("/health/ready")).body).toMatchObject({ ready: true });
});

test("a body that does not come is waited for a few seconds, if nobody knows who sends it", async () => {
  await serve();
  const socket = await openConnection();
  const answer = text(socket);
  const begun = performance.now();
  socket.write(`POST /providers/payments/webhook HTTP/1.1\r\nhost: api\r\ncontent-length: 100\r\n\r\n{`);

  expect(await answer).toMatch(
    /^HTTP\/1\.1 408 [^]*connection: close[^]*the body did not come within 5000 ms/i,
  );
  expect(performance.now() - begun).toBeLessThan(10_000);
  // Nobody is told of it, and it is no error.
  expect(api.lines.filter((line) => !line.includes('"level":"info"'))).toEqual([]);
});

test("a crowd that asks whether it is ready is told what one of them found, and fails no order", async () => {
  await serve();
  await client.get("/health/ready");
  const before = await infosAsked();
  const asking = Array.from({ length: CROWD }, async () => (await fetch(`${api.url}/health/ready`)).text());
  const orders = Array.from({ length: 50 }, () => client.order(PLAIN_ORDER));

  await Promise.all(orders);
  expect(new Set(await Promise.all(asking))).toEqual(new Set([expect.stringContaining('"ready":true')]));
  expect((await infosAsked()) - before).toBeLessThan(CROWD / 20);
});

/** How often Redis was asked for its state. */
async function infosAsked(): Promise<number> {
  const stats = await environment.redis.info("commandstats");
  return Number(/^cmdstat_info:calls=(\d+)/m.exec(stats)?.[1]);
}

test("a small body with thousands of faults gets a small answer", async () => {
  await serve();
  const body = { ...PLAIN_ORDER, lines: Array.from({ length: 2_000 }, () => ({})) };
  const answer = await client.post("/orders", body);
  expect(answer.status).toBe(422);
  expect(answer.body.detail).toBe("the first 100 of 6000 faults");
  expect(JSON.stringify(answer.body).length).toBeLessThan(10_000);
});
