import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { listEvents } from "../../db/order-events.ts";
import { jobId } from "../../queues/job.ts";
import { queueNameFor } from "../../queues/shards.ts";
import { BASIC } from "../support/api.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { WITHOUT_TROUBLE } from "../support/orders.ts";
import { startApi, startWorker, type TestProcess } from "../support/processes.ts";
import { startRedisCluster, type RedisTopology } from "../support/redis-topologies.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(300_000);

/** The sweeper is to find nothing: jobs are found where they are. */
const NO_SWEEPING = { SWEEP_AFTER_MS: "600000" };

let redis: RedisTopology;
beforeAll(async () => {
  redis = await startRedisCluster({ masters: 4, hasReplicas: false });
});
afterAll(() => redis?.stop());

let line: TestLine | undefined;
const more: TestProcess[] = [];
afterEach(async () => {
  await Promise.all(more.splice(0).map((each) => each.stop()));
  await line?.close();
  line = undefined;
});

/** Each test has a prefix of its own. */
let prefix = "";

async function start(shards: number, env: Record<string, string> = {}): Promise<TestLine> {
  prefix = `shop-${randomUUID()}`;
  line = await startLine({
    workers: 2,
    redisUrl: redis.url,
    env: { STAGE_ATTEMPTS: "2", REDIS_PREFIX: prefix, SHARDS: String(shards), ...NO_SWEEPING, ...env },
  });
  await line.client.put("/stock/MUG-BLUE", { onHand: 1_000_000 });
  return line;
}

async function place({ client }: Pick<TestLine, "client">, count: number): Promise<string[]> {
  const placed = Array.from({ length: count }, () => client.order(PLAIN_ORDER));
  return (await Promise.all(placed)).map(({ id }) => id);
}

/** Each has been delivered, charged once and shipped once. */
async function expectDelivered({ client, environment }: TestLine, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await client.orderIn(id, "DELIVERED");
    const entries = environment.providers.entriesOf(id);
    expect(entries.map(({ kind, outcome }) => `${kind} ${outcome}`).toSorted()).toEqual([
      "charge approved",
      "label approved",
    ]);
    expect(environment.providers.books.attempts.get(`${id}:pay`)).toBe(1);
  }
}

async function expectNoTrouble({ environment }: TestLine, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const events = await listEvents(environment.database, id);
    expect(events.filter(({ type }) => !WITHOUT_TROUBLE.has(type))).toEqual([]);
  }
}

async function operate({ api }: TestLine, path: string, body: Record<string, string> = {}): Promise<void> {
  const answer = await fetch(`${api.url}/console/queues/${path}`, {
    method: "POST",
    headers: { ...BASIC, origin: api.url },
    body: new URLSearchParams(body),
    redirect: "manual",
  });
  expect(answer.status).toBe(303);
}

interface BoardAnswer {
  readonly status: number;
  readonly body: { readonly status?: string; readonly queues?: readonly { readonly name: string }[] };
}

/** Asks the API of Bull Board. */
async function board(api: { readonly url: string }, path: string, method = "GET"): Promise<BoardAnswer> {
  const answer = await fetch(`${api.url}/queues/api/${path}`, {
    method,
    headers: { ...BASIC, origin: api.url },
  });
  const text = await answer.text();
  return { status: answer.status, body: text === "" ? {} : JSON.parse(text) };
}

const queueKey = (name: string) => `${prefix}:{${name}}:${name}`;

/** A field of each of a stage's queues, wherever they are. */
async function lengths(names: readonly string[], list: "wait" | "active"): Promise<number[]> {
  return Promise.all(
    names.map(async (name) =>
      redis.admin(await redis.masterOf(`{${name}}`)).llen(`${queueKey(name)}:${list}`),
    ),
  );
}

