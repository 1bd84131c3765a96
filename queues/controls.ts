import type { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { keyOf } from "./keys.ts";
import type { Queues } from "./queues.ts";

/** How a queue is to be over all workers, whatever Redis says of it. */
export interface QueueControls {
  readonly step: string;
  readonly paused: boolean;
  /** Jobs at the same moment; null for as many as the workers take. */
  readonly concurrency: number | null;
  /** So many jobs in so many milliseconds; null for what the stage itself says. */
  readonly rateLimit: { readonly max: number; readonly durationMs: number } | null;
}

/** Of when the settings are that Redis has, by step: lost with them. */
const APPLIED = "queue-settings";

/** Has all workers go by these settings from now on: those of Redis, which they ask with every job. */
async function applyControls(queues: Queues, { step, ...wanted }: QueueControls): Promise<void> {
  const queue = queues.all.find(({ name }) => name === step);
  // Of a stage that is no more.
  if (queue === undefined) return;
  const { concurrency, rateLimit } = wanted;
  await (concurrency === null ? queue.removeGlobalConcurrency() : queue.setGlobalConcurrency(concurrency));
  await applyRateLimit(queue, rateLimit);
  if (wanted.paused !== (await queue.isPaused())) await (wanted.paused ? queue.pause() : queue.resume());
}

async function applyRateLimit(queue: Queue, wanted: QueueControls["rateLimit"]): Promise<void> {
  const current = await queue.getGlobalRateLimit();
  if (current?.max === wanted?.max && current?.duration === wanted?.durationMs) return;
  await (wanted === null
    ? queue.removeGlobalRateLimit()
    : queue.setGlobalRateLimit(wanted.max, wanted.durationMs));
  // BullMQ would finish the window of the old limit first, which may be a day long.
  await queue.removeRateLimitKey();
}

/**
 * Has Redis as the settings say, for queues of which it has others: after a change that it was not there for, or after a
 * loss of its data. What somebody has changed in Redis alone is left. @returns how many had to be. @throws {Error} of Redis.
 */
export async function restoreControls(
  { queues, redis }: { readonly queues: Queues; readonly redis: Redis },
  settings: readonly (QueueControls & { readonly updatedAt: Date })[],
): Promise<number> {
  const applied = await redis.hgetall(keyOf(redis, APPLIED));
  const stale = settings.filter(({ step, updatedAt }) => applied[step] !== updatedAt.toISOString());
  for (const each of stale) {
    await applyControls(queues, each);
    await redis.hset(keyOf(redis, APPLIED), each.step, each.updatedAt.toISOString());
  }
  return stale.length;
}

/** What a queue's settings are in Redis now. @throws {Error} of Redis. */
export async function readControls(queue: Queue): Promise<Omit<QueueControls, "step">> {
  const [paused, concurrency, rateLimit] = await Promise.all([
    queue.isPaused(),
    queue.getGlobalConcurrency(),
    queue.getGlobalRateLimit(),
  ]);
  return {
    paused,
    concurrency,
    rateLimit: rateLimit && { max: rateLimit.max, durationMs: rateLimit.duration },
  };
}
