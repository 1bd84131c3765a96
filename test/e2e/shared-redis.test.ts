import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { start, startApi, TEST_KEY, untilLogged, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(180_000);

const WHAT_TO_DO =
  /^Redis belongs to another installation, whose database has the identity [0-9a-f-]{36}: set REDIS_PREFIX to a name of its own, or another database in REDIS_URL$/;

let line: TestLine;
let stranger: TestEnvironment;
beforeAll(async () => {
  stranger = await createTestEnvironment();
  line = await startLine();
  await line.client.put("/stock/MUG-BLUE", { onHand: 100_000 });
});
afterAll(async () => {
  await line?.close();
  await stranger?.close();
});

async function refusal(refused: TestProcess): Promise<string> {
  expect(await refused.process.exited).toEqual({ code: 1, signal: null });
  return refused.lines.filter((text) => !text.startsWith("{")).join("\n");
}

const delivered = async (client: TestClient) => {
  const order = await client.order(PLAIN_ORDER);
  await client.orderIn(order.id, "DELIVERED");
};

describe("on a Redis that is another installation's", () => {
  test.each(["src/main.ts", "workers/main.ts"])("%s does not start, and says what to do", async (script) => {
    const env = { PORT: "0", API_KEYS: TEST_KEY };
    expect(await refusal(start(script, { ...stranger, env }))).toMatch(WHAT_TO_DO);
    await delivered(line.client);
  });

  test("with a prefix of its own, it works beside the other, and has no key that does not begin with it", async () => {
    const before = await keys();
    const env = {
      REDIS_PREFIX: "shop-2",
      SWEEP_INTERVAL_MS: "100",
    };
    const api = await startApi({ ...stranger, env });
    const worker = start("workers/main.ts", { ...stranger, env });
    try {
      await untilLogged(worker, "worker ready");
      const other = new TestClient(api.url);
      await other.put("/stock/MUG-BLUE", { onHand: 100 });
      for (let round = 0; round < 3; round++) await Promise.all([delivered(line.client), delivered(other)]);
      await waitFor("events", async () => (await line.environment.redis.xlen("shop-2:events")) >= 15);
      const login = { headers: { Authorization: `Basic ${btoa(`:${TEST_KEY}`)}` } };
      for (const page of ["/console", "/console/queues", "/queues/api/queues"]) {
        const answer = await fetch(`${api.url}${page}`, login);
        expect(answer.status).toBe(200);
        expect(await answer.text()).toContain("deliver");
      }
      await waitFor("a heartbeat, and counts", async () => {
        const found = new Set(
          [...(await keys())].filter((key) => key.startsWith("shop-2:")).map((key) => key.split(":")[1]),
        );
        return found.has("worker") && found.has("minute");
      });
      const more = [...(await keys())].filter((key) => !before.has(key));
      const own = more.filter((key) => !/^(conveyor:|\{)/.test(key) || key.startsWith("{shop-2:events}"));
      for (const key of own) expect(key).toMatch(/^(shop-2:|\{shop-2:events\}:)/);
      for (const part of ["marker", "events", "workers", "{reserve}", "{deliver}"])
        expect(own.map((key) => key.split(":")[1])).toContain(part);
      expect(await line.client.orders({ failed: "true" })).toEqual([]);
      expect(await other.orders({ failed: "true" })).toEqual([]);
    } finally {
      await worker.stop();
      await api.stop();
    }
  });
});

test("an installation whose Redis becomes another's takes orders, says so, and goes on when it is mended", async () => {
  const { redis } = line.environment;
  await waitFor("the worker to wait for jobs", async () => (await waitingForJobs()) > 0);
  const ours = await waitFor("the marker", async () => (await redis.get("conveyor:marker")) ?? false);
  await redis.set("conveyor:marker", "2026-11-20T10:00:00.000Z 00000000-0000-0000-0000-000000000000");
  const notReady = await waitFor("it to be seen", async () => {
    const { status, body } = await line.client.get<{ checks: { redis: { detail: string } } }>(
      "/health/ready",
    );
    return status === 503 && body.checks.redis.detail;
  });
  expect(notReady).toContain("Redis belongs to another installation");
  await waitFor("the worker to be cut off", () =>
    (line.workers[0]?.logs() ?? []).some((entry) => String(entry["error"]).includes("another installation")),
  );
  await waitFor("no worker to wait for jobs any more", async () => (await waitingForJobs()) === 0);
  const strays = await redis.llen("{reserve}:reserve:wait");
  const order = await line.client.order(PLAIN_ORDER);
  expect(await redis.llen("{reserve}:reserve:wait")).toBe(strays);
  const page = await fetch(`${line.api.url}/console`, {
    headers: { Authorization: `Basic ${btoa(`:${TEST_KEY}`)}` },
  });
  expect(await page.text()).toContain("Redis belongs to another installation: orders are accepted but wait.");
  expect((await line.client.get<{ status: string }>(`/orders/${order.id}`)).body.status).toBe("CREATED");
  await redis.set("conveyor:marker", ours);
  await line.client.orderIn(order.id, "DELIVERED");
});

describe("with a database that Redis does not have", () => {
  test.each(["src/main.ts", "workers/main.ts"])(
    "%s does not start, and says what is wrong",
    async (script) => {
      const url = new URL(line.environment.redisUrl);
      url.pathname = "/9999";
      const env = { PORT: "0", API_KEYS: TEST_KEY };
      const { databaseUrl } = line.environment;
      expect(await refusal(start(script, { databaseUrl, redisUrl: url.href, env }))).toMatch(
        /^REDIS_URL names database 9999, which Redis does not have: ERR /,
      );
    },
  );
});

/** Connections to the line's Redis database over which a worker waits for its next job. */
async function waitingForJobs(): Promise<number> {
  const database = new URL(line.environment.redisUrl).pathname.slice(1) || "0";
  const clients = String(await line.environment.redis.client("LIST")).split("\n");
  return clients.filter((client) => client.includes(` db=${database} `) && client.includes(" cmd=bzpopmin "))
    .length;
}

/** Of the whole Redis database. */
async function keys(): Promise<Set<string>> {
  return new Set(await line.environment.redis.keys("*"));
}
