import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { Redis } from "ioredis";
import { freePort } from "../../tools/launcher/ports.ts";
import type { OrderBody } from "../../src/api/schemas.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { BASIC } from "../support/api.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { start, startApi, untilLogged, type TestProcess } from "../support/processes.ts";
import { startTestRedis, type TestServer } from "../support/servers.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(240_000);

/** Whoever burns an attempt burns the only one, and leaves its mark on the order. */
const ENV = {
  STAGE_ATTEMPTS: "1",
  SWEEP_INTERVAL_MS: "100",
  SWEEP_AFTER_MS: "500",
};
/** Orders at once: enough that some are in every stage when Redis goes. */
const LOAD = 30;
/** Redis is taken for gone after a second; nobody is to wait for that. */
const NOT_WAITED_FOR_REDIS_MS = 950;
/** Attempts to sweep that fail: so long an absence of writes lasts. */
const SWEEPS_MISSED = 10;
/** A worker complains once or twice of each job that it has in hand. One that goes on asking does so thousands of times. */
const FEW_COMPLAINTS = 5 * LOAD;

/** The same service lives through one absence after the other, and has to get over each. */
let environment: TestEnvironment;
let server: TestServer;
/** Tells Redis what to do, also while it takes no writes. */
let operator: Redis;
let api: TestProcess & { readonly url: string };
let worker: TestProcess;
let client: TestClient;

beforeAll(async () => {
  environment = await createTestEnvironment();
  server = await startTestRedis();
  operator = new Redis(server.url, { maxRetriesPerRequest: null });
  operator.on("error", () => undefined);
  server.kill("SIGKILL");
  environment.providers.setLatency(50);
  const options = { ...environment, redisUrl: server.url, env: ENV };
  api = await startApi(options);
  // Few at once, so that some wait when Redis goes.
  worker = start("workers/main.ts", { ...options, args: ["--concurrency", "5"] });
  client = new TestClient(api.url);
  await client.put("/stock/MUG-BLUE", { onHand: 100_000 });
});
afterAll(async () => {
  server.kill("SIGCONT");
  await Promise.all([api.stop(), worker.stop()]);
  operator.disconnect();
  await server.stop();
  await environment.close();
});

/** The answers to these requests, made at once; the quickest must not have waited for Redis. */
async function atOnce<T>(requests: readonly (() => Promise<T>)[]): Promise<T[]> {
  let quickest = Infinity;
  const answers = await Promise.all(
    requests.map(async (request) => {
      const before = performance.now();
      const answer = await request();
      quickest = Math.min(quickest, performance.now() - before);
      return answer;
    }),
  );
  expect(quickest).toBeLessThan(NOT_WAITED_FOR_REDIS_MS);
  return answers;
}

const place = () => atOnce(Array.from({ length: LOAD }, () => () => client.order(PLAIN_ORDER)));

/** An absence that ends a process is found here, and not by what comes to nothing later. */
function expectToRun(): void {
  for (const { process, lines } of [api, worker])
    if (!process.running) throw new Error(`a process has ended:\n${lines.slice(-20).join("\n")}`);
}

async function books(id: string): Promise<string[]> {
  const entries = environment.providers.entriesOf(id);
  return entries.map(({ kind, outcome, attempts }) => `${kind} ${outcome} ${attempts}`).toSorted();
}

async function expectDelivered(orders: readonly OrderBody[]): Promise<void> {
  for (const { id } of orders) await client.orderIn(id, "DELIVERED").finally(expectToRun);
  for (const { id } of orders) expect(await books(id)).toEqual(["charge approved 1", "label approved 1"]);
  expect(await client.orders({ failed: "true" })).toEqual([]);
}

const said = (by: TestProcess, message: string) => by.logs().filter(({ msg }) => msg === message).length;
const failedAttempts = () => said(worker, "failed") + said(worker, "will be retried");

interface Absence {
  readonly begin: () => Promise<unknown>;
  /** Who finds out, by which words, said so often. */
  readonly noticed: () => readonly [TestProcess, string, number];
  readonly end: () => Promise<unknown>;
}

