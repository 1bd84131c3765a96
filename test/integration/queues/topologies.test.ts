import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import {
  connectOnce,
  connectProducer,
  connectWorker,
  establish,
  type Connection,
} from "../../../queues/connection.ts";
import { isRedisUnavailable } from "../../../queues/errors.ts";
import { checkServers } from "../../../queues/health.ts";
import { witnessKeys } from "../../../queues/keys.ts";
import { Marker } from "../../../queues/marker.ts";
import { RedisServer } from "../../../queues/server.ts";
import { beat, readHeartbeats } from "../../../queues/telemetry/heartbeats.ts";
import { addCounts, MinuteCounts, minuteOf, readCounts } from "../../../queues/telemetry/minute-counts.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import {
  startRedisCluster,
  startRedisSentinels,
  type RedisTopology,
} from "../../support/redis-topologies.ts";
import { waitFor } from "../../support/wait-for.ts";

jest.setTimeout(120_000);

/** What a test has opened, closed after it, the last first. */
const opened: (() => unknown)[] = [];
afterEach(() => {
  for (const close of opened.splice(0).toReversed()) close();
});

function connected(redis: Connection): Connection {
  redis.on("error", () => undefined);
  opened.push(() => redis.disconnect());
  return redis;
}

function server(url: string, id = "ours"): RedisServer {
  const made = new RedisServer({ url, prefix: "conveyor", installation: async () => id });
  opened.push(() => made.stop());
  return made;
}

const TOPOLOGIES = { "a cluster": startRedisCluster, Sentinels: startRedisSentinels };

describe.each(Object.entries(TOPOLOGIES))("Redis with %s", (kind, startTopology) => {
  let redis: RedisTopology;
  beforeAll(async () => {
    redis = await startTopology();
  });
  afterAll(() => redis?.stop());

  test("serves what touches several keys: heartbeats and minutes", async () => {
    const worker = connected(connectWorker(redis.url));
    const heartbeat = (id: string) => ({ id, host: "h", pid: 1, startedAt: id, steps: [], open: [] });
    for (const id of ["1", "2", "3"]) await beat(worker, heartbeat(id));
    expect((await readHeartbeats(worker)).map(({ id }) => id)).toEqual(["1", "2", "3"]);

    const counts = new MinuteCounts();
    for (const { name } of lifecycle.steps) counts.done(name, 100);
    await addCounts(worker, counts.take());
    const names = lifecycle.steps.map(({ name }) => name);
    const read = await readCounts(worker, names, { last: minuteOf(Date.now()), minutes: 2 });
    for (const minutes of read.values()) expect(minutes.reduce((sum, { done }) => sum + done, 0)).toBe(1);
  });

  test("belongs to one installation, also for BullMQ's copies of a connection", async () => {
    await server(redis.url).checkAtStart();
    await expect(server(redis.url, "theirs").checkAtStart()).rejects.toThrow("identity ours");
    const stranger = connected(server(redis.url, "theirs").connectProducer());
    await waitFor("a refusal", () => stranger.set("stray", 1).then(() => false, isRedisUnavailable));
    const owner = connected(server(redis.url).connectWorker());
    expect(await owner.exists("stray")).toBe(0);
  });

  test("tells its health of every master", async () => {
    const look = connected(connectOnce(redis.url));
    await establish(look);
    expect(await checkServers(look)).toMatch(/^\d+\.\d+\.\d+$/);
    const master = redis.admin(await redis.masterOf("{ship}"));
    await master.config("SET", "maxmemory-policy", "allkeys-lru");
    await expect(checkServers(look)).rejects.toThrow("maxmemory-policy is allkeys-lru");
    await master.config("SET", "maxmemory-policy", "noeviction");
  });

  test("gives up no connection of a worker while it holds its answer back", async () => {
    const worker = connected(connectWorker(redis.url));
    expect(await worker.bzpopmin("nothing", 10)).toBeNull();
  });

  test("has what a worker sends meanwhile done by the new master when one dies, and a producer told at once", async () => {
    const [worker, producer] = [connected(connectWorker(redis.url)), connected(connectProducer(redis.url))];
    const dying = await redis.masterOf("{pay}");
    await waitFor(
      "connections",
      async () => (await worker.set("{pay}:before", 1)) && producer.status === "ready",
    );
    dying.kill("SIGKILL");
    const sent = Array.from({ length: 50 }, (_, index) => worker.set(`{pay}:${index}`, kind));
    await waitFor("a refusal", async () => {
      const startedAt = performance.now();
      const wasRefused = await producer.set("{pay}:producer", 1).then(() => false, isRedisUnavailable);
      expect(performance.now() - startedAt).toBeLessThan(3_000);
      return wasRefused;
    });
    expect(await Promise.all(sent)).toEqual(sent.map(() => "OK"));
    expect((await redis.masterOf("{pay}")).port).not.toBe(dying.port);
    await waitFor("the producer to follow", () =>
      producer.set("{pay}:producer", 1).then(
        () => true,
        () => false,
      ),
    );
    expect(await producer.get("{pay}:49")).toBe(kind);
    // Comes back as a replica.
    await dying.restart();
  });
});

