import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { createConnection } from "mysql2/promise";
import { Database } from "../../db/database.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { Ledger } from "../../tools/simulators/ledger.ts";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { startTestMysql, startTestRedis } from "./servers.ts";

/** A database and a Redis that belong to one test file, on the servers that the whole run shares. */
export interface TestEnvironment {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly database: Database;
  /** Says things to the servers that the service itself never says. */
  readonly redis: Redis;
  /** Simulated in this process, as fast as can be, with books of their own. */
  readonly providers: Providers;
  /** Their books. */
  readonly ledger: Ledger;
  close(): Promise<void>;
}

/**
 * An empty, migrated database, and an empty Redis database: the one of this jest worker.
 *
 * @param options `ownRedis`, `ownMysql`: a server of its own, for tests that change its settings or read its counters, which
 * all of its databases share.
 */
export async function createTestEnvironment({
  migrated = true,
  ownRedis = false,
  ownMysql = false,
} = {}): Promise<TestEnvironment> {
  const mysql = ownMysql ? await startTestMysql() : undefined;
  const mysqlUrl = mysql?.url ?? serverUrl("TEST_MYSQL_URL");
  const databaseUrl = await createDatabase(mysqlUrl);
  if (migrated) await migrateDatabase({ url: databaseUrl });
  const own = ownRedis ? await startTestRedis() : undefined;
  const redisUrl = new URL(own?.url ?? serverUrl("TEST_REDIS_URL"));
  redisUrl.pathname = `/${Number(process.env["JEST_WORKER_ID"] ?? 1) % 16}`;
  const redis = new Redis(redisUrl.href);
  await redis.flushdb();
  const database = new Database({ url: databaseUrl });
  const ledger = new Ledger();
  const providers = await startProviders({ ledger, transitMs: 0 });
  return {
    databaseUrl,
    redisUrl: redisUrl.href,
    database,
    redis,
    providers,
    ledger,
    async close() {
      await providers.close();
      await database.close();
      redis.disconnect();
      await own?.stop();
      await withServer(mysqlUrl, `DROP DATABASE ${new URL(databaseUrl).pathname.slice(1)}`);
      await mysql?.stop();
    },
  };
}

function serverUrl(name: "TEST_MYSQL_URL" | "TEST_REDIS_URL"): string {
  const url = process.env[name];
  if (url === undefined) throw new Error(`${name} is set by jest's global setup`);
  return url;
}

async function createDatabase(server: string): Promise<string> {
  const url = new URL(server);
  const name = `test_${randomBytes(6).toString("hex")}`;
  await withServer(server, `CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
  url.pathname = `/${name}`;
  return url.href;
}

async function withServer(url: string, statement: string): Promise<void> {
  const connection = await createConnection(url);
  await connection.query(statement);
  await connection.end();
}