const ABSENCES: Record<string, Absence> = {
  killed: {
    begin: async () => server.kill("SIGKILL"),
    noticed: () => [worker, "Redis does not answer", 1],
    end: () => server.restart(),
  },
  frozen: {
    begin: async () => server.kill("SIGSTOP"),
    noticed: () => [api, "accepted, but not queued yet", 1],
    end: async () => server.kill("SIGCONT"),
  },
  "out of memory": {
    begin: () => operator.config("SET", "maxmemory", "1"),
    noticed: () => [worker, "could not sweep", SWEEPS_MISSED],
    end: () => operator.config("SET", "maxmemory", "0"),
  },
  "read-only": {
    begin: async () => operator.replicaof("127.0.0.1", await freePort()),
    noticed: () => [worker, "could not sweep", SWEEPS_MISSED],
    end: () => operator.replicaof("NO", "ONE"),
  },
  "short of replicas": {
    begin: () => operator.config("SET", "min-replicas-to-write", "1"),
    noticed: () => [worker, "could not sweep", SWEEPS_MISSED],
    end: () => operator.config("SET", "min-replicas-to-write", "0"),
  },
};

/** Has Redis away for as long as `during` takes, and until everybody has found out. */
async function whileAway<T>({ begin, noticed, end }: Absence, during: () => Promise<T>): Promise<T> {
  const [by, words, times] = noticed();
  const before = said(by, words);
  await begin();
  const result = await during();
  await waitFor(`"${words}" to be said ${times} times`, () => said(by, words) >= before + times);
  await end();
  return result;
}

const cancel = (id: string) => client.post(`/orders/${id}/cancel`, { reason: "changed my mind" });

describe("every order is taken at once, carried on, and loses no attempt", () => {
  test("when Redis is absent at the start", async () => {
    const before = await place();
    await server.restart();
    await untilLogged(worker, "worker ready");
    await expectDelivered([...before, ...(await place())]);
  });

  test.each(Object.entries(ABSENCES))("when Redis is %s for a while", async (_, absence) => {
    const complaints = said(worker, "worker error");
    const before = await place();
    const { during, cancelled } = await whileAway(absence, async () => {
      const [first, ...others] = await place();
      const answers = first ? await atOnce([() => cancel(first.id)]) : [];
      expect(answers).toMatchObject([{ status: 202, body: { cancellation: {} } }]);
      return { during: others, cancelled: first?.id ?? "" };
    });
    const after = await place();
    await expectDelivered([...before, ...during, ...after]);
    await client.orderIn(cancelled, "CANCELLED");
    expect((await books(cancelled)).filter((entry) => entry.includes("approved"))).toEqual([]);
    expect(said(worker, "worker error") - complaints).toBeLessThan(FEW_COMPLAINTS);
  });

  test("and in the end no job is left that nobody works on", async () => {
    const queues = lifecycle.steps.map(({ name }) => `{${name}}:${name}`);
    await waitFor("every queue to be at rest", async () => {
      const active = await Promise.all(queues.map((queue) => operator.llen(`${queue}:active`)));
      return active.every((count) => count === 0);
    });
    for (const queue of queues) expect(await operator.zrange(`${queue}:failed`, "0", "-1")).toEqual([]);
    expect(failedAttempts()).toBe(0);
  });
});

test.each(["killed", "frozen"])("operators are told so by the console when Redis is %s", async (how) => {
  const { id } = await client.order(PLAIN_ORDER);
  await client.orderIn(id, "DELIVERED");
  const absence = ABSENCES[how];
  if (absence === undefined) throw new Error("there is no such absence");
  await whileAway(absence, async () => {
    // Only what is taken in finds out, and tells the log.
    await place();
    const pages = ["", "/orders", `/orders/${id}`, "/failures", "/queues", "/webhooks", "/actions"];
    for (const page of pages) {
      const response = await fetch(`${api.url}/console${page}`, { headers: BASIC });
      expect([page, response.status]).toEqual([page, 200]);
      if (page === "") expect(await response.text()).toContain("Redis is not ready");
      else await response.body?.cancel();
    }
  });
});

test("orders that failed are resumed while Redis takes no writes, and go on after that", async () => {
  const { id } = await client.order({ ...PLAIN_ORDER, paymentToken: "tok_down" });
  const failed = () =>
    waitFor("the order to fail", async () => (await client.get(`/orders/${id}`)).body.failed);
  await failed();
  expect(await books(id)).toEqual(["charge pending 1"]);
  const absence = ABSENCES["read-only"];
  if (absence === undefined) throw new Error("there is no such absence");
  const answers = await whileAway(absence, () => atOnce([() => client.post("/orders/resume", {})]));
  expect(answers).toMatchObject([{ status: 202, body: { resumed: 1 } }]);
  await waitFor("another attempt", async () => (await books(id)).includes("charge pending 2"));
  await failed();
});
