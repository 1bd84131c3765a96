import { createHash } from "node:crypto";
import path from "node:path";
import { Failure } from "../../shared/failure.ts";
import { spawnGuarded, type GuardedProcess } from "../guard.ts";
import { PROJECT_FOLDER } from "../local-folder.ts";
import type { LogFile } from "../log-file.ts";
import { untilReady } from "../ready.ts";
import { run } from "../run.ts";
import type { ServerName } from "./binaries.ts";
import { probeMysql, probeRedis } from "./probe.ts";
import type { Server } from "./server.ts";

/** Long, since the first start downloads images. */
const READY_TIMEOUT_MS = 15 * 60_000;
/** Longer than MySQL's `stop_grace_period`. */
const GRACE_SECONDS = 75;
/** How MySQL and Redis answer a wrong password. */
const REFUSED = /^(Access denied|WRONGPASS|ERR AUTH)/;

export interface ComposeOptions {
  log: LogFile;
  passwords: Record<ServerName, string>;
  ports: Record<ServerName, number>;
  servers: ServerName[];
  /** Called once compose runs, long before the servers are ready. */
  onStart?: (child: GuardedProcess) => void;
}

/** Whether a container engine with compose is available. */
export async function hasComposeEngine(): Promise<boolean> {
  try {
    await run("docker", ["compose", "version"]);
    await run("docker", ["version", "--format", "{{.Server.Version}}"]);
    return true;
  } catch {
    return false;
  }
}

/** The compose project: each clone has its own containers and volumes. */
export function composeProject(folder: string = PROJECT_FOLDER): string {
  return `conveyor-${createHash("sha256").update(folder).digest("hex").slice(0, 8)}`;
}

/**
 * Runs servers from docker-compose.yml in containers and waits until they accept our passwords. Compose stays
 * in the foreground like any other server process, and stops the containers when it gets SIGTERM.
 *
 * @throws Failure with the end of its log
 */
export async function startWithCompose(
  options: ComposeOptions,
): Promise<Partial<Record<ServerName, Server>>> {
  const { log, passwords, ports, servers } = options;
  const child = spawnGuarded("docker", [...composeArguments(), "up", "--no-color", ...servers], {
    cwd: PROJECT_FOLDER,
    env: {
      ...process.env,
      CONVEYOR_MYSQL_PORT: String(ports.mysql),
      CONVEYOR_REDIS_PORT: String(ports.redis),
      MYSQL_PASSWORD: passwords.mysql,
      REDIS_PASSWORD: passwords.redis,
    },
    graceSeconds: GRACE_SECONDS,
    output: log.fd,
  });
  options.onStart?.(child);
  const urls = {
    mysql: `mysql://conveyor:${passwords.mysql}@127.0.0.1:${ports.mysql}/conveyor`,
    redis: `redis://:${passwords.redis}@127.0.0.1:${ports.redis}`,
  };
  const probes = { mysql: probeMysql, redis: probeRedis };
  const ready = await Promise.all(
    servers.map(async (server): Promise<[ServerName, Server]> => {
      const settings = { name: "docker compose", process: child, log, timeoutMs: READY_TIMEOUT_MS };
      const version = await untilReady(settings, () => probes[server](urls[server]).catch(explainRefusal));
      return [server, { url: urls[server], version, process: child, log }];
    }),
  );
  return Object.fromEntries(ready);
}

/** A volume keeps the passwords it was made with, while removing .local loses ours. */
function explainRefusal(error: unknown): never {
  if (!(error instanceof Error) || !REFUSED.test(error.message)) throw error;
  const project = composeProject();
  throw new Failure(
    `The volumes of an earlier clone have other passwords; remove them with: docker compose -p ${project} down --volumes`,
  );
}

/** Removes the containers, and the volumes with their data. @throws CommandFailed if the engine does not answer */
export async function removeComposeData(project: string): Promise<void> {
  // Compose parses the whole file even to stop, and the file requires passwords.
  const env = { MYSQL_PASSWORD: "unused", REDIS_PASSWORD: "unused" };
  await run("docker", [...composeArguments(project), "down", "--volumes"], { env });
}

function composeArguments(project = composeProject()): string[] {
  const files = ["docker-compose.yml", "tools/launcher/compose.ports.yml"].flatMap((name) => [
    "--file",
    path.join(PROJECT_FOLDER, name),
  ]);
  return ["compose", "--project-name", project, "--project-directory", PROJECT_FOLDER, ...files];
}
