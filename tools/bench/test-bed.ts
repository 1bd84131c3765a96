import path from "node:path";
import { mkdirSync } from "node:fs";
import { Redis } from "ioredis";
import { createDatabase, Sql } from "../chaos/sql.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { SERVICE_FLAGS } from "../launcher/node-flags.ts";
import { compileInto, makeRunFolder, removeRunFolder } from "../launcher/run-folder.ts";
import {
  startPrivateMysql,
  startPrivateRedis,
  type PrivateServer,
} from "../launcher/servers/private-server.ts";
import { removeAbandonedTempFolders } from "../launcher/temp-folder.ts";
import { LoadGenerator } from "./load/generator.ts";
import { TSX_FLAGS, BenchProcess } from "./process.ts";
import type { Revision } from "./revision.ts";

/** Redis's default number of logical databases. */
const REDIS_DATABASES = 16;

/** A MySQL database and a Redis database for one of the compared systems. */
export interface Sandbox {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  /** Removes its data; it must no longer be in use. */
  close(): Promise<void>;
}

export interface StartOptions {
  readonly name: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly readyMessage: string;
  /** Folder of the compiled code; this version's by default. */
  readonly code?: string | undefined;
}

/** MySQL, Redis, compiled code and a load generator, shared by all comparisons of a run. */
export class TestBed {
  readonly mysql: PrivateServer;
  readonly redis: PrivateServer;
  readonly load: LoadGenerator;
  /** For code and logs; removed at the end. */
  readonly folder: string;
  readonly #code: string;
  readonly #profiles: string | undefined;
  readonly #processes = new Set<BenchProcess>();
  readonly #names = new Map<string, number>();
  #sandboxes = 0;
  readonly #taken = new Set<number>();

  private constructor(parts: {
    readonly mysql: PrivateServer;
    readonly redis: PrivateServer;
    readonly load: LoadGenerator;
    readonly folder: string;
    readonly code: string;
    readonly profiles: string | undefined;
  }) {
    this.mysql = parts.mysql;
    this.redis = parts.redis;
    this.load = parts.load;
    this.folder = parts.folder;
    this.#code = parts.code;
    this.#profiles = parts.profiles;
  }

  /**
   * @param signal aborts every load
   * @param profiles folder for the service's CPU profiles
   * @throws {Failure}
   */
  static async open(signal: AbortSignal, profiles?: string): Promise<TestBed> {
    removeAbandonedTempFolders();
    const folder = makeRunFolder("bench");
    const [mysql, redis, code, load] = await Promise.allSettled([
      startPrivateMysql(),
      startPrivateRedis(),
      compileInto(folder),
      LoadGenerator.start(signal),
    ]);
    if (
      mysql.status === "fulfilled" &&
      redis.status === "fulfilled" &&
      code.status === "fulfilled" &&
      load.status === "fulfilled"
    ) {
      if (profiles !== undefined) mkdirSync(profiles, { recursive: true });
      const parts = { mysql: mysql.value, redis: redis.value, load: load.value, code: code.value };
      return new TestBed({ ...parts, folder, profiles });
    }
    if (load.status === "fulfilled") load.value.stop();
    for (const server of [mysql, redis]) if (server.status === "fulfilled") await server.value.stop();
    removeRunFolder(folder, true);
    for (const part of [mysql, redis, code, load]) if (part.status === "rejected") throw part.reason;
    throw new Error("unreachable");
  }

  /** Makes a migrated MySQL database, for this version or an earlier one, and an empty Redis database. */
  async makeSandbox(version?: Revision): Promise<Sandbox> {
    const number = this.#freeRedisDatabase();
    const name = `bench_${++this.#sandboxes}`;
    const databaseUrl = await createDatabase(this.mysql.url, name);
    await (version ? version.migrate(databaseUrl) : migrateDatabase({ url: databaseUrl }));
    const redisUrl = `${this.redis.url}/${number}`;
    return {
      databaseUrl,
      redisUrl,
      close: async () => {
        const sql = new Sql(this.mysql.url);
        await sql.rows(`DROP DATABASE ${name}`, [], 300_000).finally(() => sql.close());
        await flush(redisUrl);
        this.#taken.delete(number);
      },
    };
  }

  /** Starts an API or a worker from the compiled code. @throws {Failure} */
  startService(script: "src/main" | "workers/main", options: StartOptions): Promise<BenchProcess> {
    const name = this.#nameFor(options.name);
    const profiling =
      this.#profiles === undefined
        ? []
        : // A folder each: every thread of a process writes a profile of its own.
          ["--cpu-prof", `--cpu-prof-dir=${path.join(this.#profiles, name)}`];
    return this.#start(
      [...SERVICE_FLAGS, ...profiling, path.join(options.code ?? this.#code, `${script}.js`)],
      {
        ...options,
        name,
      },
    );
  }

  /** Starts a script from this folder. @throws {Failure} */
  startBaseline(script: string, options: StartOptions): Promise<BenchProcess> {
    const name = this.#nameFor(options.name);
    return this.#start([...TSX_FLAGS, path.join(import.meta.dirname, script)], { ...options, name });
  }

  /** Stops everything. `keepLogs` keeps the logs. @returns the logs' folder */
  async close(keepLogs: boolean): Promise<string> {
    await Promise.all([...this.#processes].map((each) => each.stop()));
    this.load.stop();
    await Promise.all([this.mysql.stop(), this.redis.stop()]);
    removeRunFolder(this.folder, keepLogs);
    return this.folder;
  }

  async #start(args: readonly string[], options: StartOptions): Promise<BenchProcess> {
    const started = await BenchProcess.start({
      name: options.name,
      args: [...args, ...(options.args ?? [])],
      env: options.env ?? {},
      logFolder: this.folder,
      readyMessage: options.readyMessage,
      needs: [this.mysql.process, this.redis.process],
    });
    this.#processes.add(started);
    return started;
  }

  /** A unique name for a process and its log. */
  #nameFor(name: string): string {
    const count = (this.#names.get(name) ?? 0) + 1;
    this.#names.set(name, count);
    return count === 1 ? name : `${name}-${count}`;
  }

  #freeRedisDatabase(): number {
    for (let number = 0; number < REDIS_DATABASES; number++) {
      if (this.#taken.has(number)) continue;
      this.#taken.add(number);
      return number;
    }
    throw new Error(`more than ${REDIS_DATABASES} sandboxes at once`);
  }
}

async function flush(redisUrl: string): Promise<void> {
  const redis = new Redis(redisUrl);
  await redis.flushdb().finally(() => redis.disconnect());
}
