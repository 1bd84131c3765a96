import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { StageSettings } from "../src/order/stage.ts";
import { queuePrefix } from "./keys.ts";
import type { RedisServer } from "./server.ts";

/** A delayed job is taken up when a worker next looks; the clocks of several machines differ a little, too. */
const OVERDUE_MS = 5_000;
/** Active jobs looked at, the oldest first: those that nobody works on are among them. */
const PAGE = 100;
/** Milliseconds for connecting, and for every answer: a busy machine may take its time. */
const TIMEOUT_MS = 3_000;

/** A queue to look at, with the rate limit that its workers keep. */
export interface LookedAt {
  readonly name: string;
  readonly settings: Pick<StageSettings, "rateLimit">;
}

/** What a queue has for its workers to do. */
export interface Backlog {
  /** Jobs that may be taken now. None while the queue is paused, at its rate limit, or at its global concurrency. */
  readonly ready: number;
  /** Jobs that were taken and that nobody holds any more. Workers that are well put them back within seconds. */
  readonly abandoned: number;
}

/**
 * Looks at queues over a connection of its own: what older connections do with a question says nothing about Redis.
 *
 * @throws {Error} when Redis does not answer within seconds.
 */
export async function readBacklogs(
  server: Pick<RedisServer, "connect">,
  queues: readonly LookedAt[],
): Promise<Backlog[]> {
  const connection = server.connect({
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    commandTimeout: TIMEOUT_MS,
    connectTimeout: TIMEOUT_MS,
    // ioredis waits so long for the end of a connection that came to nothing, and the process with it.
    disconnectTimeout: 100,
    retryStrategy: () => null,
  });
  connection.on("error", () => {});
  try {
    await connection.connect();
    return await Promise.all(queues.map((queue) => readBacklog(connection, queue)));
  } finally {
    connection.disconnect();
  }
}

async function readBacklog(connection: Redis, { name, settings }: LookedAt): Promise<Backlog> {
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
    queue.getDelayedCount(Date.now() - OVERDUE_MS),
  ]);
  return waiting + overdue;
}

/** @param workersMax the workers' own rate limit; one that is set on the queue goes before it. */
async function isAtItsLimits(queue: Queue, workersMax: number | undefined): Promise<boolean> {
  if (await queue.isMaxed()) return true;
  const max = (await queue.getGlobalRateLimit())?.max ?? workersMax;
  return max !== undefined && (await queue.getRateLimitTtl(max)) > 0;
}

async function countAbandoned(queue: Queue, connection: Redis): Promise<number> {
  const before = await queue.getRanges(["active"], 0, PAGE - 1, true);
  const unlocked = [];
  for (const [index, locked] of (await areLocked(queue, connection, before)).entries()) {
    if (!locked) unlocked.push(before[index]);
  }
  if (unlocked.length === 0) return 0;
  // A job that has just ended has no lock either: it is not among the active ones any more.
  const after = new Set<unknown>(await queue.getRanges(["active"], 0, PAGE - 1, true));
  return unlocked.filter((id) => after.has(id)).length;
}

async function areLocked(queue: Queue, connection: Redis, ids: readonly string[]): Promise<boolean[]> {
  const pipeline = connection.pipeline();
  for (const id of ids) pipeline.exists(queue.toKey(`${id}:lock`));
  const answers = (await pipeline.exec()) ?? [];
  return answers.map(([error, exists]) => {
    if (error) throw error;
    return exists === 1;
  });
}
