import path from "node:path";
import { chooseApiAddress, type ApiAddress } from "./api-address.ts";
import { AppProcess, type AppOptions } from "./app-process.ts";
import { readConfigFile } from "../../src/composition/config-file.ts";
import { outlineOf, type Outline } from "../../src/order/outline.ts";
import { bannerLines } from "./banner.ts";
import { build, own } from "./build.ts";
import { Children } from "./children.ts";
import { diskFault, toldDiskFault } from "./disk.ts";
import { loadDemoStock } from "./demo-stock.ts";
import { Failure } from "../shared/failure.ts";
import { LOCAL, PROJECT_FOLDER } from "./local-folder.ts";
import { identify, tryLock } from "./lock.js";
import { migrate } from "./migration.ts";
import { isFree } from "./ports.ts";
import { CommandFailed } from "./run.ts";
import { chooseSimulators, ledgerFile, simulatorSettings, simulatorVariables } from "./simulators.ts";
import type { Server } from "./servers/server.ts";
import { keepServersRunning } from "./servers/keep-running.ts";
import { startServers, type Servers } from "./servers/start-servers.ts";
import { readRunning, StateFile, type Run, type Simulators } from "./state.ts";
import { listenForStop } from "./stop-requests.ts";
import { removeAbandonedTempFolders } from "./temp-folder.ts";
import { say, sayFailure, startStep } from "./terminal.ts";

const HELP = `npm start

Runs MySQL, Redis, the API, a worker and simulated providers until Ctrl-C, with all their data in this folder.

Takes no arguments. Environment variables configure it (see docs/configuration.md), above all:

  PORT, HOST                where the API listens; by default 127.0.0.1, port 3000 or the next free one
  DATABASE_URL, REDIS_URL   your own servers instead of those in this folder
  PAYMENTS_URL, CARRIER_URL your own providers instead of the simulated ones
  CARRIER=easypost          a simulated EasyPost as the carrier; orders need a shipTo then
  API_KEYS                  your own keys, separated by commas`;
const INTERRUPTED = 130;
const LINES = 15;

/** `npm start`: runs everything Conveyor needs until Ctrl-C, then exits the process. */
async function start(args: string[]): Promise<never> {
  if (args.includes("--help") || args.includes("-h")) {
    say(HELP);
    return process.exit(0);
  }
  const lock = lockFolder(args);
  const state = new StateFile();
  const children = new Children(state);
  let code = 0;
  const stopRequest = new Promise<void>((resolve) => {
    listenForStop({
      onStop: resolve,
      onStopNow() {
        code = INTERRUPTED;
        children.kill();
      },
    });
  });

  try {
    await Promise.race([conveyor(state, children), stopRequest]);
  } catch (error) {
    code = 1;
    report(error);
  }
  if (children.any) {
    const step = startStep("Stopping; press Ctrl-C again to kill everything now");
    await children.stop(code !== 0);
    step.done("Stopped");
  }
  state.update((remembered) => delete remembered.run);
  lock.release();
  return process.exit(code);
}

/** Starts everything and keeps it running. Never returns. @throws Failure when something can't be started */
async function conveyor(state: StateFile, children: Children): Promise<void> {
  // First, since nothing else matters if PORT is in use, or if the configuration file is wrong.
  const file = await readConfigFile(process.env, PROJECT_FOLDER);
  if (file.faults.length > 0) throw new Failure("The configuration is invalid", [...file.faults]);
  const address = await chooseAddress(state);
  removeAbandonedTempFolders();
  await children.endLeftovers(() => startStep("Waiting for the processes of an earlier run to exit"));
  const [servers, code] = await Promise.all([
    startServersStep(state, children).finally(() => startStep("Compiling the sources")),
    build((folder) => {
      own(folder);
      return folder;
    }),
  ]);
  const pipeline = outlineOf(file.stages);
  const simulators = await chooseSimulators(file, process.env, state);
  await Promise.all([
    keepServersRunning(servers, children),
    runOn({ servers, simulators, code, pipeline, state, children }, address),
  ]);
}

/** What the processes need to start. */
interface Platform {
  servers: Servers;
  /** The simulated providers. */
  simulators: Simulators;
  /** Folder of the compiled sources. */
  code: string;
  pipeline: Outline;
  state: StateFile;
  children: Children;
}

async function runOn(platform: Platform, wanted: ApiAddress): Promise<void> {
  const { servers, code, state } = platform;
  await migrateStep(servers.mysql, code, platform.pipeline);
  const step = startStep("Starting the API and a worker");
  const [{ api, address }, ...others] = await Promise.all([
    startApi(platform, wanted),
    startWorker(platform, wanted),
    ...(hasSimulators(platform) ? [startSimulators(platform, wanted)] : []),
  ]);
  step.done("API and worker ready");
  await loadStock(address.url, apiKey(state));
  announce(platform, address);
  await Promise.all([api, ...others].map((each) => each.keepRunning()));
}

function lockFolder(args: string[]): { release(): void } {
  if (args.length > 0)
    throw new Failure(`npm start takes no arguments: ${args.join(" ")}; see npm start -- --help`);
  const lock = tryLock(LOCAL.lock);
  if (!("owner" in lock)) return lock;
  const running = readRunning();
  throw new Failure(
    running
      ? `Conveyor already runs in this folder: ${running.conveyorUrl} (process ${lock.owner.pid}; Ctrl-C there stops it)`
      : `Conveyor is already starting or stopping in this folder (process ${lock.owner.pid})`,
  );
}

