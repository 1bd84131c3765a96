import { createServer, type Server } from "node:http";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { migrateDatabase } from "../../db/migrate.ts";
import { PROVIDERS, type Provider } from "../../tools/simulators/providers.ts";
import { findStock, setStock } from "../../db/stock.ts";
import type { NewOrder } from "../../src/order/order.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { BASIC } from "../support/api.ts";
import { ContractClient } from "../support/contract.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { createOrder, statusesOf } from "../support/orders.ts";
import { startOwnMysql } from "../support/own-mysql.ts";
import { start, startApi, type TestProcess } from "../support/processes.ts";
import { startTestMysql } from "../support/servers.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

const QUICK = {
  PROCESSING: "sync",
  PROBE_INTERVAL_MS: "100",
  SWEEP_INTERVAL_MS: "100",
  SWEEP_AFTER_MS: "500",
  // The machine may be busy.
  DATABASE_TIMEOUT_MS: "20000",
};
/** Nobody looks for orders that were left. */
const NO_SWEEP = { SWEEP_AFTER_MS: "86400000" };
const LOADED = 1_000;

interface Api {
  readonly process: TestProcess;
  readonly client: ContractClient;
}

let environment: TestEnvironment;
/** An API for tests that need nothing special; it carries on what it began itself, and nothing else. */
let api: Api;
beforeAll(async () => {
  environment = await createTestEnvironment();
  api = await open(NO_SWEEP);
});
afterAll(async () => {
  await api.process.stop();
  await environment.close();
});

/** APIs that a test has started, ended after it. */
const started: Api[] = [];
afterEach(async () => {
  for (const { process } of started.splice(0)) await process.stop();
  for (const provider of PROVIDERS) switched(provider, "up");
  environment.providers.setLatency(0);
  environment.providers.setTransit(0);
});

async function serve(env: Readonly<Record<string, string>> = {}, databaseUrl?: string): Promise<Api> {
  const own = await open(env, databaseUrl);
  started.push(own);
  return own;
}

/** An API that is told of no Redis. */
async function open(
  env: Readonly<Record<string, string>>,
  databaseUrl = environment.databaseUrl,
): Promise<Api> {
  const process = await startApi({
    databaseUrl,
    providers: environment.providers,
    env: { ...QUICK, ...env },
  });
  return { process, client: await ContractClient.of(process.url) };
}

/** A customer and goods that no other test knows. */
let count = 0;
let customerId: string;
let sku: string;
beforeEach(async () => {
  count++;
  customerId = `cust-${count}`;
  sku = `SKU-${count}`;
  await setStock(environment.database, [{ sku, onHand: LOADED }]);
});

const order = (given: object = {}) => ({
  customerId,
  currency: "EUR",
  lines: [{ sku, quantity: 2, unitPrice: 1250 }],
  ...given,
});
const place = ({ client }: Api, given: object = {}, key?: string) =>
  client.post("/orders", order(given), key === undefined ? {} : { "idempotency-key": `${key} ${count}` });
const cancel = ({ client }: Api, id: string) => client.post(`/orders/${id}/cancel`, { reason: "by mistake" });
const leave = (given: Partial<NewOrder> = {}) =>
  createOrder(environment.database, { ...given, customerId, lines: order().lines });
const switched = (provider: Provider, state: "up" | "down") =>
  environment.providers.setFault(provider, { kind: state === "up" ? "none" : "down" });
const books = async (id: string) =>
  environment.providers
    .entriesOf(id)
    .map(({ kind, outcome }) => `${kind} ${outcome}`)
    .toSorted();
const path = (id: string) => statusesOf(environment.database, id);
const stock = async () => (await findStock(environment.database, [sku]))[0];
const left = (pieces: number) => ({ sku, onHand: LOADED - pieces, reserved: 0 });
/** The test's only order, once it is there, or once it has this status. */
const orderIn = ({ client }: Api, status?: string) =>
  waitFor(`an order in ${status ?? "any status"}`, async () => {
    const [found] = await client.orders({ ...(status === undefined ? {} : { status }), customerId });
    return found;
  });

async function kill({ process }: Api): Promise<void> {
  process.process.kill("SIGKILL");
  await process.process.exited;
}

const DELIVERED = ["charge approved", "label approved"];