describe("an address that does not fit what answers", () => {
  let cluster: RedisTopology;
  let sentinels: RedisTopology;
  beforeAll(async () => {
    [cluster, sentinels] = await Promise.all([startRedisCluster(), startRedisSentinels()]);
  });
  afterAll(() => Promise.all([cluster?.stop(), sentinels?.stop()]));

  const first = (url: string) => new URL(url.replace(/\+\w+/, "").replace(/,.*$/, ""));

  test("is refused at the start with what to write instead", async () => {
    const node = first(cluster.url);
    await expect(server(node.href).checkAtStart()).rejects.toThrow(
      `REDIS_URL leads to a node of a Redis Cluster as if it were all of it: write redis+cluster://${node.host}`,
    );
    const sentinel = first(sentinels.url);
    await expect(server(`${sentinel.href}/3`).checkAtStart()).rejects.toThrow(
      `REDIS_URL leads to a Sentinel as if it were a Redis: write redis+sentinel://${sentinel.host}/mymaster`,
    );
    const plain = sentinels.servers[0]!.url.replace("redis://", "");
    const { password } = new URL(sentinels.servers[0]!.url);
    await expect(server(`redis+cluster://${plain}`).checkAtStart()).rejects.toThrow(
      "REDIS_URL names a cluster, but what answers is a Redis of its own: write redis:// instead of redis+cluster://",
    );
    await expect(
      server(`redis+sentinel://${plain}/shop?sentinelPassword=${password}`).checkAtStart(),
    ).rejects.toThrow("REDIS_URL names Sentinels, but what answers is none");
    await expect(server(sentinels.url.replace("/shop/2", "/shopp")).checkAtStart()).rejects.toThrow(
      "REDIS_URL names the master shopp, which the Sentinels do not watch",
    );
    await expect(server(sentinels.url.replace("/shop/2", "/shop/99")).checkAtStart()).rejects.toThrow(
      /^REDIS_URL names database 99, which Redis does not have: ERR /,
    );
  });

  test("of nobody is no reason not to start", async () => {
    for (const url of ["redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1,127.0.0.1:2/shop"])
      await server(url).checkAtStart();
  });
});

describe("a cluster's marker", () => {
  let redis: RedisTopology;
  beforeAll(async () => {
    redis = await startRedisCluster();
  });
  afterAll(() => redis?.stop());

  function marker(): Marker {
    const worker = connected(connectWorker(redis.url));
    return new Marker(worker, async () => "ours", witnessKeys(worker, lifecycle.steps));
  }

  async function restored(): Promise<void> {
    const restoration = await marker().restoration();
    expect(restoration).toMatchObject({ orders: 0, status: undefined });
    expect(await marker().end(restoration!)).toBe(true);
    expect(await marker().restoration()).toBeUndefined();
  }

  const lose = async (key: string) => redis.admin(await redis.masterOf(key)).flushall();

  test.each(lifecycle.steps.map(({ name }) => `{${name}}`))(
    "tells the loss of the shard of %s",
    async (tag) => {
      const under = await marker().restoration();
      if (under) await marker().end(under);
      expect(await marker().restoration()).toBeUndefined();
      await lose(tag);
      await restored();
    },
  );

  test("has a restoration begin again if a shard is lost meanwhile, and not end", async () => {
    await lose("{pay}");
    const first = (await marker().restoration())!;
    await lose("{pay}");
    expect(await marker().end(first)).toBe(false);
    const second = (await marker().restoration())!;
    await marker().goOn(second, { orders: 500, status: "PAID", after: "0190" });
    expect(await marker().restoration()).toMatchObject({ orders: 500, status: "PAID" });
    await lose("{pay}");
    await restored();
  });
});
