import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { ServerName } from "../tools/launcher/servers/binaries.ts";
import { findBinaries, type FindOptions } from "../tools/launcher/servers/find.ts";
import { searchOptions } from "../tools/launcher/servers/private-server.ts";

/**
 * `npm run check`: all that has to be true of a commit, and what CI runs. Every check is made, whatever came of those
 * before it. The last line counts them: each test is one, and each of the other checks.
 */

interface Result {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  /** Why it was not made. */
  readonly skipped?: string;
}

/** Checks that are a script of package.json. */
const SCRIPTS = ["typecheck", "lint", "boundaries", "format:check", "docs:check", "compose:check"];

const results = [
  ...SCRIPTS.map(runScript),
  runTests("test"),
  runTests("test:long"),
  // `npm test` takes MariaDB and Redis where both can be had.
  await runTestsOn("test:mysql", { mysql: "MySQL" }),
  await runTestsOn("test:valkey", { redis: "Valkey" }),
];
const failures = results.filter((result) => result.failed > 0);
const skipped = results.filter((result) => result.skipped !== undefined);

say("");
for (const { name, failed } of failures) say(`npm run ${name}: ${failed} failed`);
for (const { name, skipped: reason } of skipped) say(`npm run ${name}: skipped: ${reason}`);
say(
  `${sum("passed")} passed, ${sum("failed")} failed${skipped.length > 0 ? `, ${skipped.length} skipped` : ""}`,
);
process.exitCode = failures.length === 0 ? 0 : 1;

function runScript(name: string): Result {
  const succeeded = run(name);
  return { name, passed: succeeded ? 1 : 0, failed: succeeded ? 0 : 1 };
}

/** Jest's own numbers. A file that could not even be run counts as a failed test, and so does a run without a report. */
function runTests(name: string): Result {
  const folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-check-"));
  const report = path.join(folder, "jest.json");
  try {
    const succeeded = run(name, ["--json", "--outputFile", report]);
    const { numPassedTests = 0, numFailedTests = 0, numRuntimeErrorTestSuites = 0 } = read(report);
    const failed = numFailedTests + numRuntimeErrorTestSuites;
    return { name, passed: numPassedTests, failed: succeeded ? failed : Math.max(failed, 1) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Tests on a server other than the usual one. */
async function runTestsOn(name: string, wanted: Pick<FindOptions, ServerName>): Promise<Result> {
  const server = wanted.mysql ? "mysql" : "redis";
  const { missing, reason } = await findBinaries([server], { ...searchOptions(), ...wanted });
  if (missing.length === 0) return runTests(name);
  const because = reason ? ` (${reason})` : "";
  return { name, passed: 0, failed: 0, skipped: `no ${wanted[server]} can be had here${because}` };
}

function read(report: string): Record<string, number | undefined> {
  try {
    return JSON.parse(readFileSync(report, "utf8"));
  } catch {
    return {};
  }
}

function run(script: string, args: readonly string[] = []): boolean {
  say(`\n> npm run ${script}`);
  const { status } = spawnSync("npm", ["run", "--silent", script, "--", ...args], {
    cwd: path.resolve(import.meta.dirname, ".."),
    stdio: ["ignore", "inherit", "inherit"],
  });
  return status === 0;
}

function sum(key: "passed" | "failed"): number {
  return results.reduce((total, result) => total + result[key], 0);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
