import { describe, expect, test } from "@jest/globals";
import { UnrecoverableError } from "bullmq";
import { Redis, ReplyError } from "ioredis";
import { DatabaseError } from "../../../db/errors.ts";
import { connectProducer } from "../../../queues/connection.ts";
import { isRedisUnavailable } from "../../../queues/errors.ts";
import { Queues } from "../../../queues/queues.ts";
import { failureOf } from "../../../src/engine/failure.ts";
import { DispatcherUnavailableError } from "../../../src/engine/ports.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { freePort } from "../../../tools/launcher/ports.ts";
import { withoutSecrets } from "../../../src/engine/redact.ts";
import { NOTHING_MORE } from "../../support/orders.ts";

/** As ioredis makes them of what Redis answers. */
const reply = (message: string): Error => new ReplyError(message);

describe("Redis is away when it answers", () => {
  test.each([
    "READONLY You can't write against a read only replica. script: 1f2e, on @user_script:9.",
    "OOM command not allowed when used memory > 'maxmemory'. script: 1f2e, on @user_script:9.",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "CLUSTERDOWN The cluster is down",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "NOSCRIPT No matching script. Please use EVAL.",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM User default has no permissions to run the 'evalsha' command",
    "ERR max number of clients reached",
    // Redis 6.2.
    "ERR Error running script (call to f_1f2e): @user_script:9: -OOM command not allowed when used memory > 'maxmemory'.",
    "ERR Error running script (call to f_1f2e): @user_script:9: @user_script: 9: -READONLY You can't write against a read only replica.",
  ])("%s", (message) => {
    expect(isRedisUnavailable(reply(message))).toBe(true);
  });

  test("that it gave up a transaction for such a reason", () => {
    const abort = (cause: string) =>
      Object.assign(reply("EXECABORT Transaction discarded because of previous errors."), {
        previousErrors: [reply(cause)],
      });
    expect(isRedisUnavailable(abort("OOM command not allowed when used memory > 'maxmemory'."))).toBe(true);
    expect(isRedisUnavailable(abort("ERR wrong number of arguments for 'set' command"))).toBe(false);
  });
});

describe("Redis is away when ioredis", () => {
  /** What a command meets on this connection to a port where nobody listens. */
  async function met(options: object, during: (redis: Redis) => void = () => undefined): Promise<unknown> {
    const redis = new Redis(await freePort(), "127.0.0.1", { ...options, disconnectTimeout: 10 });
    redis.on("error", () => undefined);
    try {
      const asked = redis.get("key");
      during(redis);
      return await asked.catch((error: unknown) => error);
    } finally {
      redis.disconnect();
    }
  }

  test.each([
    ["has no connection, and may not wait for one", { enableOfflineQueue: false }, /^Stream isn't writeable/],
    ["has tried to connect often enough", { maxRetriesPerRequest: 0 }, /^Reached the max retries/],
    ["got no answer in time", { commandTimeout: 50, maxRetriesPerRequest: null }, /^Command timed out$/],
  ])("%s", async (_, options, message) => {
    const error = await met(options);
    expect(error).toHaveProperty("message", expect.stringMatching(message));
    expect(isRedisUnavailable(error)).toBe(true);
  });

  test("closes the connection", async () => {
    const error = await met({ maxRetriesPerRequest: null }, (redis) => redis.disconnect());
    expect(error).toHaveProperty("message", "Connection is closed.");
    expect(isRedisUnavailable(error)).toBe(true);
  });

  test.each([
    "Command aborted due to connection close",
    "Too many Cluster redirections. Last error: ReplyError: MOVED 1 127.0.0.1:7001",
    "Cluster isn't ready and enableOfflineQueue options is false",
    "None of startup nodes is available",
  ])("says: %s", (message) => {
    expect(isRedisUnavailable(new Error(message))).toBe(true);
  });
});

test("the engine is told by an error of its own that Redis is away", async () => {
  const connection = connectProducer(`redis://127.0.0.1:${await freePort()}`);
  connection.on("error", () => undefined);
  const queues = new Queues({ connection, lifecycle, onError: () => undefined });
  const transition = lifecycle.due("CREATED");
  const due = transition ? [{ orderId: "o", transition }] : [];
  try {
    for (const asked of [queues.enqueue(due), queues.revive(due)]) {
      const error = await asked.catch((failure: unknown) => failure);
      expect(error).toBeInstanceOf(DispatcherUnavailableError);
      expect(failureOf(error, { timeoutMs: 1 }).kind).toBe("redis away");
      expect(isRedisUnavailable(error)).toBe(true);
    }
  } finally {
    connection.disconnect();
  }
});

test("it is still told when the error was copied without its secrets", () => {
  const error = reply("OOM command not allowed when used memory > 'maxmemory': tok_secret");
  const copy = withoutSecrets(error, {
    ...NOTHING_MORE,
    paymentToken: "tok_secret",
    shipTo: null,
  });
  expect(copy).not.toBe(error);
  expect(isRedisUnavailable(copy)).toBe(true);
});

describe("Redis is not away for", () => {
  test.each([
    ["a command that it doesn't know", reply("ERR unknown command 'FLY'")],
    ["a key of another type", reply("WRONGTYPE Operation against a key holding the wrong kind of value")],
    [
      "a script with a fault",
      reply("ERR user_script:1: Script attempted to access nonexistent global variable"),
    ],
    ["a stage's error that begins like Redis'", new Error("READONLY mode of the provider")],
    [
      "a system error, which is somebody else's",
      Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED", syscall: "connect" }),
    ],
    ["an absent MySQL", new DatabaseError("ECONNREFUSED", undefined)],
    ["BullMQ's own", new UnrecoverableError("no")],
    ["a lost lock", new Error("Missing lock for job 1-a-b. moveToFinished")],
    ["no error at all", "OOM"],
  ])("%s", (_, error) => {
    expect(isRedisUnavailable(error)).toBe(false);
  });
});