describe("an order is carried to its end while the client waits", () => {
  test("and delivered: charged once, labelled once, gone from the stock", async () => {
    const answer = await place(api, { paymentToken: "tok_approved" });
    expect(answer).toMatchObject({ status: 201, body: { status: "DELIVERED", total: 2500 } });
    const { id } = answer.body;
    expect(answer.headers.get("location")).toBe(`/orders/${id}`);
    expect((await api.client.get(`/orders/${id}`)).body).toEqual(answer.body);
    expect(await path(id)).toEqual(lifecycle.statuses.slice(0, -1));
    expect(await books(id)).toEqual(DELIVERED);
    expect(await stock()).toEqual(left(2));
  });

  test("or cancelled, when the card is declined or the stock runs out", async () => {
    const declined = await place(api, { paymentToken: "tok_declined" });
    expect(declined).toMatchObject({
      status: 201,
      body: { status: "CANCELLED", cancellation: { reason: "payment declined: the card was declined" } },
    });
    const soldOut = await place(api, { lines: [{ sku: "NOBODY-HAS", quantity: 1, unitPrice: 100 }] });
    expect(soldOut).toMatchObject({
      status: 201,
      body: { status: "CANCELLED", cancellation: { reason: "sold out: NOBODY-HAS" } },
    });
    expect(await stock()).toEqual(left(0));
  });

  test("or to the road, from which it arrives by itself", async () => {
    environment.providers.setTransit(1_000);
    const own = await serve(NO_SWEEP);
    const { status, body } = await place(own);
    expect([status, body.status]).toEqual([201, "SHIPPED"]);
    expect(await own.client.orderIn(body.id, "DELIVERED")).not.toHaveProperty("failed");
  });
});

describe("there is no Redis, and", () => {
  test("the service is ready with MySQL alone, and has no board", async () => {
    expect(await api.client.get("/health/ready")).toMatchObject({
      status: 200,
      body: { ready: true, checks: { mysql: { ready: true } } },
    });
    const { body } = await api.client.get<{ checks: object }>("/health/ready");
    expect(Object.keys(body.checks)).toEqual(["mysql"]);
    expect((await fetch(`${api.client.url}/queues`, { headers: BASIC })).status).toBe(401);
    expect((await api.client.get("/queues")).status).toBe(404);
    expect((await fetch(`${api.client.url}/docs`, { headers: BASIC })).status).toBe(200);
  });

  test("operators have the console, without what is about queues", async () => {
    for (const page of ["", "/history", "/orders", "/failures", "/queues", "/actions"])
      expect((await fetch(`${api.client.url}/console${page}`, { headers: BASIC })).status).toBe(200);
    const overview = await (await fetch(`${api.client.url}/console`, { headers: BASIC })).text();
    expect(overview).toContain("MySQL");
    for (const absent of ["Redis", "/queues", "Workers"]) expect(overview).not.toContain(absent);
  });

  test("a service that is to have queues does not start without", async () => {
    const { databaseUrl } = environment;
    const none = start("src/main.ts", { databaseUrl, env: { PORT: "0" } });
    expect((await none.process.exited).code).toBe(1);
    expect(none.lines).toEqual([
      "the configuration is invalid:",
      "  REDIS_URL must be set, unless PROCESSING is sync",
    ]);
  });
});

