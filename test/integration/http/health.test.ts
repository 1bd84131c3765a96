import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { createConnection } from "mysql2/promise";
import { migrateDatabase } from "../../../db/migrate.ts";
import type { Check } from "../../../src/api/readiness.ts";
import { PLAIN_ORDER } from "../../support/client.ts";
import { ContractClient } from "../../support/contract.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { startApi, untilLogged, type TestProcess } from "../../support/processes.ts";
import { startTestMysql, startTestRedis, type TestServer } from "../../support/servers.ts";
import { waitFor } from "../../support/wait-for.ts";

interface Readiness {
  readonly ready: boolean;
  readonly checks: { readonly mysql: Check; readonly redis: Check };
}

const READY = { ready: true, detail: expect.stringMatching(/^(MySQL|Redis) \d+\./) };

let environment: TestEnvironment;
/** What a test starts of its own, ended after it, the last first. */
const started: { stop(): Promise<unknown> }[] = [];

beforeEach(async () => {
  environment = await createTestEnvironment();
});
afterEach(async () => {
  for (const each of started.splice(0).toReversed()) await each.stop();
  await environment.close();
});

async function startOwnRedis(...args: string[]): Promise<TestServer> {
  const server = await startTestRedis({ args });
  started.push(server);
  return server;
}

/** A MySQL of its own with an empty, migrated database. */
async function startOwnMysql(): Promise<{ server: TestServer; databaseUrl: string }> {
  const server = await startTestMysql();
  started.push(server);
  const connection = await createConnection(server.url);
  await connection.query("CREATE DATABASE away CHARACTER SET utf8mb4");
  await connection.end();
  const url = new URL(server.url);
  url.pathname = "/away";
  await migrateDatabase({ url: url.href });
  return { server, databaseUrl: url.href };
}

async function serve(servers: { databaseUrl?: string; redisUrl?: string }) {
  const api = await startApi({
    databaseUrl: environment.databaseUrl,
    redisUrl: environment.redisUrl,
    ...servers,
  });
  started.push(api);
  return { api, client: await ContractClient.of(api.url) };
}

async function readiness(client: ContractClient): Promise<Readiness> {
  const { status, body } = await client.get<Readiness>("/health/ready");
  expect(status).toBe(body.ready ? 200 : 503);
  expect(body.ready).toBe(body.checks.mysql.ready && body.checks.redis.ready);
  expect((await client.get("/health/live")).status).toBe(200);
  return body;
}

/** Waits until it is ready, or until a part is not ready for this reason. */
function until(client: ContractClient, part?: "mysql" | "redis", reason?: RegExp): Promise<Readiness> {
  return waitFor(`${part ?? "all"} ${part ? `not ready for ${reason}` : "ready"}`, async () => {
    const found = await readiness(client);
    if (part === undefined) return found.ready && found;
    return !found.checks[part].ready && reason?.test(found.checks[part].detail) && found;
  });
}

/** Milliseconds that the quickest of some accepted orders took: one alone may have met a busy machine. */
async function quickestOrder(client: ContractClient): Promise<number> {
  let quickest = Infinity;
  for (let tries = 0; tries < 5; tries++) {
    const before = performance.now();
    await client.order(PLAIN_ORDER);
    quickest = Math.min(quickest, performance.now() - before);
  }
  return quickest;
}

/** Redis is taken for gone after a second. */
const NOT_WAITED_FOR_REDIS_MS = 700;

async function expectNotQueued(api: TestProcess): Promise<void> {
  await untilLogged(api, "accepted, but not queued yet");
}

test("a service that has all it needs is ready, and says what it found", async () => {
  const { client } = await serve({});
  expect(await readiness(client)).toEqual({ ready: true, checks: { mysql: READY, redis: READY } });
});

