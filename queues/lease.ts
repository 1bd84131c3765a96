import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Lease } from "../src/engine/ports.ts";
import { keyOf } from "./keys.ts";

/** A lease in Redis: it is anybody's again when its holder says nothing for so many seconds, or Redis loses its data. */
export class RedisLease implements Lease {
  readonly #redis: Redis;
  readonly #key: string;
  readonly #seconds: number;
  readonly #holder = randomUUID();

  constructor(redis: Redis, { name, seconds }: { readonly name: string; readonly seconds: number }) {
    this.#redis = redis;
    this.#key = keyOf(redis, name);
    this.#seconds = seconds;
  }

  async hold(): Promise<boolean> {
    return (await this.#redis.eval(TAKE_OR_KEEP, 1, this.#key, this.#holder, this.#seconds)) === 1;
  }

  /** While Redis is away, it runs out by itself. */
  async release(): Promise<void> {
    if (this.#redis.status === "ready") await this.#redis.eval(RELEASE, 1, this.#key, this.#holder);
  }
}

const TAKE_OR_KEEP = `
  local leader = redis.call("GET", KEYS[1])
  if leader and leader ~= ARGV[1] then return 0 end
  redis.call("SET", KEYS[1], ARGV[1], "EX", ARGV[2])
  return 1`;

const RELEASE = `
  if redis.call("GET", KEYS[1]) == ARGV[1] then redis.call("DEL", KEYS[1]) end
  return 1`;
