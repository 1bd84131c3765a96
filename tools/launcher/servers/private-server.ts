import { existsSync, rmSync } from "node:fs";
import { cp, rename } from "node:fs/promises";
import path from "node:path";
import { randomBytes } from "node:crypto";
import { LogFile } from "../log-file.ts";
import { Failure } from "../../shared/failure.ts";
import { withLock } from "../lock.js";
import { LOCAL } from "../local-folder.ts";
import { freePort } from "../ports.ts";
import type { GuardedProcess } from "../guard.ts";
import { makeTempFolder } from "../temp-folder.ts";
import type { Flavor, ServerBinary } from "./binaries.ts";
import { requireBinaries, type FindOptions } from "./find.ts";
import { startMysql } from "./mysql.ts";
import { startRedis } from "./redis.ts";
import { PortTaken, type Server } from "./server.ts";

const STOP_DEADLINE_MS = 10_000;
const PORT_ATTEMPTS = 5;

/** A server for one run, to break at will. It never outlives this process. */
export interface PrivateServer {
  /** With user and password; MySQL's names no database. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** "Redis 7.0.15" */
  readonly version: string;
  /** The current process; a new one after a restart. */
  readonly process: GuardedProcess;
  /** Stops the server and removes its data. */
  stop(): Promise<void>;
  /** Sends a signal: SIGKILL simulates a crash, SIGSTOP and SIGCONT a hang. */
  kill(signal: NodeJS.Signals): void;
  /** Kills the server if it still runs, and starts it again on the same port with the same data. */
  restart(): Promise<void>;
}

/**
 * An empty private Redis. `args` go to its command line: `["--maxmemory", "10mb"]`. Those that replicate each other share a
 * password.
 */
export async function startPrivateRedis({
  args = [],
  password = randomBytes(12).toString("hex"),
}: { args?: string[]; password?: string } = {}): Promise<PrivateServer> {
  const { redis: binary } = await findServers();
  return startPrivate((dataFolder, port, log) =>
    startRedis({ args, binary, dataFolder: path.join(dataFolder, "redis"), log, password, port }),
  );
}

/**
 * An empty private MySQL whose user has all rights. `args` go to its command line: `["--server-id=1",
 * "--log-bin"]`.
 */
export async function startPrivateMysql({ args = [] }: { args?: string[] } = {}): Promise<PrivateServer> {
  const { mysql: binary } = await findServers();
  const template = await mysqlTemplate(binary);
  const password = randomBytes(12).toString("hex");
  return startPrivate(async (folder, port, log) => {
    const dataFolder = path.join(folder, "mysql");
    if (!existsSync(dataFolder)) await cp(template, dataFolder, { recursive: true });
    return startMysql({ args, binary, dataFolder, log, password, port });
  });
}

type Start = (folder: string, port: number, log: LogFile) => Promise<Required<Server>>;

async function startPrivate(start: Start): Promise<PrivateServer> {
  const folder = makeTempFolder();
  const log = new LogFile(path.join(folder, "server.log"));
  let { port, server } = await startOnFreePort(folder, log, start);
  return {
    port,
    url: server.url,
    version: server.version,
    get pid() {
      return server.process.pid;
    },
    get process() {
      return server.process;
    },
    kill: (signal) => server.process.kill(signal),
    async stop() {
      await server.process.stop(STOP_DEADLINE_MS);
      log.close();
      rmSync(folder, { recursive: true, force: true });
    },
    async restart() {
      server.process.kill("SIGKILL");
      await server.process.exited;
      server = await start(folder, port, log);
    },
  };
}

async function startOnFreePort(
  folder: string,
  log: LogFile,
  start: Start,
): Promise<{ port: number; server: Required<Server> }> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    try {
      return { port, server: await start(folder, port, log) };
    } catch (error) {
      if (!(error instanceof PortTaken) || attempt === PORT_ATTEMPTS) throw error;
    }
  }
}

/** Finds both at once, since they come from one download. */
function findServers(): Promise<Record<"mysql" | "redis", ServerBinary>> {
  return requireBinaries(searchOptions());
}

/** How to search for private servers. @throws Failure if TEST_MYSQL or TEST_REDIS asks for one that is not known */
export function searchOptions(): FindOptions {
  const progress = (text: string) => text && process.stderr.write(`private servers: ${text}\n`);
  return {
    packagesFolder: LOCAL.packages,
    progress,
    mysql: wanted("TEST_MYSQL", { mysql: "MySQL", mariadb: "MariaDB" }),
    redis: wanted("TEST_REDIS", { redis: "Redis", valkey: "Valkey" }),
  };
}

/** The flavor that a variable asks for; undefined if it is not set. */
function wanted(variable: string, flavors: Readonly<Record<string, Flavor>>): Flavor | undefined {
  const name = process.env[variable];
  if (name === undefined || name === "") return undefined;
  const flavor = flavors[name];
  if (flavor === undefined)
    throw new Failure(`${variable} must be ${Object.keys(flavors).join(" or ")}, not ${name}`);
  return flavor;
}

/** A data folder for this server version, initialized once: copying it is ten times as fast. */
export async function mysqlTemplate(binary: ServerBinary): Promise<string> {
  const template = path.join(LOCAL.templates, `${binary.flavor}-${binary.version}`);
  if (existsSync(template)) return template;
  return withLock(`${template}.lock`, async () => {
    if (existsSync(template)) return template;
    const draft = `${template}.draft`;
    rmSync(draft, { recursive: true, force: true });
    const server = await startPrivate((_folder, port, log) =>
      startMysql({ binary, dataFolder: draft, log, password: randomBytes(12).toString("hex"), port }),
    );
    await server.stop();
    await rename(draft, template);
    return template;
  });
}
