import type { Connection } from "../../queues/connection.ts";
import { reasonOf } from "../../queues/errors.ts";
import { checkServers } from "../../queues/health.ts";
import type { Database } from "../../db/database.ts";
import { DatabaseError, TIMEOUT } from "../../db/errors.ts";
import { checkWrites } from "../../db/write-check.ts";
import { shared } from "../platform/shared.ts";
import { settleWithin } from "../platform/time-limit.ts";

export interface Check {
  readonly ready: boolean;
  /** The server's version, or why it is not ready. */
  readonly detail: string;
}

/** What a process needs, and lacks. */
export interface Readiness {
  readonly ready: boolean;
  readonly checks: { readonly mysql: Check; readonly redis?: Check; readonly shutdown?: Check };
}

const SHUTTING_DOWN: Check = { ready: false, detail: "shutting down" };

/** A server that takes longer counts as not ready. Milliseconds. */
const CHECK_TIMEOUT_MS = 1_000;

/** What was found is told again for this long. Milliseconds. */
const FRESH_MS = 1_000;

/** Checks whether the process's servers are ready. */
export class Health {
  /** Asks all servers at most once a second, however many ask. */
  readonly #servers: () => Promise<{ readonly mysql: Check; readonly redis?: Check }>;
  readonly #database: Database;
  readonly #redis: Connection | undefined;
  /** The last connection error; commands only report that there is no connection. */
  #redisError: unknown;
  #shuttingDown = false;

  /** @param given without `redis` if there is none. */
  constructor(given: { readonly database: Database; readonly redis?: Connection | undefined }) {
    const { database, redis } = given;
    this.#database = database;
    this.#servers = shared(FRESH_MS, () => this.#checkServers());
    this.#redis = redis;
    redis?.on("error", (error) => (this.#redisError = reasonOf(error)));
    redis?.on("ready", () => (this.#redisError = undefined));
  }

  /** Checks all servers at once. One that does not answer in time is not ready. */
  async check(): Promise<Readiness> {
    const { mysql, redis } = await this.#servers();
    const shutdown = this.#shuttingDown ? SHUTTING_DOWN : undefined;
    return {
      ready: mysql.ready && redis?.ready !== false && shutdown === undefined,
      checks: { mysql, ...(redis && { redis }), ...(shutdown && { shutdown }) },
    };
  }

  /** Whether the process is not shutting down. */
  get accepting(): boolean {
    return !this.#shuttingDown;
  }

  /** From now on the process is not ready, so that load balancers stop sending it requests. */
  shutDown(): void {
    this.#shuttingDown = true;
  }

  async #checkServers() {
    const [mysql, redis] = await Promise.all([
      inTime(this.#checkMysql()),
      this.#redis && inTime(this.#checkRedis(this.#redis)),
    ]);
    return { mysql, ...(redis && { redis }) };
  }

  /** Without writes there are no orders, so this checks that MySQL takes them. */
  async #checkMysql(): Promise<Check> {
    return { ready: true, detail: `MySQL ${await checkWrites(this.#database)}` };
  }

  async #checkRedis(redis: Connection): Promise<Check> {
    if (redis.status !== "ready") return { ready: false, detail: this.#whyNotConnected() };
    return { ready: true, detail: `Redis ${await checkServers(redis)}` };
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

/** If a host has several addresses and none answers, the error has a code but no message. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || ("code" in error ? String(error.code) : error.name);
}