async function chooseAddress(state: StateFile): Promise<ApiAddress> {
  const address = await chooseApiAddress(process.env, state.state.apiPort);
  if (address.note) say(address.note);
  if (!process.env["PORT"]) state.update((remembered) => (remembered.apiPort = address.port));
  return address;
}

async function startServersStep(state: StateFile, children: Children): Promise<Servers> {
  const step = startStep("MySQL and Redis");
  const servers = await startServers({
    environment: process.env,
    progress: (text) => step.progress(text),
    state,
    onStart: (name, child) => children.add(name, "server", child),
  });
  step.done(`${servers.mysql.version} and ${servers.redis.version}`);
  return servers;
}

async function migrateStep(
  { dataFolder, url }: Server,
  code: string,
  pipeline: Platform["pipeline"],
): Promise<void> {
  const step = startStep("Migrating the database");
  const outcome = await migrate(url, code, dataFolder, pipeline);
  step.done(outcome && `Database: ${outcome}`);
}

async function startApi(
  platform: Platform,
  address: ApiAddress,
): Promise<{ api: AppProcess; address: ApiAddress }> {
  const common = appOptions(platform);
  const api = new AppProcess({
    ...common,
    env: {
      ...common.env,
      API_KEYS: process.env["API_KEYS"] || apiKey(platform.state),
      HOST: address.host,
      PORT: String(address.port),
      // No load balancer has to notice that it stops.
      SHUTDOWN_DELAY_MS: process.env["SHUTDOWN_DELAY_MS"] || "0",
      // For the worker only: the API serves metrics on its own port.
      METRICS_PORT: undefined,
    },
    isReady: async () => (await fetch(`${address.url}/health/ready`)).ok,
    name: "api",
    readyMessage: "listening",
    script: path.join(platform.code, "src/main.js"),
  });
  try {
    await api.start();
    return { api, address };
  } catch (error) {
    if (process.env["PORT"] || (await isFree(address.port, address.host))) throw error;
    // Another clone, started at the same moment, took the port first.
    return startApi(platform, await chooseAddress(platform.state));
  }
}

/** It takes over the books that earlier versions kept in MySQL. */
async function startSimulators(platform: Platform, api: ApiAddress): Promise<AppProcess> {
  const common = appOptions(platform);
  const simulators = new AppProcess({
    ...common,
    env: {
      ...common.env,
      ...simulatorSettings(platform.simulators, api.url),
      HOST: "127.0.0.1",
      PROVIDERS_LEDGER: ledgerFile(platform.servers.mysql.process !== undefined),
    },
    // Workers that finish what they have in hand need them.
    kind: "server",
    name: "simulators",
    readyMessage: "simulators ready",
    script: path.join(platform.code, "tools/simulators/main.js"),
  });
  await simulators.start();
  return simulators;
}

function hasSimulators({ simulators }: Platform): boolean {
  return Object.keys(simulators).length > 0;
}

async function startWorker(platform: Platform, api: ApiAddress): Promise<AppProcess> {
  const common = appOptions(platform);
  const worker = new AppProcess({
    ...common,
    // Where services call back.
    env: { ...common.env, PUBLIC_URL: process.env["PUBLIC_URL"] || api.url },
    name: "worker",
    readyMessage: "worker ready",
    script: path.join(platform.code, "workers/main.js"),
  });
  await worker.start();
  return worker;
}

function appOptions({
  servers,
  simulators,
  children,
}: Platform): Pick<AppOptions, "children" | "env" | "servers"> {
  return {
    children,
    env: {
      DATABASE_URL: servers.mysql.url,
      REDIS_URL: servers.redis.url,
      ...simulatorVariables(simulators),
    },
    servers: () => Object.values(servers).flatMap((server) => server.process ?? []),
  };
}

async function loadStock(conveyorUrl: string, key: string): Promise<void> {
  const step = startStep("Loading the demo stock");
  const isNew = await loadDemoStock(conveyorUrl, key).catch((error: Error) => {
    throw new Failure(`The demo stock could not be loaded: ${error.message}`);
  });
  step.done(isNew ? "Demo stock loaded" : undefined);
}

function announce({ servers, simulators, state }: Platform, address: ApiAddress): void {
  const now: Run = {
    apiKey: apiKey(state),
    conveyorUrl: address.url,
    databaseUrl: servers.mysql.url,
    owner: identify(process.pid)!,
    redisUrl: servers.redis.url,
    simulators,
    startedAt: new Date().toISOString(),
    versions: { mysql: servers.mysql.version, redis: servers.redis.version },
  };
  state.update((remembered) => (remembered.run = now));
  for (const line of bannerLines(now, process.env)) say(line);
}

/** The first key in API_KEYS, or this folder's own. */
function apiKey(state: StateFile): string {
  return process.env["API_KEYS"]?.split(",")[0]?.trim() || state.state.apiKey;
}

function report(error: unknown): void {
  const lines = error instanceof Failure ? error.details : error instanceof CommandFailed ? error.lines : [];
  const fault = diskFault(error) ?? toldDiskFault(lines);
  if (fault !== undefined && error instanceof Error)
    sayFailure(lines.length > 0 ? `${error.message}: ${fault}` : fault);
  else if (error instanceof Failure) sayFailure(error.message, error.details);
  else if (error instanceof CommandFailed) sayFailure(error.message, error.lines.slice(-LINES));
  else sayFailure("Unexpected error", error instanceof Error ? error.stack?.split("\n") : [String(error)]);
}

await start(process.argv.slice(2)).catch((error: unknown) => {
  report(error);
  process.exitCode = 1;
});
