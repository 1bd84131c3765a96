import { Queue } from "bullmq";
import { establish, send, type Connection } from "./connection.ts";
import type { StageSettings } from "../src/order/stage.ts";
import { queuePrefix } from "./keys.ts";
import type { RedisServer } from "./server.ts";
import { nowMs } from "../src/platform/clock.ts";

/** A delayed job is taken when a worker next looks; machines' clocks differ a little, too. */
const OVERDUE_MS = 5_000;
/** Active jobs to check, oldest first, for stalled ones. */
const PAGE = 100;

/** A queue to check, with its workers' rate limit. */
export interface LookedAt {
  readonly name: string;
  readonly settings: Pick<StageSettings, "rateLimit">;
}

/** A queue's backlog. */
export interface Backlog {
  /** Jobs that can be taken now: none while the queue is paused or at its rate limit or global concurrency. */
  readonly ready: number;
  /** Active jobs without a lock. Healthy workers put them back within seconds. */
  readonly abandoned: number;
}

/**
 * Checks queues over a new connection, since a failure of an old one says nothing about Redis.
 *
 * @throws {Error} if Redis does not answer within seconds.
 */
export async function readBacklogs(
  server: Pick<RedisServer, "connectOnce">,
  queues: readonly LookedAt[],
): Promise<Backlog[]> {
  const connection = server.connectOnce();
  connection.on("error", () => {});
  try {
    await establish(connection);
    return await Promise.all(queues.map((queue) => readBacklog(connection, queue)));
  } finally {
    connection.disconnect();
  }
}

async function readBacklog(connection: Connection, { name, settings }: LookedAt): Promise<Backlog> {
  const queue = new Queue(name, {
    connection,
    prefix: queuePrefix(connection, { name }),
    skipMetasUpdate: true,
    skipVersionCheck: true,
    skipWaitingForReady: true,
  });
  queue.on("error", () => {});
  try {
    if (await queue.isPaused()) return { ready: 0, abandoned: 0 };
    const [ready, isHeldUp, abandoned] = await Promise.all([
      countReady(queue),
      isAtItsLimits(queue, settings.rateLimit?.max),
      countAbandoned(queue, connection),
    ]);
    return { ready: isHeldUp ? 0 : ready, abandoned };
  } finally {
    await queue.close();
  }
}

async function countReady(queue: Queue): Promise<number> {
  const [waiting, overdue] = await Promise.all([
    queue.getJobCountByTypes("waiting", "prioritized"),
    queue.getDelayedCount(nowMs() - OVERDUE_MS),
  ]);
  return waiting + overdue;
}

/** @param workersMax the workers' rate limit; the queue's own takes precedence. */
async function isAtItsLimits(queue: Queue, workersMax: number | undefined): Promise<boolean> {
  if (await queue.isMaxed()) return true;
  const max = (await queue.getGlobalRateLimit())?.max ?? workersMax;
  return max !== undefined && (await queue.getRateLimitTtl(max)) > 0;
}

async function countAbandoned(queue: Queue, connection: Connection): Promise<number> {
  const before = await queue.getRanges(["active"], 0, PAGE - 1, true);
  const unlocked = [];
  for (const [index, locked] of (await areLocked(queue, connection, before)).entries()) {
    if (!locked) unlocked.push(before[index]);
  }
  if (unlocked.length === 0) return 0;
  // A job that has just ended has no lock either, but is no longer active.
  const after = new Set<unknown>(await queue.getRanges(["active"], 0, PAGE - 1, true));
  return unlocked.filter((id) => after.has(id)).length;
}

async function areLocked(queue: Queue, connection: Connection, ids: readonly string[]): Promise<boolean[]> {
  const replies = await send(
    connection,
    ids.map((id) => ["exists", queue.toKey(`${id}:lock`)]),
  );
  return replies.map((exists) => exists === 1);
}
