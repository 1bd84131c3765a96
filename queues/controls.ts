import type { Queue } from "bullmq";
import { send, type Connection } from "./connection.ts";
import type { QueueSettings, StoredSettings } from "../src/engine/ports.ts";
import type { Step } from "../src/order/stage.ts";
import { keyBesideQueue } from "./keys.ts";
import type { Queues } from "./queues.ts";

/** When the settings in Redis were changed, beside the queue. Lost together with them. */
const APPLIED = "settings";

/** Applies settings to all workers, through Redis, which they check with every job. */
async function applyControls(queue: Queue, wanted: QueueSettings): Promise<void> {
  const { concurrency, rateLimit } = wanted;
  await (concurrency === null ? queue.removeGlobalConcurrency() : queue.setGlobalConcurrency(concurrency));
  await applyRateLimit(queue, rateLimit);
  if (wanted.paused !== (await queue.isPaused())) await (wanted.paused ? queue.pause() : queue.resume());
}

async function applyRateLimit(queue: Queue, wanted: QueueSettings["rateLimit"]): Promise<void> {
  const current = await queue.getGlobalRateLimit();
  if (current?.max === wanted?.max && current?.duration === wanted?.durationMs) return;
  await (wanted === null
    ? queue.removeGlobalRateLimit()
    : queue.setGlobalRateLimit(wanted.max, wanted.durationMs));
  // BullMQ would finish the window of the old limit first, which may be a day long.
  await queue.removeRateLimitKey();
}

/**
 * Applies settings that Redis lacks, because it was away during the change or has lost its data. Keeps what was
 * changed only in Redis. @returns how many queues were updated. @throws {Error} of Redis.
 */
export async function restoreControls(
  { queues, redis }: { readonly queues: Queues; readonly redis: Connection },
  settings: readonly StoredSettings[],
): Promise<number> {
  // Those of a removed stage have no queue.
  const ours = settings.flatMap((each) => {
    const queue = queues.all.find(({ name }) => name === each.step);
    return queue ? [{ queue, wanted: each, key: keyBesideQueue(redis, queue, APPLIED) }] : [];
  });
  const applied = await send(
    redis,
    ours.map(({ key }) => ["get", key]),
  );
  const stale = ours.filter(({ wanted }, index) => applied[index] !== wanted.updatedAt.toISOString());
  for (const { queue, wanted, key } of stale) {
    await applyControls(queue, wanted);
    await redis.set(key, wanted.updatedAt.toISOString());
  }
  return stale.length;
}

/** What holds for a step over all workers. */
export interface Limits {
  /** Whether the step is neither paused nor limited, in concurrency or rate. */
  readonly isUnlimited: boolean;
  readonly hasConcurrency: boolean;
}

/** The limits of a step's queue, read where BullMQ's own scripts read them. @throws {Error} of Redis. */
export async function readLimits(
  { queues, redis }: { readonly queues: Queues; readonly redis: Connection },
  step: Pick<Step, "name">,
): Promise<Limits> {
  const key = queues.of(step).toKey("meta");
  const limits = await redis.hmget(key, "concurrency", "paused", "max", "duration");
  return { isUnlimited: limits.every((limit) => limit === null), hasConcurrency: limits[0] !== null };
}

/** A queue's current settings in Redis. @throws {Error} of Redis. */
export async function readControls(queue: Queue): Promise<QueueSettings> {
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
