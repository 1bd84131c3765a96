import type { Job, Queue } from "bullmq";
import type { Connection } from "./connection.ts";
import { SUSPECTS_SHARE } from "../src/engine/ports.ts";
import type { StageSettings } from "../src/order/stage.ts";
import { isSuspect, SCORES_PER_MS, type JobData } from "./job.ts";
import { nowMs } from "../src/platform/clock.ts";

/** The longest wait after a change of the limit, unless the new limit requires a longer one. Milliseconds. */
const LONGEST_WAIT_MS = 60_000;
/** Milliseconds after taking a turn by which a job is in the queue. */
const ON_ITS_WAY_MS = 5_000;
/** Jobs per request. */
const PAGE = 500;

/** A job due in so many milliseconds. */
interface Delayed {
  readonly job: Job<JobData>;
  readonly dueMs: number;
}

/**
 * Spaces out suspected orders in a queue with a rate limit.
 *
 * BullMQ counts a job against the limit when a worker takes it, even if it is handed back at once. So suspects are spaced
 * out beforehand: each is delayed until its own turn, and turns are so far apart that all suspects together take a quarter
 * of the limit. Adding, handing back or retrying a suspect takes a turn. All processes share one line of turns, in Redis; if
 * Redis loses it, a new one begins.
 *
 * Each turn uses the limit at that time: the queue's, if operators have set one, or else the stage's.
 */
export class SuspectTurns {
  readonly #queue: Queue<JobData>;
  readonly #redis: Connection;
  readonly #rateLimit: StageSettings["rateLimit"];
  /**
   * A hash: the end of the line (`end`, in milliseconds since 1970), the turns taken recently (`given`) and since when they
   * are counted (`since`), and the gap by which delayed jobs were last spaced out (`gap`).
   */
  readonly #key: string;

  /** @param rateLimit the stage's own. */
  constructor(queue: Queue<JobData>, redis: Connection, rateLimit: StageSettings["rateLimit"]) {
    this.#queue = queue;
    this.#redis = redis;
    this.#rateLimit = rateLimit;
    this.#key = queue.toKey("suspects");
  }

  /**
   * Takes the next turns in the line. @returns milliseconds from now until each; zeros if there is no limit.
   *
   * @throws {Error} of Redis.
   */
  async take(count = 1): Promise<number[]> {
    const [first, gap] = await this.#run(TAKE, count);
    return Array.from({ length: count }, (_, index) => Math.ceil(first + index * gap));
  }

  /**
   * Spaces out the delayed suspects again if the limit has changed since the last time. None then waits longer than a
   * minute, unless the new limit requires it.
   *
   * @throws {Error} of Redis.
   */
  async follow(): Promise<void> {
    const [gap, before] = await this.#run(GAPS);
    if (gap === before) return;
    const suspects = await this.#delayedSuspects();
    for (let from = 0; from < suspects.length; from += PAGE) {
      // Fails for jobs that were taken or removed in the meantime.
      await Promise.allSettled(
        suspects.slice(from, from + PAGE).map(async ({ job, dueMs }, index) => {
          const delay = Math.max((from + index) * gap, Math.min(dueMs, longestWait()));
          if (delay !== dueMs) await job.changeDelay(Math.ceil(delay));
        }),
      );
    }
    if (gap === 0) await this.#redis.del(this.#key);
    else await this.#redis.hset(this.#key, { gap, end: nowMs() + suspects.length * gap });
  }

  /** Soonest first. */
  async #delayedSuspects(): Promise<Delayed[]> {
    const entries = await this.#redis.zrange(this.#queue.toKey("delayed"), "0", "-1", "WITHSCORES");
    const now = nowMs();
    const delayed: Delayed[] = [];
    for (let from = 0; from < entries.length; from += 2 * PAGE) {
      const page = entries.slice(from, from + 2 * PAGE);
      const ids = page.filter((_, index) => index % 2 === 0);
      const jobs = await Promise.all(ids.map((id) => this.#queue.getJob(id)));
      for (const [index, job] of jobs.entries()) {
        const dueMs = Number(page[2 * index + 1]) / SCORES_PER_MS - now;
        if (job !== undefined && isSuspect(job)) delayed.push({ job, dueMs: Math.max(0, dueMs) });
      }
    }
    return delayed;
  }

  /** @returns the script's two numbers. */
  async #run(script: string, ...args: readonly number[]): Promise<readonly [number, number]> {
    const { max = "", duration = "" } = this.#rateLimit ?? {};
    const keys = ["meta", "delayed", "active"].map((name) => this.#queue.toKey(name));
    const answer = await this.#redis.eval(
      script,
      1 + keys.length,
      this.#key,
      ...keys,
      SUSPECTS_SHARE,
      max,
      duration,
      ...args,
    );
    const [first, second] = Array.isArray(answer) ? answer.map(Number) : [];
    return [first ?? 0, second ?? 0];
  }
}

/** Random, between half of the longest wait and all of it, so that jobs do not become due all at once. */
function longestWait(): number {
  return LONGEST_WAIT_MS * (0.5 + Math.random() / 2);
}

/**
 * Milliseconds between two turns; 0 if there is no limit. As in BullMQ's scripts, the queue's number of jobs overrides the
 * stage's, but the stage's duration overrides the queue's.
 */
const GAP = `
  local limit = redis.call("HMGET", KEYS[2], "max", "duration")
  local max = tonumber(limit[1] or ARGV[2])
  local duration = tonumber(ARGV[3]) or tonumber(limit[2] or "")
  local gap = max and max > 0 and duration and duration / (max * ARGV[1]) or 0`;

/** The gap, and the gap by which jobs were last spaced out. */
const GAPS = `${GAP}
  return { string.format("%.17g", gap), redis.call("HGET", KEYS[1], "gap") or "0" }`;

/**
 * Milliseconds until the first turn, and the gap. The wait is at most one turn per job, since removed jobs leave unused
 * turns behind. Jobs that have just taken a turn may not be in the queue yet, and are counted too.
 */
const TAKE = `${GAP}
  if gap == 0 then return { "0", "0" } end
  local time = redis.call("TIME")
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local known = redis.call("HMGET", KEYS[1], "end", "given", "since")
  local given, since = tonumber(known[2] or "0"), tonumber(known[3] or "0")
  if now - since > ${ON_ITS_WAY_MS} then given, since = 0, now end
  local jobs = redis.call("ZCARD", KEYS[3]) + redis.call("LLEN", KEYS[4]) + given
  local line = math.min(math.max(0, tonumber(known[1] or "0") - now), jobs * gap)
  redis.call("HSET", KEYS[1], "end", string.format("%.3f", now + line + ARGV[4] * gap))
  redis.call("HSET", KEYS[1], "given", given + ARGV[4], "since", since)
  return { string.format("%.3f", line), string.format("%.17g", gap) }`;
