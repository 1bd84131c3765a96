import type { JobType, Queue } from "bullmq";
import type { Connection } from "./connection.ts";
import type { Queues } from "./queues.ts";
import type { Logger } from "../src/platform/log.ts";
import { nowMs } from "../src/platform/clock.ts";
import { keyOf } from "./keys.ts";
import { RedisCheck } from "./redis-check.ts";
import { queueNames } from "./shards.ts";
import type { Split } from "./step-queues.ts";

/*
 * A hash in Redis says how steps' queues are split: by this process, by others that have another number of shards, and by
 * those that have left jobs. For each split, such as `pay/4`, it has the time when a process last said so, or CLOSED once
 * nobody does and all that is left is failed jobs.
 *
 * It is written every two seconds, so that losing it is harmless: orders whose jobs are in queues that nobody knows
 * any more are queued again by the sweeper.
 */

const KEY = "shards";
const CLOSED = "closed";

const INTERVAL_MS = 2_000;
/** Workers serve a split that nobody has announced for this long only while it has jobs. Milliseconds. */
const LEFT_AFTER_MS = 15_000;

/**
 * Announces this process's splits, and follows those of others.
 *
 * @param options `tidies`: whether it also closes splits that nobody uses any more. Workers do.
 */
export function shardWatch(options: {
  readonly redis: Connection;
  readonly queues: Queues;
  readonly tidies: boolean;
  readonly log: Logger;
}): RedisCheck {
  const { redis, queues, tidies, log } = options;
  const check = new RedisCheck({
    name: "shards",
    redis,
    everyMs: INTERVAL_MS,
    failure: "could not read how queues are split",
    log,
    run: async () => {
      const splits = await announceSplits({ redis, queues });
      if (tidies) await closeUnused({ redis, queues }, splits);
    },
  });
  // It may have lost its data meanwhile.
  redis.on("ready", () => check.wake());
  return check;
}

interface Given {
  readonly redis: Connection;
  readonly queues: Queues;
}

/** The hash. */
type Splits = Readonly<Record<string, string>>;

/** Announces this process's splits, and has its queues follow all. @returns them. @throws {Error} of Redis. */
export async function announceSplits({ redis, queues }: Given): Promise<Splits> {
  const key = keyOf(redis, KEY);
  const own = queues.shards.own.map(({ step, shards }) => `${step}/${shards}`);
  const known = await redis.hgetall(key);
  // Versions without shards announce nothing, and had one queue a step.
  if (Object.keys(known).length === 0) own.push(...queues.steps.map(({ name }) => `${name}/1`));
  const announced = Object.fromEntries(own.map((split) => [split, String(nowMs())]));
  await redis.hset(key, announced);
  const splits = { ...known, ...announced };
  queues.shards.follow(splitsOf(splits));
  return splits;
}

/**
 * Has workers leave the queues of splits that nobody uses, and forgets those that are empty. @param splits those that the
 * queues follow. @throws {Error} of Redis.
 */
export async function closeUnused({ redis, queues }: Given, splits: Splits): Promise<void> {
  const key = keyOf(redis, KEY);
  const isLeft = (value: string) => value === CLOSED || nowMs() - Number(value) > LEFT_AFTER_MS;
  const inUse = splitsOf(Object.fromEntries(Object.entries(splits).filter(([, value]) => !isLeft(value))));
  const names = new Set(inUse.flatMap(({ step, shards }) => queueNames(step, shards)));
  for (const [name, value] of Object.entries(splits)) {
    const [split] = splitsOf({ [name]: value });
    if (split === undefined || !isLeft(value)) continue;
    const all = queues.shards.ofSplit(split);
    const unfinished = await count(
      all.filter((queue) => !names.has(queue.name)),
      ["waiting", "active", "delayed", "prioritized"],
    );
    if (unfinished > 0) {
      if (value === CLOSED) await redis.hset(key, name, nowMs());
    } else if ((await count(all, ["waiting", "active", "delayed", "prioritized", "failed"])) > 0) {
      // Also if they are in a queue that another split has, too: only by this split an order is known to be there.
      await redis.hset(key, name, CLOSED);
    } else await redis.hdel(key, name);
  }
}

async function count(queues: readonly Queue[], states: JobType[]): Promise<number> {
  const counts = await Promise.all(queues.map((queue) => queue.getJobCountByTypes(...states)));
  return counts.reduce((sum, each) => sum + each, 0);
}

function splitsOf(hash: Splits): Split[] {
  return Object.entries(hash).flatMap(([name, value]) => {
    const [, step, shards] = /^(.+)\/(\d+)$/.exec(name) ?? [];
    return step === undefined ? [] : [{ step, shards: Number(shards), isServed: value !== CLOSED }];
  });
}
