import { Redis } from "ioredis";

/** Milliseconds after which a producer takes Redis for gone. */
const PRODUCER_TIMEOUT_MS = 1_000;

/**
 * For processes that must never wait for Redis: a command fails at once while Redis is away, and after a second when
 * it doesn't answer. A failed command may have taken effect all the same.
 */
export function connectProducer(url: string): Redis {
  return new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: PRODUCER_TIMEOUT_MS,
    connectTimeout: PRODUCER_TIMEOUT_MS,
  });
}

/** For workers, which have nothing better to do than to wait until Redis is back. BullMQ asks for these settings. */
export function connectWorker(url: string): Redis {
  return new Redis(url, { maxRetriesPerRequest: null });
}
