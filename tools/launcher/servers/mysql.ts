import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { errorCode, Failure } from "../../shared/failure.ts";
import { spawnGuarded, type GuardedProcess } from "../guard.ts";
import type { LogFile } from "../log-file.ts";
import { untilReady } from "../ready.ts";
import { CommandFailed, run } from "../run.ts";
import { makeTempFolder } from "../temp-folder.ts";
import type { Flavor, ServerBinary } from "./binaries.ts";
import { probeMysql } from "./probe.ts";
import { PortTaken, type Server } from "./server.ts";

/** Includes recovery after a crash. */
const READY_TIMEOUT_MS = 120_000;
const GRACE_SECONDS = 20;
/** A file in the data folder that says which server made it: MariaDB and MySQL can't read each other's. */
const FLAVOR_FILE = "made-by";
const USER = "conveyor";

/** Small and quick to start, yet fully durable: innodb_flush_log_at_trx_commit stays 1. */
const COMMON_SETTINGS = [
  "--bind-address=127.0.0.1",
  "--skip-name-resolve",
  "--character-set-server=utf8mb4",
  "--collation-server=utf8mb4_unicode_ci",
  "--default-time-zone=+00:00",
  "--innodb-buffer-pool-size=64M",
  "--innodb-flush-log-at-trx-commit=1",
  "--max-connections=300",
  "--performance-schema=OFF",
];
const SETTINGS: Record<"MariaDB" | "MySQL", string[]> = {
  MariaDB: [...COMMON_SETTINGS, "--innodb-log-file-size=32M"],
  MySQL: [
    ...COMMON_SETTINGS,
    "--innodb-redo-log-capacity=64M",
    "--mysqlx=0",
    "--secure-file-priv=NULL",
    "--skip-log-bin",
  ],
};

export interface MysqlOptions {
  /** Further command line arguments, which override the usual ones. */
  args?: string[];
  binary: ServerBinary;
  /** Initialized if missing. */
  dataFolder: string;
  /** Created if missing; the user has no rights beyond it. Without it, the user has all rights. */
  database?: string;
  log: LogFile;
  password: string;
  port: number;
  /** Called once the process runs, before it is ready. */
  onStart?: (child: GuardedProcess) => void;
}

/**
 * Starts a MySQL or MariaDB on the loopback address, initializing its data folder the first time, and waits
 * until it accepts our password.
 *
 * @throws PortTaken, or Failure with the end of its log
 */
export async function startMysql(options: MysqlOptions): Promise<Required<Server>> {
  const { args = [], binary, dataFolder, database, log, password, port } = options;
  if (!existsSync(dataFolder)) await initialize(binary, dataFolder);
  checkFlavor(binary, dataFolder);

  const folder = makeTempFolder();
  const initFile = path.join(folder, "init.sql");
  writeFileSync(initFile, accountSql(binary.flavor, password, database), { mode: 0o600 });
  const child = spawnGuarded(
    binary.path,
    [
      ...ownSettings(binary),
      `--datadir=${dataFolder}`,
      `--port=${port}`,
      `--socket=${path.join(folder, "mysql.sock")}`,
      `--pid-file=${path.join(folder, "mysql.pid")}`,
      `--init-file=${initFile}`,
      temporaryFiles(folder),
      ...args,
    ],
    { env: { ...process.env, ...binary.environment }, graceSeconds: GRACE_SECONDS, output: log.fd },
  );
  void child.exited.then(() => rmSync(folder, { recursive: true, force: true }));
  options.onStart?.(child);
  try {
    const url = `mysql://${USER}:${password}@127.0.0.1:${port}${database ? `/${database}` : ""}`;
    const version = await untilReady(
      { name: binary.flavor, process: child, log, timeoutMs: READY_TIMEOUT_MS },
      () => probeMysql(url),
    );
    rmSync(initFile);
    return { url, version, process: child, log, dataFolder };
  } catch (error) {
    child.kill("SIGKILL");
    throw log.tail(20).some((line) => /address already in use/i.test(line)) ? new PortTaken() : error;
  }
}

