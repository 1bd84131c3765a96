import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { EventLog } from "../../../db/event-log.ts";
import { findPosition } from "../../../db/relay-positions.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { connectProducer, connectWorker, type Connection } from "../../../queues/connection.ts";
import { notificationChannelOf, streamOf } from "../../../src/events/stream.ts";
import { createLogger } from "../../../src/platform/log.ts";
import { EventStream, StreamChangedError } from "../../../src/events/relay/event-stream.ts";
import { Relay } from "../../../src/events/relay/relay.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { nextEventId } from "../../support/event-ids.ts";
import { newOrder } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";

const log = createLogger({ name: "test", level: "silent" });

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

function connect(open = connectProducer): Connection {
  const connection = open(environment.redisUrl);
  connection.on("error", () => undefined);
  closing.push(() => connection.disconnect());
  return connection;
}

/** A relay of a worker of its own. */
function startRelay({ length = 100_000, events = EventLog } = {}) {
  const redis = connect();
  const relay = new Relay({
    database: environment.database,
    redis,
    connectListener: () => connect(connectWorker),
    length,
    log,
    events: new events(environment.database, { graceMs: 200 }),
  });
  relay.start();
  closing.push(() => relay.stop());
  return { relay, redis };
}

/** Creates so many orders: an event each. @returns their ids, in order. */
async function write(count: number): Promise<string[]> {
  const orders = Array.from({ length: count }, () => newOrder());
  await createOrders(environment.database, orders);
  return orders.map(({ id }) => id);
}

interface Entry {
  readonly id: number;
  readonly previous: number;
  readonly event: { readonly id: string; readonly subject: string; readonly type: string };
}

async function entries(): Promise<Entry[]> {
  const found = await environment.redis.xrange(streamOf(environment.redis), "-", "+");
  return found.map(([id, [, event = "", , previous]]) => ({
    id: Number(id.replace(/-0$/, "")),
    previous: Number(previous),
    event: JSON.parse(event),
  }));
}

const subjects = async () => (await entries()).map(({ event }) => event.subject);

const relayed = (count: number) =>
  waitFor(
    `${count} events in the stream`,
    async () => (await environment.redis.xlen(streamOf(environment.redis))) >= count,
  );

/** Every event that MySQL has. */
const newest = () => new EventLog(environment.database).newest();

describe("a relay", () => {
  test("puts every event into the stream, in its order and under its id, each with the one before", async () => {
    const early = await write(1_200);
    startRelay();
    await relayed(1_200);
    const late = await write(3);
    await relayed(1_203);
    const found = await entries();
    expect(found.map(({ event }) => event.subject)).toEqual([...early, ...late]);
    expect(found.map(({ event }) => Number(event.id))).toEqual(found.map(({ id }) => id));
    expect(found.map(({ previous }) => previous)).toEqual([0, ...found.slice(0, -1).map(({ id }) => id)]);
    expect(found[0]?.event).toMatchObject({ specversion: "1.0", type: "conveyor.order.status.v1" });
  });

  test("reads at once when notified, and does not poll constantly", async () => {
    const { relay, redis } = startRelay();
    await write(1);
    await relayed(1);
    await waitFor("the relay to listen", async () => {
      const [, listeners] = await environment.redis.pubsub(
        "NUMSUB",
        notificationChannelOf(environment.redis),
      );
      return Number(listeners) > 0;
    });
    let quickest = Infinity;
    for (let times = 1; times <= 5; times++) {
      await write(1);
      const startedAt = performance.now();
      await environment.redis.publish(notificationChannelOf(environment.redis), "");
      await relayed(1 + times);
      quickest = Math.min(quickest, performance.now() - startedAt);
    }
    expect(quickest).toBeLessThan(300);
    expect(relay.leads).toBe(true);
    const asked = jest.spyOn(redis, "eval");
    const until = performance.now() + 2_500;
    await waitFor("some time to pass", () => performance.now() > until);
    expect(asked.mock.calls.length).toBeLessThanOrEqual(4);
  });

  test("keeps the stream to its length, and tells MySQL how far it has come, and how far it is behind", async () => {
    const { relay } = startRelay({ length: 200 });
    expect(await relay.lag()).toEqual({ events: 0, ageMs: 0 });
    await write(1_500);
    expect(await relay.lag()).toMatchObject({ events: 1_500, ageMs: expect.any(Number) });
    await waitFor("all to be relayed", async () => (await relay.lag()).events === 0);
    // Redis trims whole nodes, of a hundred entries each.
    expect(await environment.redis.xlen(streamOf(environment.redis))).toBeLessThanOrEqual(300);
    expect(await findPosition(environment.database, "stream")).toBe(await newest());
  });
});

