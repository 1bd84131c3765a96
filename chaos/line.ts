import path from "node:path";
import { Redis } from "ioredis";
import { migrateDatabase } from "../db/migrate.ts";
import { SERVICE_FLAGS } from "../launcher/node-flags.ts";
import { PROJECT_FOLDER } from "../launcher/local-folder.ts";
import { freePort } from "../launcher/ports.ts";
import { compileInto, makeRunFolder, removeRunFolder } from "../launcher/run-folder.ts";
import {
  startPrivateMysql,
  startPrivateRedis,
  type PrivateServer,
} from "../launcher/servers/private-server.ts";
import { removeAbandonedTempFolders } from "../launcher/temp-folder.ts";
import { startProviders, type Providers } from "../simulators/providers.ts";
import { VARIABLES } from "../src/config.ts";
import { startReplicatedMysql, type ReplicatedMysql } from "./replicated-mysql.ts";
import { numbered } from "./schedule.ts";
import { createAccount, createDatabase, Sql } from "./sql.ts";
import { Supervised } from "./supervised.ts";

/** The key that the APIs take. */
export const API_KEY = "chaos-key-0123456789";
const DATABASE = "conveyor";
const ACCOUNT = "service";
const TRANSIT_MS = 2_000;
/** As long as real ones take at their best: so that there is nearly always a call under way when something dies. */
const PROVIDER_LATENCY_MS = 100;
/** Set for every process of the line; other variables of the environment are passed on. */
const OWN_VARIABLES = new Set(["DATABASE_URL", "REDIS_URL", "API_KEYS", "HOST", "PORT", "NODE_ENV"]);

/** The whole service as it would run: processes of its own, with servers and providers that can be broken. */
export interface Line {
  readonly mysql: PrivateServer;
  readonly redis: PrivateServer;
  readonly providers: Providers;
  /** For those outside of the service: the account may do everything. */
  readonly databaseUrl: string;
  /** Where MySQL has a replica to fail over to. */
  readonly standby: ReplicatedMysql | undefined;
  readonly apis: readonly Supervised[];
  readonly apiUrls: readonly URL[];
  readonly workers: readonly Supervised[];
  /** An outsider's view of the database. */
  readonly sql: Sql;
  /** An outsider's connection to Redis. */
  readonly outsideRedis: Redis;
  /** Where the processes' logs are. */
  readonly logFolder: string;
  /** The API or worker of this name. */
  process(name: string): Supervised | undefined;
  /** Ends everything, whatever state it is in. `keepLogs`: leaves the processes' logs. */
  close(keepLogs: boolean): Promise<void>;
}

export interface LineOptions {
  readonly apis: number;
  readonly workers: number;
  /** Milliseconds that a parcel is on the road. */
  readonly transitMs?: number;
  /** MySQL has a replica, to fail over to. */
  readonly hasStandby?: boolean;
  /** Decides which calls a fault of a provider hits. */
  readonly random: () => number;
}

/** Starts everything, with an empty database. @throws {Failure} when something can't be had or does not come up. */
export async function startLine(options: LineOptions): Promise<Line> {
  removeAbandonedTempFolders();
  const folder = makeRunFolder("chaos");
  const opened: (() => Promise<void> | void)[] = [];
  const closeAll = async (keepLogs: boolean): Promise<void> => {
    for (const close of opened.splice(0).toReversed()) await close();
    removeRunFolder(folder, keepLogs);
  };
  try {
    const [standby, redis, code] = await Promise.all([
      options.hasStandby ? startReplicatedMysql() : undefined,
      startPrivateRedis(),
      compileInto(folder),
    ]);
    opened.push(() => stopAll([redis]));
    if (standby) opened.push(() => standby.close());
    const mysql = standby?.primary ?? (await startPrivateMysql());
    if (!standby) opened.push(() => stopAll([mysql]));
    const providers = await startProviders({
      transitMs: options.transitMs ?? TRANSIT_MS,
      latencyMs: PROVIDER_LATENCY_MS,
      random: options.random,
    });
    opened.push(() => providers.close());
    const databaseUrl = await createDatabase(standby?.url ?? mysql.url, DATABASE);
    const serviceUrl = await createAccount(databaseUrl, ACCOUNT);
    await migrateDatabase({ url: databaseUrl });

    const ports = await freePorts(options.apis);
    const shared = {
      ...passedOn(),
      DATABASE_URL: serviceUrl,
      REDIS_URL: redis.url,
      PAYMENTS_URL: providers.paymentsUrl,
      CARRIER_URL: providers.carrierUrl,
    };
    const supervise = (
      name: string,
      script: string,
      readyMessage: string,
      env: NodeJS.ProcessEnv,
    ): Supervised =>
      new Supervised({
        name,
        command: process.execPath,
        args: [...SERVICE_FLAGS, path.join(code, script)],
        cwd: PROJECT_FOLDER,
        env: { PATH: process.env["PATH"], ...shared, ...env },
        logFile: path.join(folder, `${name}.log`),
        readyMessage,
        needs: () => [mysql.process, redis.process, ...(standby ? [standby.replica.process] : [])],
      });
    const apis = numbered("api", options.apis).map((name, index) =>
      supervise(name, "src/main.js", "listening", { PORT: String(ports[index]), API_KEYS: API_KEY }),
    );
    const workers = numbered("worker", options.workers).map((name) =>
      supervise(name, "workers/main.js", "worker ready", {}),
    );
    const processes = [...apis, ...workers];
    opened.push(async () => void (await Promise.all(processes.map((each) => each.stop()))));
    for (const each of processes) each.start();
    await Promise.all(processes.map((each) => each.ready()));

    const sql = new Sql(databaseUrl);
    opened.push(() => sql.close());
    const outsideRedis = connectOutside(redis.url);
    opened.push(() => outsideRedis.disconnect());
    return {
      mysql,
      redis,
      providers,
      databaseUrl,
      standby,
      apis,
      apiUrls: ports.map((port) => new URL(`http://127.0.0.1:${port}`)),
      workers,
      sql,
      outsideRedis,
      logFolder: folder,
      process: (name) => processes.find((each) => each.name === name),
      close: closeAll,
    };
  } catch (error) {
    await closeAll(true);
    throw error;
  }
}

async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort());
  return [...ports];
}

/** What the environment sets for the service: `SWEEP_AFTER_MS=5000 npm run chaos`. */
function passedOn(): NodeJS.ProcessEnv {
  const names = Object.keys(VARIABLES).filter((name) => !OWN_VARIABLES.has(name));
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}

function connectOutside(url: string): Redis {
  const redis = new Redis(url, {
    maxRetriesPerRequest: null,
    retryStrategy: () => 200,
    disconnectTimeout: 100,
  });
  // It will be away; commands wait until it is back.
  redis.on("error", () => {});
  return redis;
}

async function stopAll(servers: readonly PrivateServer[]): Promise<void> {
  for (const server of servers) server.kill("SIGCONT");
  await Promise.all(servers.map((server) => server.stop()));
}
