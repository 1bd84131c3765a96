import type { Queue } from "bullmq";
import { send, type Connection } from "./connection.ts";
import type { QueueSettings, StoredSettings } from "../src/engine/ports.ts";
import type { Step } from "../src/order/stage.ts";
import { keyBesideQueue } from "./keys.ts";
import type { Queues } from "./queues.ts";
import { partOfConcurrency, partOfRate, type Part } from "./shards.ts";

/** When the settings in Redis were changed, beside the queue. Lost together with them. */
const APPLIED = "settings";

/** A step's settings, in BullMQ's hash for each of its queues if there are several, which BullMQ gives but their parts. */
const WHOLE = "step";

/** What limits a queue, or all queues of a step. */
type StepLimits = Pick<QueueSettings, "concurrency" | "rateLimit">;

/** Applies settings to all workers, through Redis, which they check with every job. */
async function applyControls(
  redis: Connection,
  queue: Queue,
  wanted: QueueSettings,
  part: Part,
): Promise<void> {
  const { concurrency, rateLimit } = partOfLimits(wanted, part);
  const whole: StepLimits = { concurrency: wanted.concurrency, rateLimit: wanted.rateLimit };
  await (part.of > 1
    ? redis.hset(queue.toKey("meta"), WHOLE, JSON.stringify(whole))
    : redis.hdel(queue.toKey("meta"), WHOLE));
  await (concurrency === null ? queue.removeGlobalConcurrency() : queue.setGlobalConcurrency(concurrency));
  await applyRateLimit(queue, rateLimit);
  if (wanted.paused !== (await queue.isPaused())) await (wanted.paused ? queue.pause() : queue.resume());
}

function partOfLimits({ concurrency, rateLimit }: StepLimits, part: Part): StepLimits {
  const rate = rateLimit && partOfRate({ max: rateLimit.max, duration: rateLimit.durationMs }, part);
  return {
    concurrency: concurrency && partOfConcurrency(concurrency, part),
    rateLimit: rate && { max: rate.max, durationMs: rate.duration },
  };
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
  const ours = settings.flatMap((wanted) => {
    const step = queues.steps.find(({ name }) => name === wanted.step);
    // Those of a removed stage have no queue.
    return (step ? queues.shards.served(step) : []).map((queue) => {
      const part = queues.shards.partOf(queue);
      const stamp = [wanted.updatedAt.toISOString(), ...(part.of > 1 ? [`${part.index}/${part.of}`] : [])];
      return { queue, wanted, part, key: keyBesideQueue(redis, queue, APPLIED), stamp: stamp.join(" ") };
    });
  });
  const applied = await send(
    redis,
    ours.map(({ key }) => ["get", key]),
  );
  const stale = ours.filter(({ stamp }, index) => applied[index] !== stamp);
  for (const { queue, wanted, part, key, stamp } of stale) {
    await applyControls(redis, queue, wanted, part);
    await redis.set(key, stamp);
  }
  return stale.length;
}

/** What holds for a step over all workers. */
export interface Limits {
  /** Whether the step is neither paused nor limited, in concurrency or rate. */
  readonly isUnlimited: boolean;
  /** Null for no limit. */
  readonly concurrency: number | null;
  /** Only if it can't be divided among the step's queues. */
  readonly rateLimit: QueueSettings["rateLimit"];
}

/** The limits of a step, read where BullMQ's own scripts read them. @throws {Error} of Redis. */
export async function readLimits(
  { queues, redis }: { readonly queues: Queues; readonly redis: Connection },
  step: Pick<Step, "name">,
): Promise<Limits> {
  const [queue, ...others] = queues.shards.served(step);
  const fields = ["concurrency", "paused", "max", "duration", WHOLE];
  const [concurrency, paused, max, duration, text] = queue
    ? await redis.hmget(queue.toKey("meta"), ...fields)
    : [];
  const whole = wholeOf(text);
  const rateLimit = whole?.rateLimit ?? null;
  return {
    isUnlimited: [concurrency, paused, max, duration].every((limit) => limit === null),
    concurrency: whole ? whole.concurrency : concurrency ? Number(concurrency) : null,
    rateLimit: rateLimit && rateLimit.max <= others.length ? rateLimit : null,
  };
}

/** A step's current settings in Redis. @throws {Error} of Redis. */
export async function readControls(
  { queues, redis }: { readonly queues: Queues; readonly redis: Connection },
  step: Pick<Step, "name">,
): Promise<QueueSettings> {
  const [queue] = queues.shards.served(step);
  const controls = queue ? await controlsOf(queue) : { paused: false, concurrency: null, rateLimit: null };
  const whole = queue && wholeOf(await redis.hget(queue.toKey("meta"), WHOLE));
  return { ...controls, ...whole };
}

function wholeOf(text: string | null | undefined): StepLimits | undefined {
  return text ? JSON.parse(text) : undefined;
}

async function controlsOf(queue: Queue): Promise<QueueSettings> {
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
