import { sql } from "drizzle-orm";
import type { Redis } from "ioredis";
import type { Database } from "../db/database.ts";
import { describe } from "./shutdown.ts";

export interface Check {
  readonly ready: boolean;
  /** What was found: the server's version, or why it is not ready. */
  readonly detail: string;
}

/** Milliseconds after which a server that has not answered counts as not ready. */
const CHECK_TIMEOUT_MS = 1_000;

/** Asks each part whether it is ready, all at once; a part that does not answer in time is not. */
export async function checkHealth(parts: {
  readonly database: Database;
  readonly redis: Redis;
}): Promise<{ ready: boolean; checks: { mysql: Check; redis: Check } }> {
  const [mysql, redis] = await Promise.all([
    inTime(checkMysql(parts.database)),
    inTime(checkRedis(parts.redis)),
  ]);
  return { ready: mysql.ready && redis.ready, checks: { mysql, redis } };
}

async function checkMysql(database: Database): Promise<Check> {
  const [rows] = await database.query((queries) => queries.execute(sql`SELECT VERSION() AS version`));
  const version =
    Array.isArray(rows) && rows[0] && "version" in rows[0] ? String(rows[0]["version"]) : "unknown";
  return { ready: true, detail: `MySQL ${version}` };
}

/** A Redis that evicts keys under memory pressure deletes jobs at random: it is not one to work with. */
async function checkRedis(redis: Redis): Promise<Check> {
  const info = await redis.info();
  const version = /^redis_version:(\S+)/m.exec(info)?.[1] ?? "unknown";
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
  if (policy !== undefined && policy !== "noeviction") {
    return {
      ready: false,
      detail: `maxmemory-policy is ${policy}; it must be noeviction, or Redis deletes jobs`,
    };
  }
  if (/^loading:1/m.test(info)) return { ready: false, detail: "Redis is still loading its data" };
  return { ready: true, detail: `Redis ${version}` };
}

async function inTime(check: Promise<Check>): Promise<Check> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Check>((resolve) => {
    timer = setTimeout(
      () => resolve({ ready: false, detail: `no answer within ${CHECK_TIMEOUT_MS} ms` }),
      CHECK_TIMEOUT_MS,
    );
  });
  try {
    return await Promise.race([check, late]);
  } catch (error) {
    return { ready: false, detail: describe(error) };
  } finally {
    clearTimeout(timer);
  }
}