describe("one at a time", () => {
  test("another takes over when the holder is gone, and continues where the stream ends", async () => {
    const first = startRelay();
    const early = await write(10);
    await relayed(10);
    startRelay();
    first.redis.disconnect();
    const late = await write(10);
    const startedAt = performance.now();
    await relayed(20);
    expect(performance.now() - startedAt).toBeLessThan(7_000);
    expect(await subjects()).toEqual([...early, ...late]);
  });

  test("a holder that stops lets another continue at once", async () => {
    const first = startRelay();
    await write(1);
    await relayed(1);
    startRelay();
    await first.relay.stop();
    const startedAt = performance.now();
    await write(1);
    await relayed(2);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  test("one that was frozen while another took over adds nothing when it wakes up", async () => {
    let wakeUp = (): void => undefined;
    let isFrozen = false;
    const sleep = new Promise<void>((resolve) => (wakeUp = resolve));
    /** Its holder stands still between reading events and adding them, until its lease has run out. */
    class FreezingLog extends EventLog {
      override async read(page: Parameters<EventLog["read"]>[0]) {
        const events = await super.read(page);
        if (events.length > 0 && page.after > 0) {
          isFrozen = true;
          await sleep;
        }
        return events;
      }
    }
    let maySee = false;
    /** Finds nothing yet, so that the stream ends where the one that was frozen left it. */
    class EmptyLog extends EventLog {
      override read(page: Parameters<EventLog["read"]>[0]) {
        return maySee ? super.read(page) : Promise.resolve([]);
      }
    }
    const frozen = startRelay({ events: FreezingLog });
    const [early] = await write(1);
    await relayed(1);
    const late = await write(3);
    await waitFor("it to stand still", () => isFrozen);
    const next = startRelay({ events: EmptyLog });
    await waitFor("the next one to take over", () => next.relay.leads);
    wakeUp();
    await waitFor("the first one to find out", () => !frozen.relay.leads);
    expect(await subjects()).toEqual([early]);
    maySee = true;
    await relayed(4);
    expect(await subjects()).toEqual([early, ...late]);
  });

  test("the stream refuses a token smaller than it has seen, until Redis loses its data", async () => {
    const stream = new EventStream({ redis: connect(connectWorker), length: 1_000 });
    const message = (id: number) => ({ id, message: "{}" });
    expect(await stream.claim(7)).toBe(0);
    await stream.append([message(1), message(2)], { token: 7, end: 0, previous: 0 });
    expect(await stream.claim(8)).toBe(2);
    const late = { token: 7, end: 2, previous: 2 };
    await expect(stream.append([message(3)], late)).rejects.toThrow(StreamChangedError);
    await expect(stream.remove(7)).rejects.toThrow(StreamChangedError);
    await expect(stream.claim(7)).rejects.toThrow(StreamChangedError);
    await stream.append([message(3)], { ...late, token: 8 });
    await environment.redis.flushdb();
    await expect(stream.append([message(4)], { ...late, end: 3 })).rejects.toThrow("it ends with 0-0");
    expect(await stream.claim(7)).toBe(0);
  });

  test("what Redis receives twice is added once", async () => {
    const stream = new EventStream({ redis: connect(connectWorker), length: 1_000 });
    const again = () => stream.append([{ id: 7, message: "{}" }], { token: 1, end: 0, previous: 0 });
    await again();
    await expect(again()).rejects.toThrow("it ends with 7-0");
    expect(await stream.claim(1)).toBe(7);
  });
});

describe("when Redis has lost its data", () => {
  test("the newest part of the log is put there again, and no more than that", async () => {
    const { relay } = startRelay({ length: 500 });
    const early = await write(2_000);
    await waitFor("all to be relayed", async () => (await relay.lag()).events === 0);
    await environment.redis.flushdb();
    const late = await write(5);
    await relayed(500);
    await waitFor("the last one", async () => (await subjects()).at(-1) === late.at(-1));
    const found = await subjects();
    expect(found).toEqual([...early, ...late].slice(-found.length));
    expect(found.length).toBeGreaterThanOrEqual(500);
    expect(found.length).toBeLessThan(700);
  });

  test("the same if nothing has happened since", async () => {
    const { relay } = startRelay();
    const orders = await write(3);
    await waitFor("all to be relayed", async () => (await relay.lag()).events === 0);
    await environment.redis.flushdb();
    await relayed(3);
    expect(await subjects()).toEqual(orders);
  });

  test("everything not relayed by then follows, even if it is more than the stream keeps", async () => {
    const { relay } = startRelay({ length: 100 });
    await write(10);
    await waitFor("all to be relayed", async () => (await relay.lag()).events === 0);
    await relay.stop();
    await environment.redis.flushdb();
    await write(2_000);
    // Reads while it is fed: what is trimmed has been seen.
    const seen = new Set<number>();
    startRelay({ length: 100_000 });
    await relayed(2_010);
    for (const { id } of await entries()) seen.add(id);
    expect(seen.size).toBe(2_010);
  });
});

test("a relay that is notified while its connection is away rests, and continues when it is back", async () => {
  const { relay, redis } = startRelay();
  await write(1);
  await waitFor("the first event", async () => (await entries()).length === 1);
  redis.disconnect();
  await waitFor("it to be away", () => redis.status === "end");
  await write(1);
  await waitFor(
    "it to be told",
    async () => (await environment.redis.publish(notificationChannelOf(environment.redis), "")) > 0,
  );
  expect(relay.leads).toBe(true);
  await redis.connect();
  await waitFor("the second event", async () => (await entries()).length === 2);
});

test("a stream of another log begins anew", async () => {
  await environment.redis.xadd(streamOf(environment.redis), "1000000-0", "event", "{}", "previous", "0");
  startRelay();
  const orders = await write(3);
  await waitFor(
    "the stream to begin anew",
    async () => (await environment.redis.xlen(streamOf(environment.redis))) === 3,
  );
  expect(await subjects()).toEqual(orders);
});

test("an event that commits late comes before those written after it", async () => {
  startRelay();
  await write(1);
  await relayed(1);
  let commit: () => void = () => undefined;
  const committed = new Promise<void>((resolve) => (commit = resolve));
  const held = environment.database.transaction(async (queries) => {
    await queries.execute(
      sql`INSERT INTO order_events (order_id, to_status, at) VALUES ('held', 'CREATED', NOW(3))`,
    );
    await committed;
  });
  await waitFor("the event to be written", async () => (await nextEventId(environment.database)) === 3);
  const [late] = await write(1);
  await environment.redis.publish(notificationChannelOf(environment.redis), "");
  commit();
  await held;
  await relayed(3);
  expect((await subjects()).slice(1)).toEqual(["held", late]);
});
