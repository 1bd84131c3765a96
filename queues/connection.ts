import { Redis, type ChainableCommander, type RedisOptions } from "ioredis";
import { isOfSelect, isReadOnlyReply } from "./errors.ts";

/** Milliseconds after which a producer gives up on Redis. */
const PRODUCER_TIMEOUT_MS = 1_000;
/**
 * Milliseconds without an answer after which a connection is replaced. Dropped packets close no connection, and
 * the system would wait for a quarter of an hour. Must exceed the 10 seconds for which BullMQ's commands block
 * until there is a job.
 */
const PRODUCER_SILENCE_MS = 3_000;
const WORKER_SILENCE_MS = 15_000;
/** Timeout of connecting and of every command for a single look, in milliseconds; long enough for a busy machine. */
const LOOK_TIMEOUT_MS = 3_000;
/** Minimum milliseconds between reconnects because of a replica. */
const RECONNECT_INTERVAL_MS = 1_000;

/**
 * For processes that must never wait for Redis: a command fails at once while Redis is away, and after a second
 * without an answer. A failed command may still have taken effect.
 */
export function connectProducer(url: string, options: Pick<RedisOptions, "Connector"> = {}): Redis {
  return neverElsewhere(
    new Redis(url, {
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: PRODUCER_TIMEOUT_MS,
      connectTimeout: PRODUCER_TIMEOUT_MS,
      socketTimeout: PRODUCER_SILENCE_MS,
      reconnectOnError: leaveReplica(),
      ...options,
    }),
  );
}

/** For workers, which wait until Redis is back. BullMQ requires these settings. */
export function connectWorker(url: string, options: Pick<RedisOptions, "Connector"> = {}): Redis {
  return neverElsewhere(
    new Redis(url, {
      maxRetriesPerRequest: null,
      socketTimeout: WORKER_SILENCE_MS,
      reconnectOnError: leaveReplica(),
      ...options,
    }),
  );
}

/** For a single look, which fails rather than waits. Connects when told to. */
export function connectOnce(url: string, options: Pick<RedisOptions, "Connector"> = {}): Redis {
  return new Redis(url, {
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    commandTimeout: LOOK_TIMEOUT_MS,
    connectTimeout: LOOK_TIMEOUT_MS,
    // ioredis waits this long to close a failed connection, and keeps the process alive.
    disconnectTimeout: 100,
    retryStrategy: () => null,
    ...options,
  });
}

/** Sends a pipeline. @returns the replies. @throws {Error} the first one. */
export async function repliesTo(pipeline: ChainableCommander): Promise<unknown[]> {
  return ((await pipeline.exec()) ?? []).map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}

/** If the configured database can't be selected, ioredis would use database 0; reconnect instead. */
function neverElsewhere(redis: Redis): Redis {
  return redis.on("error", (error) => {
    if (isOfSelect(error)) redis.disconnect(true);
  });
}

/**
 * After a failover, the address leads to the new primary, but existing connections still lead to the old one,
 * which takes no writes: reconnect. The command still fails; its caller decides whether to retry. Limited in
 * rate, since a Redis may also be read-only for good.
 */
function leaveReplica(): NonNullable<RedisOptions["reconnectOnError"]> {
  let last = -Infinity;
  return (error) => {
    const now = performance.now();
    if (!isReadOnlyReply(error) || now - last < RECONNECT_INTERVAL_MS) return false;
    last = now;
    return true;
  };
}
