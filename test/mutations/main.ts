import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { spawnGuarded } from "../../tools/launcher/guard.ts";
import { makeTempFolder, removeAbandonedTempFolders } from "../../tools/launcher/temp-folder.ts";
import FirstFailure from "./first-failure.cjs";
import { MUTATIONS, type Mutation } from "./mutations.ts";

/**
 * `npm run mutations [-- TEXT...]`: makes each mutation of mutations.ts in a copy of the working tree, one at a time,
 * and runs the tests that must notice it. With texts, only those whose file, sentence or tests contain one of them.
 * Exits with 1 when one survives or can't be made.
 */

/** How a run of tests ended, and so what became of a mutation. */
type Outcome = "passed" | "failed" | "timed out" | "not loadable";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
/** Not tracked, and needed to run tests: dependencies, and the servers' unpacked packages and data folders. */
const LINKED = ["node_modules", ".local/packages", ".local/test-templates"];
const REPORTER = "<rootDir>/test/mutations/first-failure.cjs";
const DEADLINE_MS = 10 * 60_000;

removeAbandonedTempFolders();
const copy = makeTempFolder();
try {
  process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
} finally {
  rmSync(copy, { recursive: true });
}

async function main(texts: readonly string[]): Promise<boolean> {
  const chosen = MUTATIONS.filter(
    ({ breaks, file, tests }) =>
      texts.length === 0 || texts.some((text) => [breaks, file, ...tests].join("\n").includes(text)),
  );
  const misplaced = chosen.filter((mutation) => !standsOnce(mutation));
  for (const { file, find } of misplaced) say(`not found exactly once in ${file}: ${find}`);
  if (misplaced.length > 0) return false;

  copyTree();
  const tests = [...new Set(chosen.flatMap((mutation) => mutation.tests))];
  say(`${chosen.length} mutations. First their ${tests.length} test files without any:`);
  if ((await runTests(tests)) !== "passed") {
    say("these do not pass without a mutation");
    return false;
  }
  let missed = 0;
  for (const mutation of chosen) if (!(await isNoticed(mutation))) missed++;
  say(`${chosen.length - missed} noticed, ${missed} not`);
  return missed === 0;
}

function standsOnce({ file, find }: Mutation): boolean {
  return readFileSync(path.join(REPOSITORY, file), "utf8").split(find).length === 2;
}

async function isNoticed(mutation: Mutation): Promise<boolean> {
  const file = path.join(copy, mutation.file);
  const before = readFileSync(file, "utf8");
  const startedAt = Date.now();
  writeFileSync(
    file,
    before.replace(mutation.find, () => mutation.replace),
  );
  const outcome = await runTests(mutation.tests);
  writeFileSync(file, before);
  const seconds = Math.round((Date.now() - startedAt) / 1_000);
  const fate = outcome === "passed" ? "SURVIVED" : outcome === "failed" ? "noticed" : outcome;
  say(`${fate.padEnd(12)} ${String(seconds).padStart(3)} s  ${mutation.file}: ${mutation.breaks}`);
  return outcome === "failed" || outcome === "timed out";
}

/** A file that can't even be loaded says nothing about its tests. */
async function runTests(tests: readonly string[]): Promise<Outcome> {
  const config = tests.every((name) => name.startsWith("unit/")) ? "jest.unit.config.cjs" : "jest.config.cjs";
  const jest = ["node_modules/jest/bin/jest.js", "--config", `test/${config}`];
  // The long ones too.
  const options = [
    "--testPathIgnorePatterns",
    "/node_modules/",
    "--reporters",
    "default",
    "--reporters",
    REPORTER,
  ];
  const files = ["--runTestsByPath", ...tests.map((name) => `test/${name}.test.ts`)];
  const lines: string[] = [];
  const run = spawnGuarded(process.execPath, [...jest, ...options, ...files], {
    cwd: copy,
    env: process.env,
    onLine: (line) => lines.push(line),
  });
  const timer = setTimeout(() => run.kill("SIGKILL"), DEADLINE_MS);
  const { code, signal } = await run.exited;
  clearTimeout(timer);
  if (code === 0) return "passed";
  if (signal !== null) return "timed out";
  if (code === FirstFailure.exitCode) return "failed";
  say(lines.join("\n"));
  return "not loadable";
}

/** What is tracked, or would be: as it is now, committed or not. */
function copyTree(): void {
  const list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const names = execFileSync("git", list, { cwd: REPOSITORY, encoding: "utf8" }).split("\0");
  for (const name of names) {
    const from = path.join(REPOSITORY, name);
    if (name !== "" && existsSync(from)) cpSync(from, path.join(copy, name));
  }
  for (const name of LINKED) {
    const from = path.join(REPOSITORY, name);
    if (!existsSync(from)) continue;
    mkdirSync(path.dirname(path.join(copy, name)), { recursive: true });
    symlinkSync(from, path.join(copy, name));
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
