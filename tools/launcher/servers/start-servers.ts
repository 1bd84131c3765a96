import path from "node:path";
import { Failure } from "../../shared/failure.ts";
import type { GuardedProcess } from "../guard.ts";
import { LOCAL } from "../local-folder.ts";
import { LogFile } from "../log-file.ts";
import { freePort } from "../ports.ts";
import type { StateFile } from "../state.ts";
import type { ServerBinary, ServerName } from "./binaries.ts";
import { composeProject, hasComposeEngine, startWithCompose } from "./compose.ts";
import { checkExternal, environmentUrl } from "./external.ts";
import { findBinaries } from "./find.ts";
import { installHint } from "./install-hint.ts";
import { startMysql } from "./mysql.ts";
import { startRedis } from "./redis.ts";
import { PortTaken, type Server } from "./server.ts";

const PORT_ATTEMPTS = 3;
const DATABASE = "conveyor";

export interface StartedServer extends Server {
  /**
   * Starts the server again after it has exited, with its data and on the same port, which clients already use.
   * Undefined for a server we did not start; servers that run in containers share one.
   *
   * @throws PortTaken, or Failure with the end of its log
   */
  restart?: () => Promise<GuardedProcess>;
}

export type Servers = Record<ServerName, StartedServer>;

export interface ServersOptions {
  environment: NodeJS.ProcessEnv;
  /** Called with a few words about what is being done. */
  progress: (text: string) => void;
  state: StateFile;
  /** Called with each process once it runs, and its log. */
  onStart: (name: string, child: GuardedProcess, log: LogFile) => void;
}

/**
 * Provides MySQL and Redis, each from the first source that works: the server named in the environment, a
 * program on this machine, unpacked Debian packages, or a container.
 *
 * Never uses a server that already listens on the usual ports: its data is not ours.
 *
 * @throws Failure if a server can't be found or does not start
 */
export async function startServers(options: ServersOptions): Promise<Servers> {
  const { environment, progress } = options;
  const given = new Map<ServerName, string>();
  const needed: ServerName[] = [];
  for (const server of ["mysql", "redis"] as const) {
    const url = environmentUrl(server, environment);
    if (url) given.set(server, url);
    else needed.push(server);
  }
  const external = await Promise.all(
    [...given].map(async ([server, url]) => [server, await checkExternal(server, url)]),
  );
  const { binaries, missing, reason } = await findBinaries(needed, {
    packagesFolder: LOCAL.packages,
    progress,
  });
  if (missing.length > 0 && !(await hasComposeEngine())) throw new Failure(installHint(missing, reason));

  progress("");
  const [mysql, redis, contained] = await Promise.all([
    binaries.mysql && startPrivate("mysql", binaries.mysql, options),
    binaries.redis && startPrivate("redis", binaries.redis, options),
    missing.length > 0 ? startContained(missing, options) : {},
  ]);
  return { ...Object.fromEntries(external), ...contained, ...(mysql && { mysql }), ...(redis && { redis }) };
}

/** Starts a server on the port of the last run, or on another if that port is in use. */
async function startPrivate(
  server: ServerName,
  binary: ServerBinary,
  options: ServersOptions,
  attempt = 1,
): Promise<StartedServer> {
  const { state, onStart } = options;
  const port = await rememberPort(server, state);
  const log = new LogFile(path.join(LOCAL.logs, `${server}.log`));
  const common = {
    binary,
    dataFolder: path.join(LOCAL.data, server),
    log,
    port,
    onStart: (child: GuardedProcess) => onStart(server, child, log),
  };
  const { mysqlPassword, redisPassword } = state.state;
  const start = () =>
    server === "mysql"
      ? startMysql({ ...common, database: DATABASE, password: mysqlPassword })
      : startRedis({ ...common, password: redisPassword });
  try {
    return { ...(await start()), restart: async () => (await start()).process };
  } catch (error) {
    if (!(error instanceof PortTaken) || attempt === PORT_ATTEMPTS) throw error;
    return startPrivate(server, binary, options, attempt + 1);
  }
}

async function startContained(
  servers: ServerName[],
  { state, onStart, progress }: ServersOptions,
): Promise<Partial<Servers>> {
  const log = new LogFile(path.join(LOCAL.logs, "compose.log"), (line) => progress(line.trim()));
  const ports = { mysql: await rememberPort("mysql", state), redis: await rememberPort("redis", state) };
  state.update((remembered) => (remembered.composeProject = composeProject()));
  const { mysqlPassword, redisPassword } = state.state;
  const start = () =>
    startWithCompose({
      log,
      passwords: { mysql: mysqlPassword, redis: redisPassword },
      ports,
      servers,
      onStart: (child) => onStart("compose", child, log),
    });
  const restart = async (): Promise<GuardedProcess> => {
    const [child] = Object.values(await start()).flatMap((server) => server.process ?? []);
    if (child === undefined) throw new Error("compose was asked for no server");
    return child;
  };
  return Object.fromEntries(
    Object.entries(await start()).map(([name, server]) => [name, { ...server, restart }]),
  );
}

async function rememberPort(server: ServerName, state: StateFile): Promise<number> {
  const port = await freePort(state.state[`${server}Port`]);
  state.update((remembered) => (remembered[`${server}Port`] = port));
  return port;
}
