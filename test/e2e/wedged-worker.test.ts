import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { createConnection } from "mysql2/promise";
import { migrateDatabase } from "../../db/migrate.ts";
import { queuePrefix } from "../../queues/keys.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { startApi, startWorker, untilLogged, type TestProcess } from "../support/processes.ts";
import { startTcpProxy } from "../../tools/shared/tcp-proxy.ts";
import { startTestMysql, startTestRedis } from "../support/servers.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

/** Six looks at half a second: sooner than a connection is given up for its silence, which would mend it. */
const ENV = {
  WEDGED_AFTER_MS: "3000",
  STAGE_TIMEOUT_MS: "1000",
  SWEEP_INTERVAL_MS: "100",
  SWEEP_AFTER_MS: "500",
  STAGE_BACKOFF_MS: "20",
  LOG_LEVEL: "debug",
};
/** More than it takes to be sure. */
const MANY_LOOKS = 8;

let environment: TestEnvironment;
let api: TestProcess & { readonly url: string };
let client: TestClient;
beforeAll(async () => {
  environment = await createTestEnvironment();
  api = await startApi(environment);
  client = await clientOf(api);
});
afterAll(async () => {
  await api.stop();
  await environment.close();
});

const FIRST = { name: "reserve" };

/** What a test has started, ended after it, the last first. */
const started: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of started.splice(0).toReversed()) await end();
  environment.providers.setLatency(0);
  // A job that a worker was killed over is a matter of its own, and none of the next test's.
  await environment.redis.flushdb();
});

/** The servers to use; by default those of all tests here. */
interface Servers {
  readonly databaseUrl?: string;
  readonly redisUrl?: string;
}

async function clientOf({ url }: { readonly url: string }): Promise<TestClient> {
  const to = new TestClient(url);
  await to.put("/stock/MUG-BLUE", { onHand: 10_000 });
  return to;
}

/** One more API. */
async function startOther(servers: Servers): Promise<TestClient> {
  const other = await startApi({ ...environment, ...servers });
  started.push(() => other.stop());
  return clientOf(other);
}

async function addWorker(servers: Servers & { env?: object; args?: string[] } = {}): Promise<TestProcess> {
  const worker = await startWorker({ ...environment, ...servers, env: { ...ENV, ...servers.env } });
  started.push(() => worker.stop());
  return worker;
}

async function startProxy() {
  const proxy = await startTcpProxy(environment.redisUrl);
  started.push(() => proxy.close());
  return proxy;
}

/** The queue of a stage; the first one's is where orders can be made to wait. */
function queueOf(stage: { readonly name: string }, connection = environment.redis): Queue {
  const queue = new Queue(stage.name, { connection, prefix: queuePrefix(connection, stage) });
  started.push(() => queue.close());
  return queue;
}

const looks = (worker: TestProcess) => worker.logs().filter((line) => line["msg"] === "watched").length;

/** Waits until the worker has looked often enough to find itself stuck, and makes sure that it didn't. */
async function expectToStay(worker: TestProcess): Promise<void> {
  const before = looks(worker);
  await waitFor("many looks", () => !worker.process.running || looks(worker) >= before + MANY_LOOKS);
  expect(worker.process.running).toBe(true);
}

const charges = async (id: string) =>
  environment.providers
    .entriesOf(id)
    .map((entry) => `${entry.kind} ${entry.outcome}`)
    .toSorted();

describe("a worker whose connections to Redis lead nowhere any more exits, and the next one carries on", () => {
  test("when it was idle, and an order arrives", async () => {
    const proxy = await startProxy();
    const worker = await addWorker({ redisUrl: proxy.url });
    await client.orderIn((await client.order(PLAIN_ORDER)).id, "DELIVERED");

    proxy.blackHole();
    const { id } = await client.order(PLAIN_ORDER);
    expect(await worker.process.exited).toEqual({ code: 1, signal: null });
    expect(await untilLogged(worker, "stuck: exiting to be restarted")).toMatchObject({
      level: "error",
      stage: "reserve",
      ready: 1,
      seconds: 3,
    });
    expect(await client.get(`/orders/${id}`)).toMatchObject({ body: { status: "CREATED" } });

    await addWorker({ redisUrl: proxy.url });
    await client.orderIn(id, "DELIVERED");
    expect(await charges(id)).toEqual(["charge approved", "label approved"]);
  });
});

