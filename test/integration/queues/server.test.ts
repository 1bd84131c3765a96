import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import type { Connection } from "../../../queues/connection.ts";
import { Marker } from "../../../queues/marker.ts";
import { RedisServer } from "../../../queues/server.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { waitFor } from "../../support/wait-for.ts";

let environment: TestEnvironment;
let closing: (() => unknown)[];
beforeEach(async () => {
  environment = await createTestEnvironment({ migrated: false });
  closing = [];
});
afterEach(async () => {
  for (const close of closing.toReversed()) await close();
  await environment.close();
});

function server(id: string, { url = environment.redisUrl, prefix = "conveyor" } = {}): RedisServer {
  const made = new RedisServer({ url, prefix, installation: async () => id });
  closing.push(() => made.stop());
  return made;
}

function opened(redis: Connection): Connection & { readonly errors: string[] } {
  const errors: string[] = [];
  redis.on("error", ({ message }) => errors.push(message));
  closing.push(() => redis.disconnect());
  return Object.assign(redis, { errors });
}

/** As BullMQ makes one. */
function copyOf(redis: Connection): Connection {
  return redis instanceof Redis ? redis.duplicate() : redis.duplicate([]);
}

const marker = () => environment.redis.get("conveyor:marker");

describe("a Redis that is somebody else's", () => {
  test("is refused with what to do, and its marker left as it is", async () => {
    await server("ours").check();
    const before = await marker();
    await expect(server("theirs").checkAtStart()).rejects.toThrow(
      "Redis belongs to another installation, whose database has the identity ours: " +
        "set REDIS_PREFIX to a name of its own, or another database in REDIS_URL",
    );
    expect(await marker()).toBe(before);
    await server("ours").checkAtStart();
    await server("theirs", { prefix: "theirs" }).checkAtStart();
  });

  test("is claimed when it is empty: of many that come at once one gets it, and all agree which", async () => {
    const ids = Array.from({ length: 10 }, () => randomUUID());
    const got = await Promise.allSettled(ids.map((id) => server(id).check()));
    const winners = ids.filter((_, index) => got[index]?.status === "fulfilled");
    expect(winners).toHaveLength(1);
    for (const each of got)
      if (each.status === "rejected") expect(String(each.reason)).toContain(`identity ${winners[0]}`);
  });

  test.each([
    ["has all its jobs", "2026-11-20T10:00:00.000Z", undefined],
    ["is being given them back", "restoring 1 500 PAID 0190", { orders: 500, status: "PAID", after: "0190" }],
    ["is at the beginning of that", "restoring 1 0  ", { orders: 0, status: undefined, after: undefined }],
  ])("is taken over from an earlier version, when it %s", async (_, text, restoration) => {
    await environment.redis.set("conveyor:marker", text);
    const read = await new Marker(environment.redis, async () => "ours").restoration();
    if (restoration) expect(read).toMatchObject(restoration);
    else expect(read).toBeUndefined();
    await expect(server("theirs").check()).rejects.toThrow("identity ours");
    // Earlier versions read it as before.
    expect((await marker())?.startsWith(text.trimEnd())).toBe(true);
  });

  test("lets no connection become ready, also one that BullMQ makes of another", async () => {
    await server("theirs").check();
    const ours = server("ours");
    const redis = opened(ours.connectWorker());
    const copy = opened(copyOf(redis));
    await waitFor("the refusals", () => redis.errors.length > 2 && copy.errors.length > 2);
    expect(redis.errors[0]).toContain("set REDIS_PREFIX");
    expect(copy.errors[0]).toContain("set REDIS_PREFIX");
    const asked = redis.set("stray", 1);
    await environment.redis.del("conveyor:marker");
    // Whose it was is given time to write its marker again, and does.
    await server("theirs").check();
    expect(await environment.redis.exists("stray")).toBe(0);
    // Mended: given to us.
    await environment.redis.set("conveyor:marker", "2026-11-20T10:00:00.000Z ours");
    await asked;
    expect(await copy.get("stray")).toBe("1");
  });

  test("cuts off who used it when another comes first after a loss, until it is mended", async () => {
    const ours = server("ours");
    const redis = opened(ours.connectProducer());
    ours.watch(redis);
    await waitFor("a connection", () => redis.status === "ready");
    await environment.redis.set("conveyor:marker", "2026-11-20T10:00:00.000Z theirs");
    await waitFor("it to be cut off", () => redis.errors.length > 0);
    expect(redis.errors[0]).toContain("identity theirs");
    expect(redis.status).not.toBe("ready");
    await environment.redis.set("conveyor:marker", "2026-11-20T10:00:00.000Z ours");
    await waitFor("it to go on", () => redis.status === "ready");
  });

  test("is not taken by one who waits when it loses its data, but stays with whose it was", async () => {
    const theirs = server("theirs");
    const user = opened(theirs.connectProducer());
    theirs.watch(user);
    await waitFor("a connection", () => user.status === "ready");
    const stranger = opened(server("ours").connectWorker());
    await waitFor("a refusal", () => stranger.errors.length > 0);
    await environment.redis.flushdb();
    const back = await waitFor("the marker", async () => (await marker()) ?? false);
    expect(back).toContain("theirs");
    expect(stranger.status).not.toBe("ready");
  });
});

describe("a database that Redis does not have", () => {
  const elsewhere = () => {
    const url = new URL(environment.redisUrl);
    url.pathname = "/9999";
    return url.href;
  };

  test("is refused at the start with what is wrong", async () => {
    await expect(server("ours", { url: elsewhere() }).checkAtStart()).rejects.toThrow(
      /^REDIS_URL names database 9999, which Redis does not have: ERR /,
    );
  });

  test("is never taken for database 0, by no kind of connection", async () => {
    const other = server("ours", { url: elsewhere() });
    const connections = [other.connectProducer(), other.connectWorker()].map(opened);
    connections.push(...connections.map((each) => opened(copyOf(each))));
    await waitFor("the refusals", () => connections.every(({ errors }) => errors.length > 1));
    for (const { errors, status } of connections) {
      expect(errors[0]).toContain("database 9999");
      expect(status).not.toBe("ready");
    }
  });

  test("is refused once Redis no longer has it: a new connection does not use database 0", async () => {
    // As after a failover to a Redis with fewer: the connection's own SELECT is refused.
    const { connectProducer } = await import("../../../queues/connection.ts");
    const redis = opened(connectProducer(elsewhere()));
    await waitFor("refusals", () => redis.errors.length > 2);
    expect(redis.errors[0]).toContain("DB index is out of range");
    expect(redis.status).not.toBe("ready");
    await expect(redis.set("stray", 1)).rejects.toThrow();
  });
});

test("a Redis that is away is no reason not to start, and is checked when it comes", async () => {
  await server("ours", { url: "redis://127.0.0.1:1/0" }).checkAtStart();
});