const shards = (step: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${step}-${index}`);

describe("four shards on four masters", () => {
  test("are each on a master of their own, and take all orders to their end, with each effect once", async () => {
    for (const step of ["reserve", "pay", "ship", "deliver", "cancel"]) {
      const masters = await Promise.all(shards(step, 4).map((name) => redis.masterOf(`{${name}}`)));
      expect(new Set(masters.map(({ port }) => port)).size).toBe(4);
    }
    const shop = await start(4);
    const ids = await place(shop, 200);
    await expectDelivered(shop, ids);
    await expectNoTrouble(shop, ids);
    for (const name of shards("reserve", 4)) {
      const completed = redis.admin(await redis.masterOf(`{${name}}`)).zcard(`${queueKey(name)}:completed`);
      expect(await completed).toBeGreaterThan(25);
    }
    const { body } = await board(shop.api, "queues");
    expect(body.queues?.map(({ name }) => name)).toEqual(
      expect.arrayContaining([...shards("pay", 4), ...shards("cancel", 4)]),
    );
  });

  test.each([1, 3, 6])("keep to a limit of %d over all workers", async (limit) => {
    const shop = await start(4);
    // Most of a job's time, so that as many are under way as may be.
    shop.environment.providers.setLatency(limit * 100);
    await operate(shop, "pay/pause");
    await operate(shop, "pay/concurrency", { concurrency: String(limit) });
    const ids = await place(shop, 60);
    for (const id of ids) await shop.client.orderIn(id, "RESERVED");
    shop.environment.providers.takeMaxInFlight("payments");
    await operate(shop, "pay/resume");
    await expectDelivered(shop, ids);
    expect(shop.environment.providers.takeMaxInFlight("payments")).toBe(limit);
    const page = await fetch(`${shop.api.url}/console/queues`, { headers: BASIC });
    expect(await page.text()).toContain(`value="${limit}"`);
  });

  test("are paused and resumed as one, and counted as one", async () => {
    const shop = await start(4);
    await operate(shop, "pay/pause");
    const ids = await place(shop, 40);
    for (const id of ids) await shop.client.orderIn(id, "RESERVED");
    await waitFor("all to wait", async () => {
      const waiting = await lengths(shards("pay", 4), "wait");
      return waiting.every((count) => count > 0) && waiting.reduce((sum, count) => sum + count, 0) === 40;
    });
    const metrics = await (await fetch(`${shop.api.url}/metrics`, { headers: BASIC })).text();
    expect(metrics).toContain('conveyor_queue_jobs{stage="pay",state="waiting"} 40');
    expect(metrics).not.toContain('stage="pay-0"');
    // By the board, from one of its queues.
    expect(await board(shop.api, "queues/pay-2/resume", "PUT")).toMatchObject({ status: 200 });
    await expectDelivered(shop, ids);
    await expectNoTrouble(shop, ids);
  });

  test("show a failed order in the board, one click from going on", async () => {
    const shop = await start(4);
    const { id } = await shop.client.order({ ...PLAIN_ORDER, paymentToken: "tok_down" });
    await waitFor("the order to fail", async () => (await shop.client.get(`/orders/${id}`)).body.failed);
    const job = jobId(id, { from: "RESERVED", to: "PAID" });
    const path = `queues/${queueNameFor(id, "pay", 4)}/${job}`;
    await waitFor("the failed job", async () => (await board(shop.api, path)).body.status === "failed");
    const page = await fetch(`${shop.api.url}/console/orders/${id}`, { headers: BASIC });
    expect(await page.text()).toContain(`/queues/queue/${queueNameFor(id, "pay", 4)}/${job}`);
    shop.environment.providers.setFault("payments", { kind: "none" });
    expect((await board(shop.api, `${path}/retry`, "PUT")).status).toBe(204);
    await shop.client.orderIn(id, "DELIVERED");
  });
});

describe("with orders in flight, and old and new processes side by side", () => {
  /** Puts processes with another number of shards in the place of all there are, while orders keep coming. */
  async function changeTo(
    shop: TestLine,
    count: number,
    during: (client: TestClient) => Promise<void>,
  ): Promise<{ readonly url: string }> {
    const options = {
      databaseUrl: shop.environment.databaseUrl,
      redisUrl: redis.url,
      providers: shop.environment.providers,
      env: {
        STAGE_BACKOFF_MS: "20",
        STAGE_ATTEMPTS: "2",
        REDIS_PREFIX: prefix,
        SHARDS: String(count),
        ...NO_SWEEPING,
      },
    };
    const api = await startApi(options);
    more.push(api, await startWorker(options));
    await during(new TestClient(api.url));
    more.push(await startWorker(options));
    await Promise.all(shop.workers.map((worker) => worker.stop()));
    return api;
  }

  const splits = async () => {
    const key = `${prefix}:shards`;
    return redis.admin(await redis.masterOf(key)).hkeys(key);
  };

  test.each([
    [1, 4],
    [4, 2],
  ])("%d shards become %d, and no order is lost, charged twice or late", async (before, after) => {
    const shop = await start(before);
    const { providers } = shop.environment;
    providers.setLatency(10);
    // Some have failed, some wait in a queue, some run, and some are yet to come.
    const { id: failed } = await shop.client.order({ ...PLAIN_ORDER, paymentToken: "tok_down" });
    await waitFor("the order to fail", async () => (await shop.client.get(`/orders/${failed}`)).body.failed);
    await operate(shop, "ship/pause");
    const ids = await place(shop, 60);
    for (const id of ids) await shop.client.orderIn(id, "PAID");
    await operate(shop, "pay/concurrency", { concurrency: "3" });
    providers.takeMaxInFlight("payments");
    ids.push(...(await place(shop, 60)));
    const api = await changeTo(shop, after, async (client) => {
      for (let round = 0; round < 10; round++) {
        ids.push(...(await place(shop, 3)), ...(await place({ client }, 3)));
        await sleep(100);
      }
    });
    await operate(shop, "ship/resume");
    await expectDelivered(shop, ids);
    await expectNoTrouble(shop, ids);
    expect(providers.takeMaxInFlight("payments")).toBeLessThanOrEqual(3);

    // In the queue where it failed, which nobody serves any more.
    const queue = queueNameFor(failed, "pay", before);
    const path = `queues/${queue}/${jobId(failed, { from: "RESERVED", to: "PAID" })}`;
    await shop.api.stop();
    await waitFor(
      "the old queues to be left",
      async () => !(await splits()).includes(`ship/${before}`) && (await splits()).includes(`pay/${before}`),
    );
    providers.setFault("payments", { kind: "none" });
    expect((await board(api, `${path}/retry`, "PUT")).status).toBe(204);
    await new TestClient(api.url).orderIn(failed, "DELIVERED");
    await waitFor("the old split to be forgotten", async () => !(await splits()).includes(`pay/${before}`));
  });
});