test("a worker whose connections to Redis lead nowhere in the middle of an order carries it on over new ones", async () => {
  const proxy = await startProxy();
  environment.providers.setLatency(600);
  const worker = await addWorker({ redisUrl: proxy.url });
  const { id } = await client.order(PLAIN_ORDER);
  await client.orderIn(id, "RESERVED");
  await waitFor("the payment to be under way", () => environment.providers.inFlight("payments") === 1);

  proxy.blackHole();
  // Paid for, and Redis can't be asked whether the order may go on.
  await client.orderIn(id, "PAID");
  environment.providers.setLatency(0);
  await client.orderIn(id, "DELIVERED");
  expect(await charges(id)).toEqual(["charge approved", "label approved"]);
  expect(worker.process.running).toBe(true);
});

describe("a worker does not exit", () => {
  test("while there is nothing to do", async () => {
    const worker = await addWorker();
    await client.orderIn((await client.order(PLAIN_ORDER)).id, "DELIVERED");
    await expectToStay(worker);
  });

  test("while its queue is paused", async () => {
    const worker = await addWorker();
    const queue = queueOf(FIRST);
    await queue.pause();
    const { id } = await client.order(PLAIN_ORDER);
    await waitFor("the job", async () => (await queue.getWaitingCount()) === 1);
    await expectToStay(worker);
    await queue.resume();
    await client.orderIn(id, "DELIVERED");
  });

  test("while Redis is away for everybody", async () => {
    const redis = await startTestRedis();
    started.push(() => redis.stop());
    const other = await startOther({ redisUrl: redis.url });
    environment.providers.setLatency(600);
    const worker = await addWorker({
      redisUrl: redis.url,
      // What it held when Redis went, it holds when Redis comes back: then it needs a moment.
      env: { WEDGED_AFTER_MS: "6000" },
    });
    const { id } = await other.order(PLAIN_ORDER);
    await other.orderIn(id, "RESERVED");
    redis.kill("SIGKILL");
    await expectToStay(worker);
    await redis.restart();
    await other.orderIn(id, "DELIVERED");
    expect(worker.process.running).toBe(true);
  });

  test("while MySQL is away", async () => {
    const mysql = await startTestMysql();
    started.push(() => mysql.stop());
    const redis = await startTestRedis();
    started.push(() => redis.stop());
    const sql = await createConnection(mysql.url);
    await sql.query("CREATE DATABASE outage CHARACTER SET utf8mb4");
    await sql.end();
    const databaseUrl = Object.assign(new URL(mysql.url), { pathname: "/outage" }).href;
    await migrateDatabase({ url: databaseUrl });
    const other = await startOther({ databaseUrl, redisUrl: redis.url });
    const worker = await addWorker({ databaseUrl, redisUrl: redis.url, args: ["--concurrency", "1"] });
    const connection = new Redis(redis.url);
    started.push(async () => connection.disconnect());
    const queue = queueOf(FIRST, connection);
    await queue.pause();
    const orders = [];
    for (let index = 0; index < 10; index++) orders.push(await other.order(PLAIN_ORDER));
    await waitFor("the jobs", async () => (await queue.getWaitingCount()) === orders.length);
    mysql.kill("SIGKILL");
    await queue.resume();
    await untilLogged(worker, "MySQL does not answer: taking no jobs until MySQL takes writes");
    await expectToStay(worker);
    await mysql.restart();
    for (const { id } of orders) await other.orderIn(id, "DELIVERED");
    expect(worker.process.running).toBe(true);
  });
});
