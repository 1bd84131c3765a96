import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { migrateDatabase } from "../../db/migrate.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { startOwnMysql, type OwnMysql } from "../support/own-mysql.ts";
import { startApi, startWorker, untilLogged, type TestProcess } from "../support/processes.ts";
import { startTestMysql } from "../support/servers.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

let line: TestLine;
beforeEach(async () => {
  line = await startLine({
    workers: 0,
    ownRedis: true,
    latencyMs: 10,
    env: {
      SWEEP_INTERVAL_MS: "100",
      SWEEP_AFTER_MS: "500",
      STAGE_ATTEMPTS: "3",
      PROBE_INTERVAL_MS: "100",
    },
  });
  await line.client.put("/stock/MUG-BLUE", { onHand: 10_000 });
});
afterEach(() => line.close());

const place = (given: object = {}) => line.client.order({ ...PLAIN_ORDER, ...given });
const books = async (id: string) =>
  line.environment.providers
    .entriesOf(id)
    .map((entry) => `${entry.kind} ${entry.outcome}`)
    .toSorted();
const stock = async () => {
  const { onHand, reserved } = (await line.client.get("/stock/MUG-BLUE")).body;
  return { onHand, reserved };
};
const failed = (id: string) =>
  waitFor(
    "the order to fail",
    async () => (await line.client.get(`/orders/${id}`)).body.failed !== undefined,
  );

describe("nothing that was accepted is lost", () => {
  test("when all workers are killed and Redis is flushed with orders in flight", async () => {
    const before = [await line.addWorker(), await line.addWorker()];
    const ids: string[] = [];
    for (let index = 0; index < 300; index++) ids.push((await place()).id);
    for (const worker of before) worker.process.kill("SIGKILL");
    await Promise.all(before.map((worker) => worker.process.exited));
    await line.environment.redis.flushdb();
    await line.addWorker();
    await line.addWorker();
    await waitFor(
      "all to be delivered",
      async () => (await line.client.orders({ status: "DELIVERED" })).length === ids.length,
    );
    for (const id of ids) expect(await books(id)).toEqual(["charge approved", "label approved"]);
    expect(await stock()).toEqual({ onHand: 10_000 - 2 * ids.length, reserved: 0 });
  });

  test("when Redis takes no writes while orders are accepted", async () => {
    await line.addWorker();
    const { redis } = line.environment;
    await redis.config("SET", "min-replicas-to-write", "1");
    const order = await place();
    await redis.config("SET", "min-replicas-to-write", "0");
    await line.client.orderIn(order.id, "DELIVERED");
  });
});

test("a MySQL that is away costs no order an attempt, however long it is", async () => {
  const mysql = await startTestMysql();
  const connection = await createConnection(mysql.url);
  await connection.query("CREATE DATABASE outage CHARACTER SET utf8mb4");
  await connection.end();
  const databaseUrl = Object.assign(new URL(mysql.url), { pathname: "/outage" }).href;
  await migrateDatabase({ url: databaseUrl });
  const options = {
    databaseUrl,
    redisUrl: line.environment.redisUrl,
    providers: line.environment.providers,
    env: { REDIS_PREFIX: "other", STAGE_ATTEMPTS: "1" },
  };
  line.environment.providers.setTransit(500);
  const api = await startApi(options);
  const worker = await startWorker(options);
  try {
    const client = new TestClient(api.url);
    await client.put("/stock/MUG-BLUE", { onHand: 10_000 });
    const orders = [];
    for (let index = 0; index < 100; index++) orders.push(await client.order(PLAIN_ORDER));
    mysql.kill("SIGKILL");
    await untilLogged(worker, "MySQL does not answer: taking no jobs until MySQL takes writes");
    expect(await client.post("/orders", PLAIN_ORDER)).toMatchObject({
      status: 503,
      body: { type: "urn:conveyor:problem:unavailable" },
    });
    await mysql.restart();
    await untilLogged(worker, "MySQL takes writes again: taking jobs");
    for (const { id } of orders) await client.orderIn(id, "DELIVERED");
    expect(await client.orders({ failed: "true" })).toEqual([]);
    const burned = worker
      .logs()
      .filter((entry) => entry["msg"] === "failed" || entry["msg"] === "will be retried");
    expect(burned).toEqual([]);
  } finally {
    await Promise.all([api.stop(), worker.stop()]);
    await mysql.stop();
  }
});

