import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");

/** Files that break a rule, each with what it imports. */
const REFUSED = [
  ["src/order/total.ts", "zod"],
  ["src/order/lines.ts", "../platform/log.ts"],
  ["src/order/stages/pay.ts", "node:crypto"],
  ["src/platform/log.ts", "../order/total.ts"],
  ["src/engine/executor.ts", "../../workers/heartbeat.ts"],
  ["src/engine/sweeper.ts", "../providers/stripe.ts"],
  ["src/engine/intake.ts", "../../db/store.ts"],
  ["src/engine/cancellation.ts", "../../queues/lease.ts"],
  ["src/providers/stripe.ts", "../engine/ports.ts"],
  ["src/providers/easypost.ts", "../../queues/queues.ts"],
  ["src/events/relay.ts", "../engine/ports.ts"],
  ["src/events/hub.ts", "../api/app.ts"],
  ["src/api/app.ts", "../../workers/consumer.ts"],
  ["db/orders.ts", "../queues/queues.ts"],
  ["db/stock.ts", "../tools/simulators/carrier.ts"],
  ["db/store.ts", "../src/engine/executor.ts"],
  ["queues/queues.ts", "../db/orders.ts"],
  ["queues/lease.ts", "../src/engine/executor.ts"],
  ["queues/job.ts", "../tools/simulators/carrier.ts"],
  ["workers/consumer.ts", "../src/api/console.ts"],
  ["workers/heartbeat.ts", "../tools/chaos/audit.ts"],
  ["src/api/console.ts", "../../test/support/client.ts"],
  ["src/order/limits.ts", "../../package.json"],
  ["src/engine/metrics.ts", "../../package.json"],
  ["src/composition/api.ts", "../../tools/simulators/carrier.ts"],
  ["src/composition/base.ts", "../main.ts"],
  ["src/main.ts", "../tools/simulators/carrier.ts"],
  ["workers/main.ts", "../tools/simulators/carrier.ts"],
  ["workers/arguments.ts", "../src/composition/worker.ts"],
  ["src/engine/breaker.ts", "mysql2/promise"],
  ["src/engine/breakers.ts", "bullmq"],
  ["src/engine/outage.ts", "ioredis"],
  ["src/engine/pings.ts", "express"],
  ["src/engine/suspects.ts", "drizzle-orm"],
  ["src/api/yaml.ts", "yaml"],
  ["src/composition/engine.ts", "fast-check"],
  ["db/database.ts", "drizzle-kit"],
  ["queues/connection.ts", "yaml"],
  ["workers/stages.ts", "yaml"],
] as const;
/** Files that keep every rule. */
const ALLOWED = [
  ["src/order/stages/ship.ts", "../lines.ts"],
  ["src/platform/metrics.ts", "prom-client"],
  ["src/engine/ports.ts", "../order/lines.ts"],
  ["src/providers/http.ts", "../../db/stock.ts"],
  ["src/events/webhooks.ts", "../../queues/job.ts"],
  ["src/api/orders.ts", "../engine/executor.ts"],
  ["src/composition/worker.ts", "../../workers/heartbeat.ts"],
  ["src/composition/queues.ts", "../../package.json"],
  ["workers/isolation/main.ts", "../../src/composition/worker.ts"],
  ["db/drizzle.config.ts", "drizzle-kit"],
  ["db/statements.ts", "drizzle-orm"],
  ["src/engine/batching-store.ts", "p-limit"],
  ["src/engine/withdrawals.ts", "node:timers/promises"],
  ["db/reservations.ts", "../src/order/lines.ts"],
  ["db/order-store.ts", "../src/engine/ports.ts"],
  ["queues/controls.ts", "../src/engine/ports.ts"],
  ["queues/backlog.ts", "../src/platform/metrics.ts"],
  ["workers/stage-worker.ts", "../src/engine/executor.ts"],
  ["tools/simulators/carrier.ts", "node:http"],
  ["tools/chaos/audit.ts", "../../src/order/lines.ts"],
  ["test/support/client.ts", "../../src/api/app.ts"],
] as const;

interface Violation {
  readonly from: string;
  readonly to: string;
  readonly rule: { readonly name: string };
}

let folder: string;
let violations: readonly Violation[];

/** One tree with a violation of every kind, looked at in one run with the project's own rules. */
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-boundaries-"));
  await cp(path.join(REPOSITORY, "test/boundaries.cjs"), path.join(folder, "boundaries.cjs"));
  await symlink(path.join(REPOSITORY, "node_modules"), path.join(folder, "node_modules"));
  await cp(path.join(REPOSITORY, "package.json"), path.join(folder, "package.json"));
  for (const [file, imported] of [...REFUSED, ...ALLOWED]) {
    await write(file, `import { x } from "${imported}";\nexport const y: unknown = x;\n`);
  }
  await write("src/api/type.ts", `import type { X } from "../../workers/consumer.ts";\nexport type Y = X;\n`);
  await write("src/api/again.ts", `export { x } from "../../workers/consumer.ts";\n`);
  await write("src/api/later.ts", `export const later = () => import("../../workers/consumer.ts");\n`);
  await write("src/api/a.ts", `import type { B } from "./b.ts";\nexport type A = B;\n`);
  await write("src/api/b.ts", `import type { A } from "./a.ts";\nexport type B = A;\n`);
  violations = await violationsIn(folder);
});
afterAll(() => rm(folder, { recursive: true }));

async function write(file: string, text: string): Promise<void> {
  await mkdir(path.dirname(path.join(folder, file)), { recursive: true });
  await writeFile(path.join(folder, file), text);
}

function violationsIn(cwd: string): Promise<readonly Violation[]> {
  const depcruise = path.join(REPOSITORY, "node_modules/.bin/depcruise");
  const args = [
    "--config",
    "boundaries.cjs",
    "-T",
    "json",
    "src",
    "db",
    "queues",
    "workers",
    "tools",
    "test",
  ];
  return new Promise((resolve) => {
    execFile(depcruise, args, { cwd, maxBuffer: 2 ** 26 }, (_error, stdout) =>
      resolve(JSON.parse(stdout).summary.violations),
    );
  });
}

/** How often a file breaks a rule. What does not exist is refused for that alone, and proves nothing. */
const broken = (file: string, rule: string) =>
  violations.filter((each) => each.from === file && each.rule.name === rule && !isMissing(each.to)).length;
const isMissing = (imported: string) => imported.startsWith(".") && !imported.includes("node_modules/");

test.each(REFUSED)("%s may not import %s", (...[file]) => {
  expect(broken(file, "not-in-allowed")).toBe(1);
});

test.each([
  ["a type", "src/api/type.ts"],
  ["something later", "src/api/later.ts"],
  ["something to export it again", "src/api/again.ts"],
])("importing %s is importing", (_what, file) => {
  expect(broken(file, "not-in-allowed")).toBe(1);
});

test("a cycle is refused, also one of types", () => {
  expect(broken("src/api/a.ts", "no-cycle")).toBe(1);
});

test.each(ALLOWED)("%s may import %s", (...[file]) => {
  expect(broken(file, "not-in-allowed")).toBe(0);
});

test("all of the product's code is in files that are checked: .ts", async () => {
  const folders = ["src", "db", "queues", "workers"];
  const files = await Promise.all(
    folders.map((each) => readdir(path.join(REPOSITORY, each), { recursive: true })),
  );
  const others = files.flat().filter((file) => /\.[cm]?[jt]sx?$/.test(file) && path.extname(file) !== ".ts");
  expect(others.toSorted()).toEqual(["api/console/assets/console.js", "api/console/assets/stream.js"]);
});