describe("a stage that fails has the order cancelled and undone, and the client told so", () => {
  test("for an order that nobody can serve: at once", async () => {
    const answer = await place(api, { paymentToken: "tok_down" });
    const { orderId = "", ...problem } = answer.body;
    expect([answer.status, problem]).toEqual([
      503,
      {
        type: "urn:conveyor:problem:not-processed",
        title: "The order could not be processed",
        status: 503,
        detail: expect.stringMatching(`^order ${orderId} is cancelled: pay failed: payments answered 503; `),
        orderStatus: "CANCELLED",
      },
    ]);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await api.client.get(`/orders/${orderId}`)).body).toMatchObject({
      status: "CANCELLED",
      cancellation: { reason: "pay failed: payments answered 503" },
    });
    expect(await books(orderId)).toEqual(["charge void"]);
    expect(await stock()).toEqual(left(0));
  });

  test.each([
    ["inventory", "CREATED", [], []],
    ["payments", "RESERVED", [], ["charge void"]],
    [
      "carrier",
      "PAID",
      ["charge approved", "refund approved"],
      ["charge approved", "label void", "refund approved"],
    ],
  ] as const)(
    "while %s is down: what can be undone at once, and the rest when it is back",
    async (provider, at, before, after) => {
      switched(provider, "down");
      const own = await serve(NO_SWEEP);
      const answer = await place(own, {}, "first try");
      expect(answer).toMatchObject({ status: 503, body: { orderStatus: at } });
      const id = answer.body.orderId ?? "";
      expect(answer.body.detail).toContain("will be cancelled");
      expect(await books(id)).toEqual(before);
      expect(await stock()).toEqual(left(0));

      // Whoever asks again is told where it stands; it is never carried on.
      const again = await place(own, {}, "first try");
      expect(again).toMatchObject({ status: 201, body: { id, status: at, cancellation: {} } });
      expect(again.headers.get("idempotent-replayed")).toBe("true");

      switched(provider, "up");
      expect(await own.client.orderIn(id, "CANCELLED")).not.toHaveProperty("failed");
      expect(await books(id)).toEqual(after);
      expect(await place(own, {}, "first try")).toMatchObject({
        status: 201,
        body: { id, status: "CANCELLED" },
      });
      expect(await place(own, {}, "second try")).toMatchObject({
        status: 201,
        body: { status: "DELIVERED" },
      });
      expect(await stock()).toEqual(left(2));
    },
  );

  test("after its time, when the service does not answer at all", async () => {
    environment.providers.setLatency(3_000);
    const own = await serve({ STAGE_TIMEOUT_MS: "500", ...NO_SWEEP });
    const answer = await place(own);
    expect(answer).toMatchObject({
      status: 503,
      body: { detail: expect.stringContaining("pay failed: payments did not answer within 400 ms") },
    });
  });
});

describe("what can't be undone at all", () => {
  let provider: Server;
  let refunds = 200;
  beforeAll(async () => {
    provider = createServer((request, response) => {
      const key = String(request.headers["webhook-id"]);
      const [status, done] = key.endsWith(":undo")
        ? [refunds, { refundId: "re" }]
        : [200, { chargeId: "ch" }];
      // Nothing is found that could not be refunded.
      const answer = key.endsWith(":undo:find") ? [204] : [status, JSON.stringify({ done })];
      request.resume().on("end", () => response.writeHead(Number(answer[0])).end(answer[1]));
    }).listen(0, "127.0.0.1");
    await once(provider, "listening");
  });
  afterAll(() => {
    provider.close();
    provider.closeAllConnections();
  });

  test("waits for a person, and is resumed", async () => {
    const address = provider.address();
    const PAYMENTS_URL = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
    const own = await serve({ PAYMENTS_URL, STAGE_ATTEMPTS: "2", STAGE_BACKOFF_MS: "10" });
    switched("carrier", "down");
    refunds = 400;
    const { status, body } = await place(own);
    expect([status, body.orderStatus]).toEqual([503, "PAID"]);
    const [failed] = await waitFor("the order to rest", async () => {
      const found = await own.client.orders({ failed: "true", customerId });
      return found.length > 0 && found;
    });
    expect(failed).toMatchObject({ id: body.orderId, failed: { stage: "cancel" } });

    refunds = 200;
    switched("carrier", "up");
    const resumed = await own.client.post<{ resumed: number }>("/orders/resume", { stage: "cancel" });
    expect(resumed.status).toBe(202);
    // An order that another test has left to be undone may have come to rest here too.
    expect(resumed.body.resumed).toBeGreaterThanOrEqual(1);
    expect(await own.client.orderIn(body.orderId ?? "", "CANCELLED")).not.toHaveProperty("failed");
  });
});

describe("a request that is repeated under its idempotency key", () => {
  test("makes one order when fifty come at once, to two processes, and gets fifty equal answers", async () => {
    const other = await serve(NO_SWEEP);
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => place(index % 2 === 0 ? api : other, {}, "fifty")),
    );
    expect(new Set(answers.map(({ status, body }) => JSON.stringify([status, body]))).size).toBe(1);
    const [first] = answers;
    expect(first).toMatchObject({ status: 201, body: { status: "DELIVERED" } });
    expect(answers.filter(({ headers }) => headers.get("idempotent-replayed") === null)).toHaveLength(1);
    expect(await api.client.orders({ customerId })).toHaveLength(1);
    expect(await books(first?.body.id ?? "")).toEqual(DELIVERED);
    expect(await stock()).toEqual(left(2));
  });

  test("with another body is refused, and does nothing", async () => {
    await place(api, {}, "mine");
    const other = await place(api, { reference: "INV-2" }, "mine");
    expect(other).toMatchObject({
      status: 422,
      body: { type: "urn:conveyor:problem:idempotency-key-reused" },
    });
    expect(await api.client.orders({ customerId })).toHaveLength(1);
  });
});

