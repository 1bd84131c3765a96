import { describeRedis } from "../../src/platform/redis-url.ts";
import { Failure } from "../shared/failure.ts";
import { LOCAL, PROJECT_FOLDER } from "./local-folder.ts";
import { isAlive } from "./lock.js";
import { simulatorVariables } from "./simulators.ts";
import { readRunning, readState, type Running } from "./state.ts";

const USAGE = "usage: npm run --silent services -- env | status";

/** `npm run services`: tells programs (env) or people (status) what runs in this folder. */
function services([command, ...rest]: string[]): string[] {
  if (rest.length > 0) throw new Failure(USAGE);
  if (command === "env") return environmentLines(requireRunning());
  if (command === "status") return statusLines();
  throw new Failure(USAGE);
}

function requireRunning(): Running {
  const running = readRunning();
  if (running) return running;
  throw new Failure(`Conveyor is not running in ${PROJECT_FOLDER}: start it with npm start`);
}

function environmentLines({ apiKey, conveyorUrl, databaseUrl, redisUrl, simulators }: Running): string[] {
  return [
    `DATABASE_URL=${databaseUrl}`,
    `REDIS_URL=${redisUrl}`,
    `CONVEYOR_URL=${conveyorUrl}`,
    `CONVEYOR_API_KEY=${apiKey}`,
    ...Object.entries(simulatorVariables(simulators)).map(([name, value]) => `${name}=${value}`),
  ];
}

function statusLines(): string[] {
  requireRunning();
  const { children = [], run } = readState() ?? {};
  if (!run) return [];
  return [
    row("Folder", PROJECT_FOLDER),
    row("Running", `since ${run.startedAt} (process ${run.owner.pid})`),
    row("API", run.conveyorUrl),
    row("MySQL", `${run.versions.mysql} on ${new URL(run.databaseUrl).host}`),
    row("Redis", `${run.versions.redis} on ${describeRedis(run.redisUrl)}`),
    row("Providers", providersOf(run)),
    ...children.map((child) => row(child.name, `process ${child.pid}${isAlive(child) ? "" : ", exited"}`)),
    row("Data", LOCAL.data),
    row("Logs", LOCAL.logs),
  ];
}

function providersOf({ simulators }: Running): string {
  const simulated = (["payments", "carrier"] as const).filter((provider) => simulators[provider]);
  return simulated.length === 0 ? "your own" : `${simulated.join(" and ")} simulated`;
}

function row(name: string, value: string): string {
  return `${name.padEnd(12)}${value}`;
}

try {
  process.stdout.write(`${services(process.argv.slice(2)).join("\n")}\n`);
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
