import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { startOwnMysql, type OwnMysql } from "../support/own-mysql.ts";
import { WITHOUT_TROUBLE } from "../support/orders.ts";
import { startApi, startWorker, TEST_KEY, type TestProcess } from "../support/processes.ts";
import { startTestRedis, type TestServer } from "../support/servers.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(240_000);

const ORDERS = 30;
let mysql: OwnMysql;
let redis: TestServer;
let providers: Providers;
let processes: TestProcess[];
beforeEach(async () => {
  [mysql, redis] = await Promise.all([startOwnMysql(), startTestRedis()]);
  providers = await startProviders({ latencyMs: 200, transitMs: 200 });
  processes = [];
});
afterEach(async () => {
  for (const server of [mysql.server, redis]) server.kill("SIGCONT");
  await Promise.all(processes.map((each) => each.stop()));
  await Promise.all([mysql.stop(), redis.stop(), providers.close()]);
});

/** An API and a worker whose stages have one attempt, and keep orders for a while, so that some are in each. */
async function startShop(env: Readonly<Record<string, string>>): Promise<TestClient> {
  const options = {
    databaseUrl: mysql.databaseUrl,
    redisUrl: redis.url,
    providers,
    env: { STAGE_ATTEMPTS: "1", ...env },
  };
  const api = await startApi(options);
  processes.push(api, await startWorker(options));
  // A connection that was idle while a server stood still may be closed just when it is used again.
  const client = new TestClient(api.url, { authorization: `Bearer ${TEST_KEY}`, connection: "close" });
  await client.put("/stock/MUG-BLUE", { onHand: 10_000 });
  return client;
}

/** Has a server or a process stand still, for each of these milliseconds, with orders in every stage; all must arrive, at the first attempt. */
async function expectNoAttemptUsed(
  client: TestClient,
  server: Pick<TestServer, "kill">,
  spans: readonly number[],
): Promise<void> {
  for (const span of spans) {
    const orders = await Promise.all(Array.from({ length: ORDERS }, () => client.order(PLAIN_ORDER)));
    await waitFor("an order to be paid", async () => (await client.orders({ status: "PAID" })).length > 0);
    server.kill("SIGSTOP");
    await sleep(span);
    server.kill("SIGCONT");
    for (const { id } of orders) {
      const arrived = waitFor(`${id} to arrive, or to fail`, async () => {
        const { status, body } = await client.get(`/orders/${id}`);
        return status === 200 && (body.status === "DELIVERED" || body.failed || body.cancellation) && body;
      });
      expect(await arrived).toMatchObject({ status: "DELIVERED" });
      const { items } = (await client.get<{ items: { type: string }[] }>(`/orders/${id}/events`)).body;
      expect(new Set(items.map(({ type }) => type))).toEqual(WITHOUT_TROUBLE);
    }
  }
}

describe("a server that stands still costs no order an attempt", () => {
  test("MySQL, for about as long as the operator lets an attempt take", async () => {
    const client = await startShop({ STAGE_TIMEOUT_MS: "2000" });
    await expectNoAttemptUsed(client, mysql.server, [500, 1_900, 2_200, 5_000]);
  });

  test("MySQL, for about as long as a worker waits for it", async () => {
    const client = await startShop({});
    await expectNoAttemptUsed(client, mysql.server, [12_500]);
  });

  test("Redis, for longer than an attempt may take, and longer than a worker's lock", async () => {
    const client = await startShop({ STAGE_TIMEOUT_MS: "2000" });
    await expectNoAttemptUsed(client, redis, [3_000, 17_000]);
  });

  test("the worker itself, for longer than an attempt may take", async () => {
    const client = await startShop({ STAGE_TIMEOUT_MS: "2000" });
    const [, worker] = processes;
    await expectNoAttemptUsed(client, worker!.process, [2_500, 5_000]);
  });
});
