import { Redis, type RedisOptions } from "ioredis";
import { isOfSelect, isReadOnlyReply } from "./errors.ts";

/** Milliseconds after which a producer takes Redis for gone. */
const PRODUCER_TIMEOUT_MS = 1_000;
/**
 * Milliseconds without an answer after which a connection is given up for a new one: packets that are dropped on the way
 * end no connection, and the system would wait for a quarter of an hour. Not shorter than the 10 seconds for which BullMQ
 * has Redis hold back its answer until there is a job.
 */
const PRODUCER_SILENCE_MS = 3_000;
const WORKER_SILENCE_MS = 15_000;
/** Milliseconds between two new connections for the reason that the one before led to a replica. */
const RECONNECT_INTERVAL_MS = 1_000;

/**
 * For processes that must never wait for Redis: a command fails at once while Redis is away, and after a second when
 * it doesn't answer. A failed command may have taken effect all the same.
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

/** For workers, which have nothing better to do than to wait until Redis is back. BullMQ asks for these settings. */
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

/** ioredis goes on with database 0 when the one that it was told to use can't be selected: rather connect again. */
function neverElsewhere(redis: Redis): Redis {
  return redis.on("error", (error) => {
    if (isOfSelect(error)) redis.disconnect(true);
  });
}

/**
 * After a failover the address leads to the new primary, but only who connects again gets there: connections to the old
 * one stay, and it takes no writes any more. The command fails even so; asking the new connection is its caller's
 * business. Now and then only, since a Redis may also be read-only for good.
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
