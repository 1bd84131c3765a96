import type { Connection } from "./connection.ts";
import type { Limits } from "./controls.ts";
import type { Step } from "../src/order/stage.ts";
import { keyBesideQueue } from "./keys.ts";

/** A permit that is not renewed for this long is lost, as a job's lock is. Milliseconds. */
const HELD_FOR_MS = 15_000;
const RENEWED_EVERY_MS = 5_000;
/** When to ask again for a permit that others hold, in milliseconds. */
const ASK_AGAIN_MS = 20;

type Named = Pick<Step, "name">;

/** Something that a job does under a step's limit. */
export interface Permit {
  readonly step: Named;
  /** Tells it from all others, also from other attempts at the same. */
  readonly holder: string;
}

/**
 * Permits to run a job of a step that is limited over all workers. BullMQ counts the jobs of one queue. Of a step with
 * several queues, each has its part of the limit; where the parts are too much, because the limit is lower than the
 * number of queues, or while that changes, permits keep to it.
 *
 * Who wants one stands in a line in Redis, which gives permits to the first. A process that dies loses its permits.
 */
export class Permits {
  readonly #redis: Connection;
  /** By holder. */
  readonly #held = new Map<string, Permit>();
  readonly #waiting = new Set<() => void>();
  #renewal: NodeJS.Timeout | undefined;

  constructor(redis: Connection) {
    this.#redis = redis;
  }

  /**
   * Asks for a permit. Who asked stands in line until it {@link leave leaves}.
   *
   * @returns milliseconds until it makes sense to ask again; 0 if it has the permit. @throws {Error} of Redis.
   */
  async ask(
    permit: Permit,
    { concurrency, rateLimit }: Pick<Limits, "concurrency" | "rateLimit">,
  ): Promise<number> {
    this.#hold(permit);
    const { max = "", durationMs = "" } = rateLimit ?? {};
    const given = [permit.holder, HELD_FOR_MS, concurrency ?? "", max, durationMs];
    return Number(await this.#redis.eval(ASK, 3, ...this.#keysOf(permit), ...given));
  }

  /** Resolves after so many milliseconds, or when a permit becomes free in this process. @throws the signal's reason. */
  async untilFree(waitMs: number, interrupted: AbortSignal | undefined): Promise<void> {
    interrupted?.throwIfAborted();
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#waiting.delete(end);
        interrupted?.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, waitMs);
      this.#waiting.add(end);
      interrupted?.addEventListener("abort", end);
    });
    interrupted?.throwIfAborted();
  }

  /** Returns a permit, or leaves the line. @throws {Error} of Redis. */
  async leave(permit: Permit): Promise<void> {
    this.#held.delete(permit.holder);
    await this.#redis.eval(LEAVE, 2, ...this.#keysOf(permit).slice(0, 2), permit.holder);
    for (const end of this.#waiting) end();
  }

  #hold(permit: Permit): void {
    this.#held.set(permit.holder, permit);
    if (this.#renewal) return;
    this.#renewal = setTimeout(() => void this.#renew(), RENEWED_EVERY_MS).unref();
  }

  async #renew(): Promise<void> {
    try {
      await Promise.all(
        [...this.#held.values()].map((permit) =>
          this.#redis.eval(RENEW, 1, this.#keysOf(permit)[1] ?? "", permit.holder, HELD_FOR_MS),
        ),
      );
    } catch {
      // The next renewal may be in time.
    } finally {
      this.#renewal = undefined;
      for (const permit of this.#held.values()) this.#hold(permit);
    }
  }

  /** The line, until when each in it is known to be alive, and how many began in the rate limit's current window. */
  #keysOf({ step }: Permit): [line: string, alive: string, window: string] {
    const key = (name: string) => keyBesideQueue(this.#redis, step, `permits${name}`);
    return [key(""), key(":alive"), key(":window")];
  }
}

const NOW = `
  local time = redis.call("TIME")
  local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

/** Gives milliseconds to wait. */
const ASK = `${NOW}
  for _, gone in ipairs(redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", now)) do
    redis.call("ZREM", KEYS[1], gone)
    redis.call("ZREM", KEYS[2], gone)
  end
  if not redis.call("ZSCORE", KEYS[1], ARGV[1]) then
    local last = redis.call("ZREVRANGE", KEYS[1], 0, 0, "WITHSCORES")
    redis.call("ZADD", KEYS[1], tonumber(last[2] or 0) + 1, ARGV[1])
  end
  redis.call("ZADD", KEYS[2], now + ARGV[2], ARGV[1])
  local concurrency, max = tonumber(ARGV[3]), tonumber(ARGV[4])
  if concurrency and redis.call("ZRANK", KEYS[1], ARGV[1]) >= concurrency then return ${ASK_AGAIN_MS} end
  if max then
    if tonumber(redis.call("GET", KEYS[3]) or 0) >= max then
      return math.max(1, redis.call("PTTL", KEYS[3]))
    end
    if redis.call("INCR", KEYS[3]) == 1 then redis.call("PEXPIRE", KEYS[3], ARGV[5]) end
  end
  return 0`;

const LEAVE = `
  redis.call("ZREM", KEYS[1], ARGV[1])
  redis.call("ZREM", KEYS[2], ARGV[1])`;

const RENEW = `${NOW}
  redis.call("ZADD", KEYS[1], "XX", now + ARGV[2], ARGV[1])`;
