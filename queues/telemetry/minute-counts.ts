import { send, type Connection, type RedisCommand } from "../connection.ts";
import { keyOf } from "../keys.ts";
import { nowMs } from "../../src/platform/clock.ts";

/*
 * Counts and durations of each step's jobs per minute, in Redis, from all workers. Only for display, so losing them is
 * harmless.
 */

/** Seconds for which a minute is kept after its last change. */
const KEPT_SECONDS = 2 * 3_600;
/** Duration buckets per doubling: readings are at most a fifth too large. */
const BUCKETS_PER_DOUBLING = 4;

/** Counts of a step's jobs over one or more minutes. */
export interface StepCounts {
  /** Jobs done. */
  done: number;
  /** Attempts that failed. */
  failed: number;
  /** Jobs done by duration; {@link bucketLimit} gives a bucket's upper limit. */
  readonly buckets: Map<number, number>;
}

export function noCounts(): StepCounts {
  return { done: 0, failed: 0, buckets: new Map() };
}

/** A time as whole minutes since 1970. */
export function minuteOf(time: number): number {
  return Math.floor(time / 60_000);
}

/** The longest duration of a bucket, in milliseconds. */
export function bucketLimit(bucket: number): number {
  return 2 ** (bucket / BUCKETS_PER_DOUBLING);
}

function bucketOf(milliseconds: number): number {
  return Math.max(0, Math.ceil(Math.log2(Math.max(milliseconds, 1)) * BUCKETS_PER_DOUBLING));
}

/** A quantile of the durations, in milliseconds; undefined without jobs. */
export function quantile({ buckets }: StepCounts, part: number): number | undefined {
  const total = [...buckets.values()].reduce((sum, count) => sum + count, 0);
  let left = total * part;
  for (const [bucket, count] of [...buckets].toSorted(([a], [b]) => a - b)) {
    left -= count;
    if (left <= 0) return bucketLimit(bucket);
  }
  return undefined;
}

/** Adds up the counts of several minutes or workers. */
export function sumOf(counts: Iterable<StepCounts>): StepCounts {
  const sum = noCounts();
  for (const { done, failed, buckets } of counts) {
    sum.done += done;
    sum.failed += failed;
    for (const [bucket, count] of buckets) sum.buckets.set(bucket, (sum.buckets.get(bucket) ?? 0) + count);
  }
  return sum;
}

/** Counts in memory what a process does, until the counts are taken. */
export class MinuteCounts {
  #counts = new Map<string, StepCounts>();

  /** Counts a job done, with its duration in milliseconds. */
  done(step: string, milliseconds: number): void {
    const counts = this.#now(step);
    const bucket = bucketOf(milliseconds);
    counts.done++;
    counts.buckets.set(bucket, (counts.buckets.get(bucket) ?? 0) + 1);
  }

  /** Counts a failed attempt. */
  failed(step: string): void {
    this.#now(step).failed++;
  }

  /** Returns the counts since the last call, by key. */
  take(): ReadonlyMap<string, StepCounts> {
    const taken = this.#counts;
    this.#counts = new Map();
    return taken;
  }

  #now(step: string): StepCounts {
    const key = minuteKey(step, minuteOf(nowMs()));
    let counts = this.#counts.get(key);
    if (counts === undefined) this.#counts.set(key, (counts = noCounts()));
    return counts;
  }
}

/** Adds a process's counts to those in Redis. @throws {Error} of Redis. */
export async function addCounts(redis: Connection, taken: ReadonlyMap<string, StepCounts>): Promise<void> {
  if (taken.size === 0) return;
  const commands: RedisCommand[] = [];
  for (const [name, { done, failed, buckets }] of taken) {
    const key = keyOf(redis, name);
    if (done > 0) commands.push(["hincrby", key, DONE, done]);
    if (failed > 0) commands.push(["hincrby", key, FAILED, failed]);
    for (const [bucket, count] of buckets) commands.push(["hincrby", key, bucket, count]);
    commands.push(["expire", key, KEPT_SECONDS]);
  }
  await send(redis, commands);
}

/** The counts of each step for each of `minutes` minutes up to `last`, oldest first. @throws {Error} of Redis. */
export async function readCounts(
  redis: Connection,
  steps: readonly string[],
  { last, minutes }: { readonly last: number; readonly minutes: number },
): Promise<Map<string, StepCounts[]>> {
  const wanted = steps.flatMap((step) =>
    Array.from({ length: minutes }, (_, index) => minuteKey(step, last - minutes + 1 + index)),
  );
  const answers = await send(
    redis,
    wanted.map((name) => ["hgetall", keyOf(redis, name)]),
  );
  const counts = answers.map(parsed);
  return new Map(steps.map((step, index) => [step, counts.slice(index * minutes, (index + 1) * minutes)]));
}

const DONE = "done";
const FAILED = "failed";

function minuteKey(step: string, minute: number): string {
  return `minute:${step}:${minute}`;
}

function parsed(fields: unknown): StepCounts {
  const counts = noCounts();
  for (const [field, value] of Object.entries(fields ?? {})) {
    if (field === DONE) counts.done = Number(value);
    else if (field === FAILED) counts.failed = Number(value);
    else counts.buckets.set(Number(field), Number(value));
  }
  return counts;
}