describe("a customer who cancels", () => {
  test("while the order is on its way has it undone, and the one who ordered told", async () => {
    environment.providers.setLatency(1_500);
    const own = await serve(NO_SWEEP);
    const answer = place(own);
    const { id } = await orderIn(own, "RESERVED");
    expect(await cancel(own, id)).toMatchObject({ status: 202, body: { id, cancellation: {} } });
    expect(await answer).toMatchObject({
      status: 201,
      body: { id, status: "CANCELLED", cancellation: { reason: "by mistake" } },
    });
    expect(await books(id)).toEqual(["charge approved", "refund approved"]);
    expect(await stock()).toEqual(left(0));
  });

  test("an order that nobody carries on has it undone at once", async () => {
    const id = await leave();
    expect(await cancel(api, id)).toMatchObject({ status: 202, body: { id, status: "CREATED" } });
    expect(await api.client.orderIn(id, "CANCELLED")).toMatchObject({
      cancellation: { reason: "by mistake" },
    });
  });

  test("too late is told so", async () => {
    const { body } = await place(api);
    expect(await cancel(api, body.id)).toMatchObject({ status: 409, body: { orderStatus: "DELIVERED" } });
  });
});

describe("a process that is killed", () => {
  test("in the middle of many orders loses none: another one carries each to its end, once", async () => {
    environment.providers.setLatency(150);
    environment.providers.setTransit(100);
    const own = await serve();
    const answers = Promise.allSettled(Array.from({ length: 60 }, () => place(own)));
    await orderIn(own, "SHIPPED");
    await kill(own);
    await answers;
    const next = await serve();
    const orders = await waitFor("all to be delivered", async () => {
      const all = await next.client.orders({ customerId });
      return all.length > 0 && all.every(({ status }) => status === "DELIVERED") && all;
    });
    for (const { id } of orders) {
      expect(await books(id)).toEqual(DELIVERED);
      expect(await path(id)).toEqual(lifecycle.statuses.slice(0, -1));
    }
    expect(await stock()).toEqual(left(2 * orders.length));
  });

  test("has the client's repetition go on with the same order", async () => {
    environment.providers.setLatency(5_000);
    const own = await serve(NO_SWEEP);
    const cut = place(own, {}, "mine").catch(() => undefined);
    const { id } = await orderIn(own, "RESERVED");
    await kill(own);
    expect(await cut).toBeUndefined();
    environment.providers.setLatency(0);
    const again = await place(api, {}, "mine");
    expect(again).toMatchObject({ status: 201, body: { id, status: "DELIVERED" } });
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(await books(id)).toEqual(DELIVERED);
  });

  test("with an order half undone has the rest undone by another one, and nothing twice", async () => {
    const own = await serve(NO_SWEEP);
    switched("carrier", "down");
    const { body } = await place(own);
    expect(body.orderStatus).toBe("PAID");
    await kill(own);
    switched("carrier", "up");
    const next = await serve();
    const id = body.orderId ?? "";
    await next.client.orderIn(id, "CANCELLED");
    expect(await books(id)).toEqual(["charge approved", "label void", "refund approved"]);
    expect(await stock()).toEqual(left(0));
  });
});

describe("a process that is stopped", () => {
  test("answers first what is under way", async () => {
    environment.providers.setLatency(500);
    const own = await serve();
    const answer = place(own);
    await orderIn(own);
    expect(await own.process.stop()).toBe(0);
    expect(await answer).toMatchObject({ status: 201, body: { status: "DELIVERED" } });
  });

  test("leaves what takes too long where it stands, for the next one", async () => {
    environment.providers.setLatency(9_000);
    const own = await serve({ SHUTDOWN_TIMEOUT_MS: "300" });
    const answer = place(own);
    const { id } = await orderIn(own, "RESERVED");
    expect(await own.process.stop()).toBe(0);
    expect(await answer).toMatchObject({ status: 202, body: { id, status: "RESERVED" } });
    environment.providers.setLatency(0);
    const next = await serve();
    expect(await next.client.orderIn(id, "DELIVERED")).not.toHaveProperty("cancellation");
    expect(await books(id)).toEqual(DELIVERED);
  });
});

