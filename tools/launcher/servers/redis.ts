import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { spawnGuarded, type GuardedProcess } from "../guard.ts";
import type { LogFile } from "../log-file.ts";
import { untilReady } from "../ready.ts";
import { makeTempFolder } from "../temp-folder.ts";
import type { ServerBinary } from "./binaries.ts";
import { probeRedis } from "./probe.ts";
import { PortTaken, type Server } from "./server.ts";

/** Long enough to load a large append-only file. */
const READY_TIMEOUT_MS = 60_000;

export interface RedisOptions {
  /** Further command line arguments: `["--maxmemory", "10mb"]`. */
  args?: string[];
  binary: ServerBinary;
  /** Created if missing. Redis does not lock it: the caller makes sure that only one server uses it. */
  dataFolder: string;
  log: LogFile;
  password: string;
  port: number;
  /** Called once the process runs, before it is ready. */
  onStart?: (child: GuardedProcess) => void;
}

/**
 * Starts a Redis on the loopback address and waits until it accepts our password.
 *
 * @throws PortTaken, or Failure with the end of its log
 */
export async function startRedis(options: RedisOptions): Promise<Required<Server>> {
  const { binary, dataFolder, log, password, port } = options;
  mkdirSync(dataFolder, { recursive: true, mode: 0o700 });
  // A file, since every user of the machine can read a password in the arguments.
  const folder = makeTempFolder();
  const configFile = path.join(folder, "redis.conf");
  writeFileSync(configFile, config(dataFolder, port, password), { mode: 0o600 });
  const child = spawnGuarded(binary.path, [configFile, ...(options.args ?? [])], {
    env: { ...process.env, ...binary.environment },
    output: log.fd,
  });
  options.onStart?.(child);
  try {
    const url = `redis://:${password}@127.0.0.1:${port}`;
    const version = await untilReady(
      { name: binary.flavor, process: child, log, timeoutMs: READY_TIMEOUT_MS },
      () => probeRedis(url),
    );
    return { url, version, process: child, log, dataFolder };
  } catch (error) {
    child.kill("SIGKILL");
    throw log.tail(20).some((line) => /address already in use/i.test(line)) ? new PortTaken() : error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function config(dataFolder: string, port: number, password: string): string {
  return [
    "bind 127.0.0.1",
    `port ${port}`,
    `requirepass ${password}`,
    `dir "${dataFolder.replaceAll(/["\\]/g, String.raw`\$&`)}"`,
    "daemonize no",
    // BullMQ needs both: jobs survive a restart, and none is evicted.
    "appendonly yes",
    "maxmemory-policy noeviction",
    'save ""',
    "",
  ].join("\n");
}
