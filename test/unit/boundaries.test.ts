import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");

/** Lints a small tree with the project's own rules, and gives the rules that were broken. */
describe("the lint rules on who may import whom", () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), "conveyor-lint-"));
    await cp(path.join(REPOSITORY, ".oxlintrc.json"), path.join(folder, ".oxlintrc.json"));
    await cp(path.join(REPOSITORY, "tsconfig.json"), path.join(folder, "tsconfig.json"));
    await symlink(path.join(REPOSITORY, "node_modules"), path.join(folder, "node_modules"));
  });

  afterEach(() => rm(folder, { recursive: true }));

  async function write(file: string, text: string): Promise<void> {
    await mkdir(path.dirname(path.join(folder, file)), { recursive: true });
    await writeFile(path.join(folder, file), text);
  }

  function lint(): Promise<string> {
    const oxlint = path.join(REPOSITORY, "node_modules/.bin/oxlint");
    return new Promise((resolve) => {
      execFile(oxlint, { cwd: folder }, (_error, stdout, stderr) => resolve(stdout + stderr));
    });
  }

  test.each([
    ["src/order/total.ts", "zod", "src/order imports nothing outside itself"],
    ["src/order/total.ts", "../log.ts", "src/order imports nothing outside itself"],
    ["src/order/stages/pay.ts", "../../log.ts", "src/order imports nothing outside itself"],
    ["src/order/stages/pay.ts", "ioredis", "src/order imports nothing outside itself"],
    ["db/orders.ts", "../queues/job.ts", "db imports only src/order"],
    ["db/orders.ts", "bullmq", "db knows no queue"],
    ["queues/job.ts", "../db/orders.ts", "queues imports only src/order"],
    ["queues/job.ts", "mysql2/promise", "queues knows no database"],
    ["src/api/orders.ts", "../../src/engine/executor.ts", "The API process imports"],
    ["src/api/console/pages/overview.ts", "../../../workers/heartbeat.ts", "The API process imports"],
    ["src/engine/intake.ts", "../workers/inline/inline.ts", "The API process imports"],
    ["src/api/orders.ts", "../../src/inline.ts", "The API process imports"],
    ["src/main.ts", "../workers/executor.ts", "nothing but inline/inline.ts"],
    ["src/main.ts", "../workers/inline/processing.ts", "nothing but inline/inline.ts"],
    ["src/main.ts", "../chaos/sql.ts", "The API process imports"],
    ["src/engine/executor.ts", "../src/http/app.ts", "and no HTTP"],
    ["src/engine/executor.ts", "express", "speaks no HTTP"],
    ["src/engine/executor.ts", "../simulators/providers.ts", "The worker process imports"],
    ["src/engine/executor.ts", "../chaos/sql.ts", "The worker process imports"],
    ["src/engine/executor.ts", "../bench/statistics.ts", "The worker process imports"],
    ["src/api/orders.ts", "../../tools/chaos/sql.ts", "The API process imports"],
    ["tools/simulators/providers.ts", "../src/order/order.ts", "outside the service"],
    ["tools/simulators/providers.ts", "ioredis", "outside the service"],
  ])("refuse that %s imports %s", async (file, imported, message) => {
    await write(file, `import { x } from "${imported}";\nexport const y: unknown = x;\n`);
    expect(await lint()).toContain(message);
  });

  test("refuse a cycle", async () => {
    await write("src/a.ts", `import { b } from "./b.ts";\nexport const a = (): unknown => b;\n`);
    await write("src/b.ts", `import { a } from "./a.ts";\nexport const b = (): unknown => a;\n`);
    expect(await lint()).toContain("no-cycle");
  });

  test.each([
    ["src/order/stages/pay.ts", "../stage.ts"],
    ["src/order/pipeline.ts", "./stages/pay.ts"],
    ["db/orders.ts", "../src/order/order.ts"],
    ["workers/main.ts", "../src/config.ts"],
    // With PROCESSING=sync the API does the workers' part.
    ["src/main.ts", "../workers/inline/inline.ts"],
  ])("let %s import %s", async (file, imported) => {
    await write(file, `import { x } from "${imported}";\nexport const y: unknown = x;\n`);
    expect(await lint()).not.toContain("no-restricted-imports");
  });
});
