import { send, type Connection } from "../connection.ts";
import type { Step } from "../../src/order/stage.ts";
import { keyOf } from "../keys.ts";
import { nowMs } from "../../src/platform/clock.ts";

/*
 * The workers that are alive, by heartbeats every few seconds. A worker's key expires when its heartbeats stop; a set of
 * all names avoids scanning for keys among those of a million jobs.
 */

const NAMES = "workers";
/** A worker without a heartbeat for this long is not alive. */
export const ALIVE_SECONDS = 15;
/** The names of dead workers are removed after a while. */
const FORGOTTEN_AFTER_MS = 3_600_000;

/** A worker's heartbeat. */
export interface Heartbeat {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** How far its clock is ahead of MySQL's, in milliseconds. Missing from workers of earlier versions. */
  readonly clockSkewMs?: number;
  /** The steps that it processes. */
  readonly steps: readonly {
    readonly name: string;
    /** Orders in the step. */
    readonly held: number;
    /** Orders that came without a job in the step's queue, or may be about to. Missing from workers of earlier versions. */
    readonly guests?: number;
    /** Orders that may be in the step at once. */
    readonly concurrency: number;
    /** Whether it takes no jobs, because something is away. */
    readonly standsStill: boolean;
  }[];
  /** The steps that it leaves to others, because another pipeline is in force. Missing from workers of earlier versions. */
  readonly left?: readonly string[];
  /** The stages whose circuit breaker is not closed in this worker, with the service at fault. */
  readonly open: readonly {
    readonly stage: string;
    readonly service: string | null;
    /** Missing from workers of earlier versions. */
    readonly trouble?: "away" | "misconfigured" | "half open" | "failing";
    /** What the service answered, if it is not set up right. */
    readonly reason?: string | undefined;
  }[];
}

/** Reports that a worker is alive. @throws {Error} of Redis. */
export async function beat(redis: Connection, heartbeat: Heartbeat): Promise<void> {
  const now = nowMs();
  await send(redis, [
    ["set", workerKey(redis, heartbeat.id), JSON.stringify(heartbeat), "EX", ALIVE_SECONDS],
    ["zadd", keyOf(redis, NAMES), now, heartbeat.id],
    ["zremrangebyscore", keyOf(redis, NAMES), "-inf", now - FORGOTTEN_AFTER_MS],
  ]);
}

/** Reports what a worker does, between its heartbeats. @throws {Error} of Redis. */
export async function report(redis: Connection, heartbeat: Heartbeat): Promise<void> {
  await redis.set(workerKey(redis, heartbeat.id), JSON.stringify(heartbeat), "EX", ALIVE_SECONDS);
}

/** Reports that a worker has stopped. @throws {Error} of Redis. */
export async function lastBeat(redis: Connection, id: string): Promise<void> {
  await send(redis, [
    ["del", workerKey(redis, id)],
    ["zrem", keyOf(redis, NAMES), id],
  ]);
}

/** The workers that are alive, oldest first. @throws {Error} of Redis. */
export async function readHeartbeats(redis: Connection): Promise<Heartbeat[]> {
  const ids = await redis.zrange(keyOf(redis, NAMES), "0", "-1");
  if (ids.length === 0) return [];
  const found = await send(
    redis,
    ids.map((id) => ["get", workerKey(redis, id)]),
  );
  const alive = found.flatMap((text): Heartbeat[] => (typeof text === "string" ? [JSON.parse(text)] : []));
  return alive.toSorted((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
}

/** Whether any worker may have guests in a step. @throws {Error} of Redis. */
export async function haveGuests(redis: Connection, { name }: Pick<Step, "name">): Promise<boolean> {
  const workers = await readHeartbeats(redis);
  return workers.some(({ steps }) => steps.some((step) => step.name === name && (step.guests ?? 0) > 0));
}

function workerKey(redis: Connection, id: string): string {
  return keyOf(redis, `worker:${id}`);
}
