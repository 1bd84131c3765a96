import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { createConnection } from "mysql2/promise";
import { Database } from "../../db/database.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { Ledger } from "../../tools/simulators/ledger.ts";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { startTestRedis } from "./servers.ts";

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
 * @param options `ownRedis`: a Redis of its own, for tests that change its settings, which all of its databases share.
 */
export async function createTestEnvironment({
  migrated = true,
  ownRedis = false,
} = {}): Promise<TestEnvironment> {
  const databaseUrl = await createDatabase();
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
      await dropDatabase(databaseUrl);
    },
  };
}

function serverUrl(name: "TEST_MYSQL_URL" | "TEST_REDIS_URL"): string {
  const url = process.env[name];
  if (url === undefined) throw new Error(`${name} is set by jest's global setup`);
  return url;
}

async function createDatabase(): Promise<string> {
  const url = new URL(serverUrl("TEST_MYSQL_URL"));
  const name = `test_${randomBytes(6).toString("hex")}`;
  await withServer(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
  url.pathname = `/${name}`;
  return url.href;
}

async function dropDatabase(url: string): Promise<void> {
  await withServer(`DROP DATABASE ${new URL(url).pathname.slice(1)}`);
}

async function withServer(statement: string): Promise<void> {
  const connection = await createConnection(serverUrl("TEST_MYSQL_URL"));
  await connection.query(statement);
  await connection.end();
}