/** Makes the data folder elsewhere and moves it into place, so that it is always complete. */
async function initialize(binary: ServerBinary, dataFolder: string): Promise<void> {
  const folder = makeTempFolder();
  const fresh = path.join(folder, "data");
  try {
    await (binary.flavor === "MySQL"
      ? initializeMysql(binary, fresh, folder)
      : initializeMariadb(binary, fresh, folder));
    writeFileSync(path.join(fresh, FLAVOR_FILE), `${binary.flavor}\n`);
    moveFolder(fresh, dataFolder);
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    // Pick the installer's errors out of its page of advice.
    const errors = error.lines.filter((line) => line.includes("ERROR"));
    throw new Failure(`${binary.flavor} could not create its data folder: ${error.message}`, errors);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function initializeMysql(binary: ServerBinary, dataFolder: string, folder: string): Promise<void> {
  const args = [
    "--no-defaults",
    "--initialize-insecure",
    ...location(binary),
    `--datadir=${dataFolder}`,
    temporaryFiles(folder),
  ];
  await run(binary.path, args, { env: binary.environment });
}

async function initializeMariadb(binary: ServerBinary, dataFolder: string, folder: string): Promise<void> {
  const base: string[] = [];
  if (binary.baseFolder) {
    // The installer is a shell script that breaks on paths with spaces.
    const link = path.join(folder, "base");
    symlinkSync(binary.baseFolder, link);
    base.push(`--basedir=${link}`);
  }
  await run(
    binary.installer!,
    [
      "--no-defaults",
      ...base,
      ...userOption(),
      `--datadir=${dataFolder}`,
      temporaryFiles(folder),
      "--auth-root-authentication-method=socket",
      "--skip-test-db",
      // Continue if the host name does not resolve.
      "--force",
      "--innodb-log-file-size=32M",
    ],
    { env: binary.environment },
  );
}

/** The arguments of every server of ours, without those that say where it is. */
export function ownSettings(binary: ServerBinary): string[] {
  return ["--no-defaults", ...location(binary), ...SETTINGS[binary.flavor === "MySQL" ? "MySQL" : "MariaDB"]];
}

function location(binary: ServerBinary): string[] {
  return [...(binary.baseFolder ? [`--basedir=${binary.baseFolder}`] : []), ...userOption()];
}

/** Never shared: at start a server removes all temporary tables it finds, even another server's. */
function temporaryFiles(folder: string): string {
  return `--tmpdir=${folder}`;
}

/** The servers refuse to run as root unless told to. */
function userOption(): string[] {
  return process.getuid?.() === 0 ? [`--user=${os.userInfo().username}`] : [];
}

/**
 * Idempotent SQL, run at every start; one statement per line. It covers both hosts, because name resolution
 * decides which of them a connection to 127.0.0.1 matches, and a broader '%' would lose to anonymous accounts.
 */
function accountSql(flavor: Flavor, password: string, database: string | undefined): string {
  const scope = database ? `\`${database}\`.*` : "*.*";
  const accounts = ["localhost", "127.0.0.1"].map((host) => `'${USER}'@'${host}'`);
  return [
    ...(database
      ? [`CREATE DATABASE IF NOT EXISTS \`${database}\` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;`]
      : []),
    // MySQL's root starts without a password; MariaDB's root can only use the unix socket.
    ...(flavor === "MySQL" ? [`ALTER USER 'root'@'localhost' IDENTIFIED BY '${password}';`] : []),
    ...accounts.flatMap((account) => [
      `CREATE USER IF NOT EXISTS ${account} IDENTIFIED BY '${password}';`,
      `ALTER USER ${account} IDENTIFIED BY '${password}';`,
      `GRANT ALL PRIVILEGES ON ${scope} TO ${account}${database ? "" : " WITH GRANT OPTION"};`,
    ]),
    "",
  ].join("\n");
}

function checkFlavor(binary: ServerBinary, dataFolder: string): void {
  const file = path.join(dataFolder, FLAVOR_FILE);
  const maker = existsSync(file) ? readFileSync(file, "utf8").trim() : binary.flavor;
  if (maker !== binary.flavor) {
    throw new Failure(
      `${dataFolder} was made by ${maker}, but only ${binary.flavor} was found: install ${maker}, or wipe the data with: npm run reset`,
    );
  }
}

/** Renames, or copies if the temp folder is on another file system; atomic either way. */
function moveFolder(from: string, to: string): void {
  mkdirSync(path.dirname(to), { recursive: true });
  try {
    renameSync(from, to);
  } catch (error) {
    if (errorCode(error) !== "EXDEV") throw error;
    const beside = `${to}.partial`;
    rmSync(beside, { recursive: true, force: true });
    cpSync(from, beside, { recursive: true, preserveTimestamps: true });
    renameSync(beside, to);
  }
}