describe("costs no order an attempt, and holds nobody longer than it lasts", () => {
  let mysql: OwnMysql;
  let api: TestProcess & { readonly url: string };
  let worker: TestProcess;
  let client: TestClient;
  beforeEach(async () => {
    mysql = await startOwnMysql();
    const options = {
      databaseUrl: mysql.databaseUrl,
      redisUrl: line.environment.redisUrl,
      providers: line.environment.providers,
      env: {
        REDIS_PREFIX: "other",
        STAGE_ATTEMPTS: "1",
        LOG_LEVEL: "debug",
      },
    };
    line.environment.providers.setTransit(500);
    [api, worker] = await Promise.all([startApi(options), startWorker(options)]);
    client = new TestClient(api.url);
    await client.post("/stock", {
      items: ["MUG-BLUE", "MUG-RED"].map((sku) => ({ sku, onHand: 10_000 })),
    });
  });
  afterEach(async () => {
    await Promise.all([api.stop(), worker.stop()]);
    await mysql.stop();
  });
  const burned = () =>
    worker.logs().filter((entry) => entry["msg"] === "failed" || entry["msg"] === "will be retried");

  test("a MySQL that takes no writes", async () => {
    const orders = [];
    for (let index = 0; index < 50; index++) orders.push(await client.order(PLAIN_ORDER));
    await mysql.admin("SET GLOBAL read_only = 1");
    const { error } = await untilLogged(
      worker,
      "MySQL takes no writes: taking no jobs until MySQL takes writes",
    );
    expect(error).toBe("MySQL takes no writes: it is read-only (1290)");
    expect(await client.get("/orders")).toMatchObject({ status: 200 });
    await mysql.admin("SET GLOBAL read_only = 0");
    await untilLogged(worker, "MySQL takes writes again: taking jobs");
    for (const { id } of orders) await client.orderIn(id, "DELIVERED");
    expect(await client.orders({ failed: "true" })).toEqual([]);
    expect(burned()).toEqual([]);
  });

  test("a row that somebody else has locked", async () => {
    const other = await createConnection(mysql.databaseUrl);
    await other.query("START TRANSACTION");
    await other.query("SELECT * FROM stock WHERE sku = 'MUG-BLUE' FOR UPDATE");
    const blocked = await client.order({
      ...PLAIN_ORDER,
      lines: [{ ...PLAIN_ORDER.lines[0], sku: "MUG-BLUE" }],
    });
    await waitFor("an attempt that waited in vain", () =>
      worker.logs().some((entry) => entry["msg"] === "database busy"),
    );
    await other.end();
    await client.orderIn(blocked.id, "DELIVERED");
    expect(burned()).toEqual([]);
    expect(worker.logs().filter((entry) => String(entry["msg"]).includes("taking no jobs"))).toEqual([]);
  });
});

describe("orders that failed", () => {
  const resume = (body: object) => line.client.post<{ resumed: number }>("/orders/resume", body);

  test("go on with all their attempts when they are resumed, once however often that is asked", async () => {
    await line.addWorker();
    const orders = await Promise.all(Array.from({ length: 40 }, () => place({ paymentToken: "tok_down" })));
    for (const { id } of orders) await failed(id);
    line.environment.providers.setFault("payments", { kind: "none" });
    const answers = await Promise.all([resume({}), resume({}), resume({ stage: "pay" })]);
    expect(answers.map((answer) => answer.status)).toEqual([202, 202, 202]);
    expect(answers.reduce((sum, answer) => sum + answer.body.resumed, 0)).toBe(orders.length);
    for (const { id } of orders) {
      expect(await line.client.orderIn(id, "DELIVERED")).not.toHaveProperty("failed");
      expect(await books(id)).toEqual(["charge approved", "label approved"]);
    }
  });

  test("have all their attempts again, and fail again when these are used up", async () => {
    await line.addWorker();
    const order = await place({ paymentToken: "tok_down" });
    await failed(order.id);
    expect((await resume({})).body).toEqual({ resumed: 1 });
    await waitFor(
      "six attempts",
      async () => line.environment.providers.entriesOf(order.id)[0]?.attempts === 6,
    );
    await failed(order.id);
  });

  test("are chosen by stage, reason and time", async () => {
    await line.addWorker();
    const order = await place({ paymentToken: "tok_down" });
    await failed(order.id);
    const { failed: failure } = (await line.client.get(`/orders/${order.id}`)).body;
    expect((await resume({ stage: "ship" })).body).toEqual({ resumed: 0 });
    expect((await resume({ reason: "another" })).body).toEqual({ resumed: 0 });
    expect((await resume({ before: failure?.at })).body).toEqual({ resumed: 0 });
    expect(
      (await resume({ stage: "pay", reason: failure?.reason, before: new Date().toISOString() })).body,
    ).toEqual({
      resumed: 1,
    });
  });

  test("are not resumed by a request that is not right", async () => {
    for (const body of [{ stage: "fly" }, { reason: "" }, { before: "yesterday" }, { all: true }, []]) {
      expect((await resume(body)).status).toBe(422);
    }
  });
});

