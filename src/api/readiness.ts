import type { Redis } from "ioredis";
import type { Database } from "../../db/database.ts";
import { DatabaseError, TIMEOUT } from "../../db/errors.ts";
import { WriteCheck } from "../../db/write-check.ts";
import { settleWithin } from "../platform/settle-within.ts";

export interface Check {
  readonly ready: boolean;
  /** What was found: the server's version, or why it is not ready. */
  readonly detail: string;
}

/** Milliseconds after which a server that has not answered counts as not ready. */
const CHECK_TIMEOUT_MS = 1_000;

/** Knows whether the servers behind a process are ready. */
export class Health {
  readonly #writes: WriteCheck;
  readonly #redis: Redis | undefined;
  /** Why Redis could not be reached. A command that fails meanwhile only says that there is no connection. */
  #redisError: unknown;

  /** @param given without `redis` where there is none. */
  constructor(given: { readonly database: Database; readonly redis?: Redis | undefined }) {
    const { database, redis } = given;
    this.#writes = new WriteCheck(database);
    this.#redis = redis;
    redis?.on("error", (error) => (this.#redisError = error));
    redis?.on("ready", () => (this.#redisError = undefined));
  }

  /** Asks each part whether it is ready, all at once; a part that does not answer in time is not. */
  async check(): Promise<{ ready: boolean; checks: { mysql: Check; redis?: Check } }> {
    const [mysql, redis] = await Promise.all([
      inTime(this.#checkMysql()),
      this.#redis && inTime(this.#checkRedis(this.#redis)),
    ]);
    return { ready: mysql.ready && redis?.ready !== false, checks: { mysql, ...(redis && { redis }) } };
  }

  /** A MySQL that takes no writes takes no orders. */
  async #checkMysql(): Promise<Check> {
    return { ready: true, detail: `MySQL ${await this.#writes.ask()}` };
  }

  /** A Redis that evicts keys under memory pressure deletes jobs at random: it is not one to work with. */
  async #checkRedis(redis: Redis): Promise<Check> {
    if (redis.status !== "ready") return { ready: false, detail: this.#whyNotConnected() };
    const info = await redis.info();
    const version = /^redis_version:(\S+)/m.exec(info)?.[1] ?? "unknown";
    const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
    if (policy !== undefined && policy !== "noeviction") {
      return {
        ready: false,
        detail: `maxmemory-policy is ${policy}; it must be noeviction, or Redis deletes jobs`,
      };
    }
    return { ready: true, detail: `Redis ${version}` };
  }

  #whyNotConnected(): string {
    return this.#redisError === undefined ? "not connected" : `not connected: ${reason(this.#redisError)}`;
  }
}

const LATE: Check = { ready: false, detail: `no answer within ${CHECK_TIMEOUT_MS} ms` };

async function inTime(check: Promise<Check>): Promise<Check> {
  try {
    return await settleWithin(CHECK_TIMEOUT_MS, check, () => LATE);
  } catch (error) {
    if (error instanceof DatabaseError && error.code === TIMEOUT) return LATE;
    return { ready: false, detail: reason(error) };
  }
}

/** Where a host has several addresses, the error that none of them answers has a code and no message. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || ("code" in error ? String(error.code) : error.name);
}
