import path from "node:path";
import { spawnGuarded, type GuardedProcess } from "../../tools/launcher/guard.ts";
import { SERVICE_FLAGS } from "../../tools/launcher/node-flags.ts";
import type { Providers } from "../../tools/simulators/providers.ts";
import { endWithJest } from "./end-with-jest.ts";
import { waitFor } from "./wait-for.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
const STOP_DEADLINE_MS = 30_000;

/** Enough for a machine that is slow or busy; tests of what happens after it set their own. */
const DATABASE_TIMEOUT_MS = "20000";

/** The key that test processes accept. */
export const TEST_KEY = "test-key-0123456789";

/** No load balancer has to notice that it stops. */
const API = { PORT: "0", API_KEYS: TEST_KEY, SHUTDOWN_DELAY_MS: "0" };

/** An API or worker process of its own, as `npm run api` and `npm run worker` start them. */
export interface TestProcess {
  readonly process: GuardedProcess;
  /** Every line that it has written. */
  readonly lines: readonly string[];
  /** Those of them that are log lines. */
  logs(): Record<string, unknown>[];
  /** Ends it as a deploy does; gives the exit code. */
  stop(): Promise<number | null>;
}

export interface ProcessOptions {
  readonly databaseUrl: string;
  /** Absent where no Redis is needed. */
  readonly redisUrl?: string;
  /** Absent where no provider is needed. */
  readonly providers?: Pick<Providers, "paymentsUrl" | "carrierUrl" | "inventoryUrl">;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** A folder whose sources run as they are, instead of this repository's compiled ones. */
  readonly folder?: string;
  /** Files and connections that it may have open. */
  readonly openFiles?: number;
}

/** Starts the API on a free port and waits until it listens. */
export async function startApi(options: ProcessOptions): Promise<TestProcess & { readonly url: string }> {
  const api = start("src/main.ts", { ...options, env: { ...API, ...options.env } });
  const line = await untilLogged(api, "listening");
  return { ...api, url: String(line["url"]) };
}

/** Starts a worker and waits until it takes jobs. */
export async function startWorker(options: ProcessOptions): Promise<TestProcess> {
  const worker = start("workers/main.ts", options);
  await untilLogged(worker, "worker ready");
  return worker;
}

/** Starts a script, such as `src/main.ts`, without waiting for anything. */
export function start(script: string, options: ProcessOptions): TestProcess {
  endWithJest();
  const lines: string[] = [];
  const code = options.folder === undefined ? compiled(script) : ["--import", "tsx", script];
  const [command, ...args] = limited(options.openFiles, [
    process.execPath,
    ...SERVICE_FLAGS,
    ...code,
    ...(options.args ?? []),
  ]);
  const child = spawnGuarded(command, args, {
    cwd: options.folder ?? REPOSITORY,
    env: {
      PATH: process.env["PATH"],
      DATABASE_URL: options.databaseUrl,
      DATABASE_TIMEOUT_MS,
      ...(options.redisUrl === undefined ? {} : { REDIS_URL: options.redisUrl }),
      ...(options.providers === undefined ? {} : variablesOf(options.providers)),
      ...options.env,
    },
    onLine: (line) => lines.push(line),
  });
  return {
    process: child,
    lines,
    logs: () => lines.flatMap(parsed),
    async stop() {
      return (await child.stop(STOP_DEADLINE_MS)).code;
    },
  };
}

function limited(openFiles: number | undefined, command: [string, ...string[]]): [string, ...string[]] {
  if (openFiles === undefined) return command;
  return ["/bin/sh", "-c", `ulimit -n ${openFiles}; exec "$@"`, "sh", ...command];
}

/** Has a process use these providers; the inventory in MySQL fails as they say. */
function variablesOf({ paymentsUrl, carrierUrl, inventoryUrl }: NonNullable<ProcessOptions["providers"]>) {
  return {
    PAYMENTS_URL: paymentsUrl,
    CARRIER_URL: carrierUrl,
    PROVIDERS_MODULE: "tools/simulators/inventory",
    INVENTORY_SIMULATOR_URL: inventoryUrl,
  };
}

/** The script as global-setup.ts has compiled it. */
function compiled(script: string): string[] {
  const folder = process.env["TEST_CODE"];
  if (folder === undefined) throw new Error("TEST_CODE is set by jest's global setup");
  return [path.join(folder, script.replace(/\.ts$/, ".js"))];
}

/** Waits for a log line with this message. Fails at once, with all output, when the process ends instead. */
export async function untilLogged(child: TestProcess, message: string): Promise<Record<string, unknown>> {
  return waitFor(`a log line "${message}"`, () => {
    const found = child.logs().find((line) => line["msg"] === message);
    if (!found && !child.process.running) throw new Error(`the process ended:\n${child.lines.join("\n")}`);
    return found;
  });
}

function parsed(line: string): Record<string, unknown>[] {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? [{ ...value }] : [];
  } catch {
    return [];
  }
}
