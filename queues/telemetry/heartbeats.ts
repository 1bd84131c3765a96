import type { Redis } from "ioredis";
import { keyOf } from "../keys.ts";

/*
 * Which workers are alive, as they say themselves every few seconds. A worker's own key expires when it says no more;
 * the set of all names saves looking for keys among those of a million jobs.
 */

const NAMES = "workers";
/** A worker that has said nothing for so long is not alive. */
export const ALIVE_SECONDS = 15;
/** Names of workers that are gone are forgotten after a while. */
const FORGOTTEN_AFTER_MS = 3_600_000;

/** What a worker says of itself. */
export interface Heartbeat {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** The steps that it works on. */
  readonly steps: readonly {
    readonly name: string;
    /** Jobs that it works on. */
    readonly held: number;
    /** Jobs that it takes at the same moment. */
    readonly concurrency: number;
    /** Whether it takes none, because something is away. */
    readonly standsStill: boolean;
  }[];
  /** The stages whose circuit breaker is not closed in this worker, with the service that is to blame. */
  readonly open: readonly {
    readonly stage: string;
    readonly service: string | null;
    /** Workers of an earlier version do not say. */
    readonly trouble?: "away" | "half open" | "failing";
  }[];
}

/** Says that a worker is alive. @throws {Error} of Redis. */
export async function beat(redis: Redis, heartbeat: Heartbeat): Promise<void> {
  const now = Date.now();
  const answers = await redis
    .pipeline()
    .set(workerKey(redis, heartbeat.id), JSON.stringify(heartbeat), "EX", ALIVE_SECONDS)
    .zadd(keyOf(redis, NAMES), now, heartbeat.id)
    .zremrangebyscore(keyOf(redis, NAMES), "-inf", now - FORGOTTEN_AFTER_MS)
    .exec();
  for (const [error] of answers ?? []) if (error) throw error;
}

/** Says that a worker has ended. @throws {Error} of Redis. */
export async function lastBeat(redis: Redis, id: string): Promise<void> {
  await redis.pipeline().del(workerKey(redis, id)).zrem(keyOf(redis, NAMES), id).exec();
}

/** The workers that are alive, in order of their start. @throws {Error} of Redis. */
export async function readHeartbeats(redis: Redis): Promise<Heartbeat[]> {
  const ids = await redis.zrange(keyOf(redis, NAMES), "0", "-1");
  if (ids.length === 0) return [];
  const pipeline = redis.pipeline();
  for (const id of ids) pipeline.get(workerKey(redis, id));
  const alive = ((await pipeline.exec()) ?? []).flatMap(([error, text]): Heartbeat[] => {
    if (error) throw error;
    return typeof text === "string" ? [JSON.parse(text)] : [];
  });
  return alive.toSorted((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
}

function workerKey(redis: Redis, id: string): string {
  return keyOf(redis, `worker:${id}`);
}