test.each(["on", "off"])(
  "a hot product is never oversold to 200 at once, with group commit %s",
  async (commit) => {
    const seller = commit === "on" ? api : await serve({ GROUP_COMMIT: commit, ...NO_SWEEP });
    await seller.client.put(`/stock/${sku}`, { onHand: 60 });
    const lines = [{ sku, quantity: 1, unitPrice: 100 }];
    const answers = await Promise.all(Array.from({ length: 200 }, () => place(seller, { lines })));
    const counts = new Map<string, number>();
    for (const { status, body } of answers) {
      const told = [status, body.status].join(" ");
      counts.set(told, (counts.get(told) ?? 0) + 1);
    }
    expect(Object.fromEntries(counts)).toEqual({ "201 DELIVERED": 60, "201 CANCELLED": 140 });
    expect(await stock()).toEqual({ sku, onHand: 0, reserved: 0 });
  },
);

test("an order that was left until its payment came too late is cancelled, not charged", async () => {
  const id = await leave({ createdAt: new Date(Date.now() - 60_000) });
  const own = await serve({ PAYMENT_DEADLINE: "30s", ...NO_SWEEP });
  expect(await own.client.orderIn(id, "CANCELLED")).toMatchObject({
    cancellation: { reason: "not paid within 30 seconds" },
  });
  expect(await books(id)).not.toContain("charge approved");
});

test("MySQL that hangs in the middle has the order accepted, and go on when it is back", async () => {
  const mysql = await startTestMysql();
  try {
    const connection = await createConnection(mysql.url);
    await connection.query("CREATE DATABASE outage CHARACTER SET utf8mb4");
    await connection.end();
    const databaseUrl = Object.assign(new URL(mysql.url), { pathname: "/outage" }).href;
    await migrateDatabase({ url: databaseUrl });
    environment.providers.setLatency(2_000);
    const own = await serve({ DATABASE_TIMEOUT_MS: "3000" }, databaseUrl);
    await own.client.put(`/stock/${sku}`, { onHand: LOADED });
    const answer = place(own);
    const { id } = await orderIn(own, "RESERVED");
    mysql.kill("SIGSTOP");
    // It was written down: who was told to come again would order twice.
    expect(await answer).toMatchObject({ status: 202, body: { id } });
    mysql.kill("SIGCONT");
    const delivered = await waitFor("the order to arrive", async () => {
      const { body } = await own.client.get(`/orders/${id}`);
      return body.status === "DELIVERED" && body;
    });
    expect(delivered).not.toHaveProperty("failed");
    await own.process.stop();
  } finally {
    mysql.kill("SIGCONT");
    await mysql.stop();
  }
});

test("MySQL that hangs for longer than a stage may take, and is back before it counts as away, costs the order nothing", async () => {
  const mysql = await startOwnMysql();
  try {
    const limits = { STAGE_TIMEOUT_MS: "2000", DATABASE_TIMEOUT_MS: "20000" };
    environment.providers.setLatency(1_000);
    const own = await serve(limits, mysql.databaseUrl);
    await own.client.put(`/stock/${sku}`, { onHand: LOADED });
    const answer = place(own);
    await orderIn(own, "RESERVED");
    mysql.server.kill("SIGSTOP");
    await sleep(3_000);
    mysql.server.kill("SIGCONT");
    expect(await answer).toMatchObject({ status: 201, body: { status: "DELIVERED" } });
    await own.process.stop();
  } finally {
    mysql.server.kill("SIGCONT");
    await mysql.stop();
  }
});

test("MySQL that takes no writes in the middle has the order accepted and not cancelled, and go on afterwards", async () => {
  const mysql = await startOwnMysql();
  try {
    environment.providers.setLatency(2_000);
    const own = await serve({}, mysql.databaseUrl);
    await own.client.put(`/stock/${sku}`, { onHand: LOADED });
    const answer = place(own);
    const { id } = await orderIn(own, "RESERVED");
    await mysql.admin("SET GLOBAL read_only = 1");
    expect(await answer).toMatchObject({ status: 202, body: { id } });
    expect((await own.client.get(`/orders/${id}`)).body).toMatchObject({ status: "RESERVED" });
    expect(await place(own)).toMatchObject({ status: 503 });
    await mysql.admin("SET GLOBAL read_only = 0");
    const delivered = await waitFor("the order to arrive", async () => {
      const { body } = await own.client.get(`/orders/${id}`);
      return body.status === "DELIVERED" && body;
    });
    expect(delivered).not.toHaveProperty("failed");
    expect(delivered).not.toHaveProperty("cancellation");
    await own.process.stop();
  } finally {
    await mysql.stop();
  }
});