describe("Redis", () => {
  test("may be away at the start: orders are accepted, and it is used once it is there", async () => {
    const server = await startOwnRedis();
    server.kill("SIGKILL");
    const { api, client } = await serve({ redisUrl: server.url });

    const { checks } = await until(client, "redis", /^not connected: .*ECONNREFUSED/);
    expect(checks.mysql).toEqual(READY);
    expect(await quickestOrder(client)).toBeLessThan(NOT_WAITED_FOR_REDIS_MS);
    await expectNotQueued(api);

    await server.restart();
    await until(client);
  });

  test("may go and come back: orders are accepted all the while", async () => {
    const server = await startOwnRedis();
    const { api, client } = await serve({ redisUrl: server.url });
    await until(client);

    server.kill("SIGKILL");
    expect(await quickestOrder(client)).toBeLessThan(NOT_WAITED_FOR_REDIS_MS);
    await until(client, "redis", /^not connected: /);
    await expectNotQueued(api);

    await server.restart();
    await until(client);
    const { id } = await client.order(PLAIN_ORDER);
    const redis = new Redis(server.url);
    await waitFor("the order is queued", async () => (await redis.keys(`*:${id}-*`)).length > 0);
    redis.disconnect();
  });

  test("may hang: orders are accepted as fast as if it answered", async () => {
    const server = await startOwnRedis();
    const { api, client } = await serve({ redisUrl: server.url });
    await until(client);

    server.kill("SIGSTOP");
    expect(await quickestOrder(client)).toBeLessThan(NOT_WAITED_FOR_REDIS_MS);
    await until(client, "redis", /timed out|no answer within 1000 ms|not connected/);
    await expectNotQueued(api);

    server.kill("SIGCONT");
    await until(client);
  });

  test("is not ready while it may evict jobs", async () => {
    const server = await startOwnRedis("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru");
    const { client } = await serve({ redisUrl: server.url });
    const { checks } = await until(client, "redis", /maxmemory-policy is allkeys-lru; it must be noeviction/);
    expect(checks.mysql).toEqual(READY);

    const redis = new Redis(server.url);
    await redis.config("SET", "maxmemory-policy", "noeviction");
    redis.disconnect();
    await until(client);
  });

  test("that refuses the password is not ready, and the password is not revealed", async () => {
    const url = new URL(environment.redisUrl);
    url.password = "not-the-password";
    const { api, client } = await serve({ redisUrl: url.href });
    const found = await until(client, "redis", /WRONGPASS/);
    expect(JSON.stringify([found, api.lines])).not.toContain(url.password);
  });
});

describe("MySQL", () => {
  test("gone: whatever needs it answers 503, nothing is half done, and it goes on when it is back", async () => {
    const { server, databaseUrl } = await startOwnMysql();
    const { client } = await serve({ databaseUrl });
    await until(client);

    server.kill("SIGKILL");
    const { checks } = await until(client, "mysql", /MySQL did not answer: ECONNREFUSED/);
    expect(checks.redis).toEqual(READY);
    for (const answer of [
      await client.post("/orders", PLAIN_ORDER),
      await client.get("/orders"),
      await client.get("/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50"),
      await client.put("/stock/MUG-BLUE", { onHand: 1 }),
      await client.get("/stock/MUG-BLUE"),
    ]) {
      expect(answer.status).toBe(503);
      expect(answer.body).toMatchObject({ type: "urn:conveyor:problem:unavailable", status: 503 });
      expect(answer.headers.get("retry-after")).toBe("1");
      expect(JSON.stringify(answer.body)).not.toMatch(/ECONNREFUSED|127\.0\.0\.1|mysql:/);
    }
    // What is wrong with a request is told even so.
    expect((await client.post("/orders", {})).status).toBe(422);

    await server.restart();
    await until(client);
    expect((await client.get("/orders")).body.items).toEqual([]);
    await client.order(PLAIN_ORDER);
  });

  test("hanging: readiness says so within its time, and it goes on afterwards", async () => {
    const { server, databaseUrl } = await startOwnMysql();
    const { client } = await serve({ databaseUrl });
    await until(client);

    server.kill("SIGSTOP");
    await until(client, "mysql", /^no answer within 1000 ms$/);
    server.kill("SIGCONT");
    await until(client);
    await client.order(PLAIN_ORDER);
  });
});
