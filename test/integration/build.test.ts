import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { parse } from "yaml";
import { spawnGuarded, type GuardedProcess } from "../../tools/launcher/guard.ts";
import { freePort } from "../../tools/launcher/ports.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { TEST_KEY } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

/*
 * What the Dockerfile makes, without an engine: built from what .dockerignore lets through, then run from the compiled
 * files alone, with the commands of the compose file.
 */

const ROOT = path.resolve(import.meta.dirname, "../..");
const DEADLINE_MS = 30_000;

let folder: string;
let environment: TestEnvironment;
let variables: NodeJS.ProcessEnv;
let port: number;
/** Where the worker tells its health. */
let workerPort: number;
const started: GuardedProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-build-"));
  const context = path.join(folder, "context");
  const image = path.join(folder, "image");
  const ignored = await readFile(path.join(ROOT, ".dockerignore"), "utf8");
  for (const [, name = ""] of ignored.matchAll(/^!(.+)$/gm))
    await cp(path.join(ROOT, name), path.join(context, name), { recursive: true });
  await symlink(path.join(ROOT, "node_modules"), path.join(context, "node_modules"));
  await promisify(execFile)("npm", ["run", "build"], { cwd: context });
  await mkdir(image);
  for (const name of ["dist", "package.json", "node_modules"])
    await rename(path.join(context, name), path.join(image, name));
  await rm(context, { recursive: true });

  environment = await createTestEnvironment({ migrated: false });
  [port, workerPort] = [await freePort(), await freePort()];
  const [payments, carrier] = [await freePort(), await freePort()];
  variables = {
    PATH: process.env["PATH"],
    NODE_ENV: "production",
    DATABASE_URL: environment.databaseUrl,
    REDIS_URL: environment.redisUrl,
    API_KEYS: TEST_KEY,
    PORT: String(port),
    PAYMENTS_URL: `http://127.0.0.1:${payments}`,
    CARRIER_URL: `http://127.0.0.1:${carrier}`,
    PAYMENTS_PORT: String(payments),
    CARRIER_PORT: String(carrier),
    INVENTORY_PORT: "0",
    EASYPOST_PORT: "0",
    CARRIER_TRANSIT_MS: "0",
    PROVIDERS_LEDGER: path.join(folder, "data/ledger.jsonl"),
  };
  // A busy machine compiles for a while.
}, 300_000);
afterAll(async () => {
  await Promise.all(started.map((child) => child.stop(DEADLINE_MS)));
  await environment.close();
  await rm(folder, { recursive: true });
});

/** Starts a command of the compose file where the image would. */
function start(
  [command = "", ...args]: readonly string[],
  lines: string[] = [],
  more: NodeJS.ProcessEnv = {},
): GuardedProcess {
  const onLine = (line: string) => lines.push(line);
  const env = { ...variables, ...more };
  const child = spawnGuarded(command, args, { cwd: path.join(folder, "image"), env, onLine });
  started.push(child);
  return child;
}

async function exitCode(command: readonly string[]): Promise<number | null> {
  return (await start(command).exited).code;
}

/** Starts a process and waits until its health check says yes. */
async function startHealthy(
  command: readonly string[],
  healthCheck: readonly string[],
  more: NodeJS.ProcessEnv = {},
): Promise<GuardedProcess> {
  const lines: string[] = [];
  const child = start(command, lines, more);
  await waitFor(`${command.join(" ")} in good health`, async () => {
    if (!child.running) throw new Error(`it ended:\n${lines.join("\n")}`);
    return (await exitCode(healthCheck)) === 0;
  });
  return child;
}

test("the image's processes migrate, take an order to its end, know their health, and end when told to", async () => {
  const { services } = parse(await readFile(path.join(ROOT, "docker-compose.yml"), "utf8"));
  const health = {
    // The container's port is its own; ours may be taken.
    api: services.api.healthcheck.test.slice(1).map((each: string) => each.replace(":3000/", `:${port}/`)),
    worker: services.worker.healthcheck.test
      .slice(1)
      .map((each: string) => each.replace(":9464/", `:${workerPort}/`)),
    simulators: services.simulators.healthcheck.test
      .slice(1)
      .map((each: string) => each.replace(":4101/", `:${variables["PAYMENTS_PORT"]}/`)),
  };
  expect(await exitCode(services.migrate.command)).toBe(0);
  expect(await exitCode(health.worker)).toBe(1);

  const simulators = await startHealthy(services.simulators.command, health.simulators);
  const worker = await startHealthy(services.worker.command, health.worker, {
    METRICS_PORT: String(workerPort),
  });
  expect(await exitCode(health.api)).toBe(1);
  const api = await startHealthy(services.api.command, health.api);

  const client = new TestClient(`http://127.0.0.1:${port}`);
  await client.put("/stock/MUG-BLUE", { onHand: 10 });
  const { id } = await client.order(PLAIN_ORDER);
  await client.orderIn(id, "DELIVERED");

  const script = await client.get("/console/assets/console.js");
  expect(script.status).toBe(200);

  expect((await api.stop(DEADLINE_MS)).code).toBe(0);
  expect((await worker.stop(DEADLINE_MS)).code).toBe(0);
  expect((await simulators.stop(DEADLINE_MS)).code).toBe(0);
});