describe("an order that is cancelled", () => {
  const cancel = (id: string, reason = "ordered by mistake") =>
    line.client.post(`/orders/${id}/cancel`, { reason });

  test("before anything was done is CANCELLED, and never worked on", async () => {
    const order = await place();
    const answer = await cancel(order.id);
    expect(answer).toMatchObject({
      status: 202,
      body: { id: order.id, status: "CREATED", cancellation: { reason: "ordered by mistake" } },
    });
    await line.addWorker();
    await line.client.orderIn(order.id, "CANCELLED");
    expect(await stock()).toEqual({ onHand: 10_000, reserved: 0 });
    expect((await books(order.id)).filter((entry) => entry.endsWith("approved"))).toEqual([]);
  });

  test("after it was paid is refunded once and its stock released, though the carrier is away", async () => {
    line.environment.providers.setFault("carrier", { kind: "down" });
    const worker = await line.addWorker();
    const order = await place();
    await line.client.orderIn(order.id, "PAID");
    await untilLogged(worker, "circuit open: the stage is held");
    expect(await stock()).toEqual({ onHand: 10_000, reserved: 2 });
    await cancel(order.id);
    await waitFor("the refund", async () => (await books(order.id)).includes("refund approved"));
    await waitFor("the stock to be released", async () => (await stock()).reserved === 0);
    // A label may have been made; until the carrier says that it is void, the order is not said to be cancelled.
    expect((await line.client.get(`/orders/${order.id}`)).body.status).toBe("PAID");
    line.environment.providers.setFault("carrier", { kind: "none" });
    expect(await line.client.orderIn(order.id, "CANCELLED")).not.toHaveProperty("failed");
    expect(await books(order.id)).toEqual(["charge approved", "label void", "refund approved"]);
    expect(await stock()).toEqual({ onHand: 10_000, reserved: 0 });
  });

  test("while its stage waits for a retry is not left waiting", async () => {
    await line.addWorker();
    const order = await place({ paymentToken: "tok_down" });
    await failed(order.id);
    expect((await cancel(order.id)).status).toBe(202);
    const cancelled = await line.client.orderIn(order.id, "CANCELLED");
    expect(cancelled.cancellation?.reason).toBe("ordered by mistake");
    expect(await books(order.id)).toEqual(["charge void"]);
    expect(await stock()).toEqual({ onHand: 10_000, reserved: 0 });
  });

  test("twice keeps the first reason", async () => {
    const order = await place();
    await cancel(order.id, "first");
    expect(await cancel(order.id, "second")).toMatchObject({
      status: 202,
      body: { cancellation: { reason: "first" } },
    });
    await line.addWorker();
    await line.client.orderIn(order.id, "CANCELLED");
    expect(await cancel(order.id, "third")).toMatchObject({
      status: 202,
      body: { status: "CANCELLED", cancellation: { reason: "first" } },
    });
  });

  test("too late is told where it stands, and goes on", async () => {
    await line.addWorker();
    const order = await place();
    await line.client.orderIn(order.id, "DELIVERED");
    expect(await cancel(order.id)).toMatchObject({
      status: 409,
      body: { type: "urn:conveyor:problem:too-late-to-cancel", orderStatus: "DELIVERED" },
    });
    expect((await line.client.get(`/orders/${order.id}`)).body).not.toHaveProperty("cancellation");
  });
});
