import { afterEach, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { jobId } from "../../../queues/job.ts";
import { PLAIN_ORDER, TestClient } from "../../support/client.ts";
import { createTestEnvironment } from "../../support/environment.ts";
import { startApi, untilLogged } from "../../support/processes.ts";
import { startTestRedis, type TestServer } from "../../support/servers.ts";
import { waitFor } from "../../support/wait-for.ts";

const ORDERS = 20;

/** What a test starts, stopped after it, the last first. */
const started: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of started.splice(0).toReversed()) await stop();
});

const ABSENCES: Record<string, (redis: TestServer, operator: Redis) => Promise<() => Promise<unknown>>> = {
  killed: async (redis) => {
    redis.kill("SIGKILL");
    return () => redis.restart();
  },
  frozen: async (redis) => {
    redis.kill("SIGSTOP");
    return async () => redis.kill("SIGCONT");
  },
  "short of replicas": async (_, operator) => {
    await operator.config("SET", "min-replicas-to-write", "1");
    return () => operator.config("SET", "min-replicas-to-write", "0");
  },
};

// There is no worker, and so no sweeper.
test.each(Object.entries(ABSENCES))(
  "what was asked for while Redis was %s is queued as soon as it is back",
  async (_, leave) => {
    const environment = await createTestEnvironment();
    started.push(() => environment.close());
    const server = await startTestRedis();
    started.push(() => server.stop());
    const redis = new Redis(server.url);
    redis.on("error", () => undefined);
    started.push(async () => redis.disconnect());
    const api = await startApi({ databaseUrl: environment.databaseUrl, redisUrl: server.url });
    started.push(() => api.stop());
    const client = new TestClient(api.url);
    const job = (id: string, to = "RESERVED") => {
      const step = to === "CANCELLED" ? "cancel" : "reserve";
      return `{${step}}:${step}:${jobId(id, { from: "CREATED", to })}`;
    };
    const { id: before } = await client.order(PLAIN_ORDER);
    await waitFor("a job", async () => (await redis.exists(job(before))) === 1);

    const comeBack = await leave(server, redis);
    const ids = await Promise.all(
      Array.from({ length: ORDERS }, async () => (await client.order(PLAIN_ORDER)).id),
    );
    expect(await client.post(`/orders/${before}/cancel`, { reason: "mistake" })).toMatchObject({
      status: 202,
    });
    await untilLogged(api, "accepted, but not queued yet");
    await untilLogged(api, "cancellation requested, but not queued yet");
    await comeBack();

    const jobs = [...ids.map((id) => job(id)), job(before, "CANCELLED")];
    await waitFor("the jobs", async () => (await redis.exists(...jobs)) === jobs.length);
    await untilLogged(api, "queued what could not be queued before");
  },
);
