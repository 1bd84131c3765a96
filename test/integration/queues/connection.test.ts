import { rmSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { connectProducer, connectWorker, type Connection } from "../../../queues/connection.ts";
import { isRedisUnavailable } from "../../../queues/errors.ts";
import { RedisServer } from "../../../queues/server.ts";
import { makeTempFolder } from "../../../tools/launcher/temp-folder.ts";
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

function connected<Opened extends Connection>(redis: Opened): Opened {
  redis.on("error", () => undefined);
  opened.push(() => redis.disconnect());
  return redis;
}

const KINDS = { producer: connectProducer, worker: connectWorker };
const kinds = Object.entries(KINDS);

describe.each(kinds)("a %s's connection", (kind, connect) => {
  /** Writes until Redis takes it; every refusal must be known as one of a Redis that is away. */
  async function writes(redis: Connection, key: string): Promise<void> {
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

test("what a replica refuses a worker after a failover is sent again to the new primary, all of it", async () => {
  const [old, next] = await Promise.all([startRedis(), startRedis()]);
  const admin = { old: connected(new Redis(old.url)), next: connected(new Redis(next.url)) };
  await admin.next.config("SET", "requirepass", new URL(old.url).password);
  const proxy = await startProxy(old.url);
  const redis = connected(connectWorker(proxy.url));
  await redis.set("before", 1);
  proxy.turnTo(next.port);
  await admin.old.replicaof("127.0.0.1", String(next.port));
  const sent = Array.from({ length: 100 }, (_, index) => redis.set(`after:${index}`, index));
  expect(new Set(await Promise.all(sent))).toEqual(new Set(["OK"]));
  expect(await admin.next.get("after:99")).toBe("99");
});

test("a user of an ACL needs no more than the keys and channels of the prefix", async () => {
  const server = await startRedis();
  const rules = "on >secret ~shop:* ~{shop:* &{shop:* +@all -@dangerous +info";
  await connected(new Redis(server.url)).acl("SETUSER", "shop", ...rules.split(" "));
  const url = `redis://shop:secret@127.0.0.1:${server.port}`;
  const ours = new RedisServer({ url, prefix: "shop", installation: async () => "ours" });
  await ours.check();
  const redis = connected(ours.connectWorker());
  expect(await redis.set("shop:{pay}:pay:x", 1)).toBe("OK");
  await expect(redis.set("{pay}:pay:x", 1)).rejects.toThrow("NOPERM");
});

test("a socket is an address too", async () => {
  const folder = makeTempFolder();
  opened.push(() => rmSync(folder, { recursive: true }));
  const socket = path.join(folder, "redis.sock");
  const server = await startTestRedis({ args: ["--unixsocket", socket] });
  opened.push(() => server.stop());
  const { password } = new URL(server.url);
  const url = `unix://:${password}@${socket}?db=3`;
  const ours = new RedisServer({ url, prefix: "conveyor", installation: async () => "ours" });
  await ours.check();
  const redis = connected(ours.connectProducer());
  await waitFor("a connection", () => redis.status === "ready");
  await redis.set("here", 1);
  expect(await connected(new Redis(`${server.url}/3`)).get("here")).toBe("1");
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
