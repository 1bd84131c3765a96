import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { EventLog } from "../../../db/event-log.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { connectProducer, connectWorker } from "../../../queues/connection.ts";
import { streamOf } from "../../../src/events/stream.ts";
import { Hub } from "../../../src/events/live/hub.ts";
import { eventRoutes } from "../../../src/api/events.ts";
import { LogSource, StreamSource } from "../../../src/events/live/sources.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { Relay } from "../../../src/events/relay/relay.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { EventStreamClient } from "../../support/event-stream.ts";
import { newOrder } from "../../support/orders.ts";
import { startTcpProxy } from "../../../tools/shared/tcp-proxy.ts";
import { waitFor } from "../../support/wait-for.ts";
import { serverOf } from "../../support/routes.ts";

const logger = createLogger({ name: "test", level: "silent" });

let environment: TestEnvironment;
let closing: (() => unknown)[];
beforeEach(async () => {
  environment = await createTestEnvironment();
  closing = [];
});
afterEach(async () => {
  for (const close of closing.toReversed()) await close();
  await environment.close();
});

/** An API process's live part. `redisUrl` is where it finds the stream; null without Redis. */
async function serve({
  redisUrl = environment.redisUrl,
  heartbeatMs = 60_000,
}: { redisUrl?: string | null; heartbeatMs?: number } = {}) {
  const log = new EventLog(environment.database, { graceMs: 300 });
  const redis = redisUrl === null ? undefined : connectWorker(redisUrl);
  redis?.on("error", () => undefined);
  const source = redis ? new StreamSource({ log, redis }) : new LogSource(log);
  let reads = 0;
  const database = new Proxy(environment.database, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (name === "query") reads++;
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  const hub = new Hub({ database, log: new EventLog(database), source, logger, heartbeatMs });
  const server = serverOf(eventRoutes, { database, live: hub });
  const url = await server.listen(0, "127.0.0.1");
  let closed: Promise<void> | undefined;
  const close = () => {
    hub.close();
    return (closed ??= server.close());
  };
  closing.push(close);
  return {
    url,
    hub,
    redis,
    close,
    reads: () => reads,
    async listen(path = "/events/stream", headers: Record<string, string> = {}) {
      const client = await EventStreamClient.open(url + path, headers);
      closing.push(() => client.close());
      return client;
    },
  };
}

function startRelay(length = 100_000): Relay {
  const redis = connectProducer(environment.redisUrl);
  redis.on("error", () => undefined);
  const relay = new Relay({
    database: environment.database,
    redis,
    connectListener: () => connectWorker(environment.redisUrl),
    length,
    log: logger,
    events: new EventLog(environment.database, { graceMs: 300 }),
  });
  relay.start();
  closing.push(
    () => redis.disconnect(),
    () => relay.stop(),
  );
  return relay;
}

async function write(count: number): Promise<string[]> {
  const orders = Array.from({ length: count }, () => newOrder());
  await createOrders(environment.database, orders);
  return orders.map(({ id }) => id);
}

const idsInLog = async () =>
  (await new EventLog(environment.database, { graceMs: 0 }).read({ after: 0, limit: 100_000 })).map(
    ({ id }) => id,
  );

const lastInLog = async () => (await idsInLog()).at(-1) ?? 0;

const relayed = (relay: Relay) => waitFor("all to be relayed", async () => (await relay.lag()).events === 0);

describe.each(["stream", "log"])("live updates from the %s", (from) => {
  const start = async (options: { heartbeatMs?: number } = {}) => {
    if (from === "stream") await relayed(startRelay());
    return serve({ ...options, ...(from === "log" && { redisUrl: null }) });
  };

  test("bring what happens from now on to all who listen, in order and once", async () => {
    await write(5);
    const live = await start();
    const clients = [await live.listen(), await live.listen(), await live.listen()];
    const orders = await write(700);
    for (const client of clients) {
      const received = await client.has(700);
      expect(received.map(({ event }) => event.subject)).toEqual(orders);
      expect(received.map(({ id, event }) => [id, event.type])).toEqual(
        received.map(({ event }) => [Number(event.id), "conveyor.order.status.v1"]),
      );
      expect(client.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
      expect(client.headers.get("cache-control")).toBe("no-store");
    }
  });

  test("of one order bring what happens to it, and nothing else", async () => {
    const [id = "", other = ""] = await write(2);
    const live = await start();
    const [client, all] = [await live.listen(`/orders/${id}/stream`), await live.listen()];
    for (const orderId of [other, id, other, id])
      await environment.database.query((queries) =>
        queries.execute(
          sql`INSERT INTO order_events (order_id, from_status, to_status, type, at)
              VALUES (${orderId}, 'CREATED', 'CREATED', 'resumed', NOW(3))`,
        ),
      );
    await all.has(4);
    const received = await client.has(2);
    expect(received.map(({ event }) => [event.subject, event.type])).toEqual(
      [1, 2].map(() => [id, "conveyor.order.resumed.v1"]),
    );
    await expect(live.listen("/orders/01a20691-7a8e-777a-bbfa-0d625ad32c50/stream")).rejects.toThrow("404");
    await expect(live.listen("/orders/x/stream")).rejects.toThrow("404");
  });

  test("go on where a client was, from any point, with nothing missing or twice at the seam", async () => {
    const [order = ""] = await write(1);
    await write(2_500);
    const live = await start();
    const watcher = await live.listen();
    // Goes on meanwhile, so that the seam is a moving one.
    let writing = true;
    const writer = (async () => {
      for (let times = 0; times < 40; times++) await write(25);
      writing = false;
    })();
    const clients: { client: EventStreamClient; after: number }[] = [];
    await waitFor("all to be written", async () => {
      const seen = watcher.ids;
      for (const after of [0, 1_700, seen[Math.floor(seen.length / 2)] ?? 1, seen.at(-1) ?? 2_501])
        clients.push({
          client: await live.listen("/events/stream", { "last-event-id": String(after) }),
          after,
        });
      return !writing;
    });
    await writer;
    const all = await idsInLog();
    expect(all).toHaveLength(3_501);
    for (const { client, after } of clients) {
      const expected = all.filter((id) => id > after);
      await client.has(expected.length);
      expect(client.ids).toEqual(expected);
    }
    const own = await live.listen(`/orders/${order}/stream`, { "last-event-id": "0" });
    expect((await own.has(1)).map(({ event }) => event.subject)).toEqual([order]);
  });

  test("tell where to go on before anything has happened, and send heartbeats", async () => {
    await write(3);
    const live = await start({ heartbeatMs: 50 });
    const client = await live.listen();
    await waitFor("heartbeats", () => client.heartbeats > 2);
    expect(client.lastId).toBe(await lastInLog());
    const [id = ""] = await write(1);
    const order = await live.listen(`/orders/${id}/stream`);
    await write(4);
    await waitFor("the place of others' events", async () => order.lastId === (await lastInLog()));
    expect(order.received.every(({ event }) => event.subject === id)).toBe(true);
  });

  test("end at once when the service ends", async () => {
    const live = await start();
    const clients = [await live.listen(), await live.listen()];
    const startedAt = performance.now();
    await live.close();
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    await waitFor("the streams to end", () => clients.every(({ ended }) => ended));
    expect(live.hub.size).toBe(0);
  });
});

test("a client that does not read is cut off, costs no more than its buffer, and comes back for the rest", async () => {
  const relay = startRelay();
  await relayed(relay);
  const live = await serve();
  const [slow, other] = [await live.listen(), await live.listen()];
  slow.pause();
  // Megabytes: more than the system's own buffers hold.
  for (let times = 0; times < 40; times++) await write(1_000);
  await other.has(40_000);
  await waitFor("the slow client to be cut off", () => live.hub.size === 1);
  slow.resume();
  await waitFor("the slow client to notice", () => slow.ended);
  expect(slow.received.length).toBeLessThan(40_000);
  const back = await live.listen("/events/stream", { "last-event-id": String(slow.lastId) });
  await back.has(40_000 - slow.received.length);
  expect([...slow.ids, ...back.ids]).toEqual(other.ids);
});

test("a client that catches up slowly holds up nobody, and is not cut off for that", async () => {
  for (let times = 0; times < 20; times++) await write(1_000);
  const relay = startRelay();
  await relayed(relay);
  const live = await serve();
  const slow = await live.listen("/events/stream", { "last-event-id": "0" });
  slow.pause();
  const other = await live.listen("/events/stream", { "last-event-id": "19000" });
  await other.has(1_000);
  slow.resume();
  await slow.has(20_000);
  expect(slow.ids).toEqual(await idsInLog());
});

test("listening costs MySQL nothing, however many listen, and one read of the stream", async () => {
  const relay = startRelay();
  await relayed(relay);
  const live = await serve();
  const clients = await Promise.all(Array.from({ length: 50 }, () => live.listen()));
  const before = live.reads();
  await write(200);
  for (const client of clients) await client.has(200);
  // Comes back soon: what it has missed is still at hand.
  const back = await live.listen("/events/stream", { "last-event-id": String(clients[0]?.ids[10]) });
  await back.has(189);
  expect(live.reads()).toBe(before);
});

test("with Redis away streams stay open, and go on afterwards without a gap", async () => {
  const proxy = await startTcpProxy(environment.redisUrl);
  closing.push(() => proxy.close());
  const relay = startRelay();
  await relayed(relay);
  const live = await serve({ redisUrl: proxy.url, heartbeatMs: 50 });
  const client = await live.listen();
  await write(10);
  await client.has(10);
  proxy.turnTo(1);
  live.redis?.disconnect(true);
  await write(10);
  const beats = client.heartbeats;
  await waitFor("more heartbeats", () => client.heartbeats > beats + 3);
  // One that comes now begins now, and one that comes back gets what the log has.
  const late = await live.listen();
  proxy.turnTo(Number(new URL(environment.redisUrl).port));
  await write(10);
  await client.has(30);
  expect(client.ids).toEqual(await idsInLog());
  await waitFor("the late one to have the last", async () => late.ids.at(-1) === (await lastInLog()));
});

test("what the stream has trimmed before it was read comes from the log", async () => {
  const relay = startRelay(100);
  await relayed(relay);
  const proxy = await startTcpProxy(environment.redisUrl);
  closing.push(() => proxy.close());
  const live = await serve({ redisUrl: proxy.url });
  const client = await live.listen();
  await write(10);
  await client.has(10);
  proxy.turnTo(1);
  live.redis?.disconnect(true);
  await write(2_000);
  await relayed(relay);
  expect(await environment.redis.xlen(streamOf(environment.redis))).toBeLessThan(500);
  proxy.turnTo(Number(new URL(environment.redisUrl).port));
  await client.has(2_010);
  expect(client.ids).toEqual(await idsInLog());
});

test("when Redis loses its data the streams go on, and nothing comes twice", async () => {
  const relay = startRelay(200);
  const live = await serve();
  await write(1_000);
  await relayed(relay);
  const client = await live.listen("/events/stream", { "last-event-id": "0" });
  await client.has(1_000);
  await environment.redis.flushdb();
  await write(100);
  await client.has(1_100);
  await relayed(relay);
  expect(client.ids).toEqual(await idsInLog());
});

test.each(["x", "-1", "1.5", "99999999999999999"])("%s is no Last-Event-ID", async (id) => {
  const live = await serve({ redisUrl: null });
  await expect(live.listen("/events/stream", { "last-event-id": id })).rejects.toThrow("400");
});
