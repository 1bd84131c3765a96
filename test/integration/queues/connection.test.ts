import { afterEach, describe, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { connectProducer, connectWorker } from "../../../queues/connection.ts";
import { isRedisUnavailable } from "../../../queues/errors.ts";
import { startTcpProxy, type TcpProxy } from "../../../tools/shared/tcp-proxy.ts";
import { startTestRedis, type TestServer } from "../../support/servers.ts";
import { waitFor } from "../../support/wait-for.ts";

/** What a test has opened, closed after it, the last first. */
const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

async function startRedis(): Promise<TestServer> {
  const server = await startTestRedis();
  opened.push(() => server.stop());
  return server;
}

async function startProxy(redisUrl: string): Promise<TcpProxy> {
  const proxy = await startTcpProxy(redisUrl);
  opened.push(() => proxy.close());
  return proxy;
}

function connected(redis: Redis): Redis {
  redis.on("error", () => undefined);
  opened.push(() => redis.disconnect());
  return redis;
}

const KINDS = { producer: connectProducer, worker: connectWorker };
const kinds = Object.entries(KINDS);

describe.each(kinds)("a %s's connection", (kind, connect) => {
  /** Writes until Redis takes it; every refusal must be known as one of a Redis that is away. */
  async function writes(redis: Redis, key: string): Promise<void> {
    await waitFor(`Redis to take ${key}`, () =>
      redis.set(key, kind).then(
        () => true,
        (error: unknown) => {
          if (!isRedisUnavailable(error)) throw error;
          return false;
        },
      ),
    );
  }

  test("gets to the new primary after a failover that leaves the old one in its place", async () => {
    const [old, next] = await Promise.all([startRedis(), startRedis()]);
    // Both must take the same password: the address stays, what is behind it changes.
    const password = new URL(old.url).password;
    const admin = { old: connected(new Redis(old.url)), next: connected(new Redis(next.url)) };
    await admin.next.config("SET", "requirepass", password);
    const proxy = await startProxy(old.url);
    const redis = connected(connect(proxy.url));
    await writes(redis, "before");

    proxy.turnTo(next.port);
    await admin.old.replicaof("127.0.0.1", String(next.port));
    await writes(redis, "after");
    expect(await admin.next.get("after")).toBe(kind);
  });

  test("is given up when its packets are dropped on the way", async () => {
    const server = await startRedis();
    const proxy = await startProxy(server.url);
    const redis = connected(connect(proxy.url));
    await writes(redis, "before");
    proxy.blackHole();
    await writes(redis, "after");
    expect(await connected(new Redis(server.url)).get("after")).toBe(kind);
  });
});

test("a worker's connection is not given up while Redis holds its answer back", async () => {
  const server = await startRedis();
  const redis = connected(connectWorker(server.url));
  let reconnected = 0;
  redis.on("reconnecting", () => reconnected++);
  // As long as BullMQ ever waits for a job.
  expect(await redis.bzpopmin("nothing", 10)).toBeNull();
  expect(reconnected).toBe(0);
});
