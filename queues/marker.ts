import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";

/** Present as long as Redis has the jobs that it was given. */
const MARKER = "conveyor:marker";
const RESTORING = "restoring";

/** How far the jobs of a Redis that had lost them have been put back. */
export interface Restoration {
  /** Orders before this place. */
  readonly orders: number;
  /** Where to go on: in this status, after this id. Undefined at the beginning. */
  readonly status: string | undefined;
  readonly after: string | undefined;
  /** As it stands in Redis: it names this restoration, so that one begun after another loss is never taken for it. */
  readonly text: string;
}

/**
 * What Redis says of itself. It stands in Redis, and so is lost with all else: that is how a loss is noticed, also one
 * in the middle of a restoration.
 */
export class Marker {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /**
   * The restoration under way: begins one if Redis has lost its data. Undefined if it has all its jobs.
   *
   * @throws {Error} of Redis.
   */
  async restoration(): Promise<Restoration | undefined> {
    const text = await this.#redis.get(MARKER);
    if (text !== null) return parsed(text);
    await this.#redis.set(MARKER, written({ run: randomUUID(), orders: 0 }), "NX");
    return this.restoration();
  }

  /** Writes down how far it has come, if it is still under way. @throws {Error} of Redis. */
  async goOn(
    { text }: Restoration,
    reached: { readonly orders: number; readonly status: string; readonly after: string | undefined },
  ): Promise<void> {
    await this.#replace(text, written({ run: text.split(" ")[1] ?? "", ...reached }));
  }

  /** Ends it: Redis has all its jobs. @returns whether it was still under way. @throws {Error} of Redis. */
  async end({ text }: Restoration): Promise<boolean> {
    return this.#replace(text, new Date().toISOString());
  }

  async #replace(before: string, after: string): Promise<boolean> {
    return (await this.#redis.eval(COMPARE_AND_SET, 1, MARKER, before, after)) === 1;
  }
}

const COMPARE_AND_SET = `
  if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
  redis.call("SET", KEYS[1], ARGV[2])
  return 1`;

function written(progress: {
  readonly run: string;
  readonly orders: number;
  readonly status?: string;
  readonly after?: string | undefined;
}): string {
  return [RESTORING, progress.run, progress.orders, progress.status ?? "", progress.after ?? ""].join(" ");
}

function parsed(text: string): Restoration | undefined {
  const [word, , orders, status, after] = text.split(" ");
  if (word !== RESTORING) return undefined;
  return { orders: Number(orders), status: status || undefined, after: after || undefined, text };
}
