import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { makeTempFolder, removeAbandonedTempFolders } from "../../tools/launcher/temp-folder.ts";
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
const DEADLINE_MS = 10 * 60_000;

const copy = makeTempFolder();
const texts = process.argv.slice(2);
process.on("exit", () => rmSync(copy, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
process.exitCode = main() ? 0 : 1;

function main(): boolean {
  const chosen = MUTATIONS.filter(isChosen);
  const misplaced = chosen.filter((mutation) => !standsOnce(mutation));
  for (const { file, find } of misplaced) say(`not found exactly once in ${file}: ${find}`);
  if (misplaced.length > 0) return false;

  removeAbandonedTempFolders();
  copyTree();
  const tests = [...new Set(chosen.flatMap((mutation) => mutation.tests))];
  say(`${chosen.length} mutations. First their ${tests.length} test files without any:`);
  if (runTests(tests) !== "passed") {
    say("these fail without a mutation");
    return false;
  }
  const outcomes = chosen.map(tryOne);
  const missed = outcomes.filter((outcome) => outcome === "passed" || outcome === "not loadable").length;
  say(`${outcomes.length - missed} noticed, ${missed} not`);
  return missed === 0;
}

function isChosen({ breaks, file, tests }: Mutation): boolean {
  return texts.length === 0 || texts.some((text) => [breaks, file, ...tests].join("\n").includes(text));
}

function standsOnce({ file, find }: Mutation): boolean {
  return readFileSync(path.join(REPOSITORY, file), "utf8").split(find).length === 2;
}

function tryOne(mutation: Mutation): Outcome {
  const file = path.join(copy, mutation.file);
  const before = readFileSync(file, "utf8");
  const startedAt = Date.now();
  writeFileSync(
    file,
    before.replace(mutation.find, () => mutation.replace),
  );
  const outcome = runTests(mutation.tests);
  writeFileSync(file, before);
  const seconds = Math.round((Date.now() - startedAt) / 1_000);
  const fate = outcome === "passed" ? "SURVIVED" : outcome === "failed" ? "noticed" : outcome;
  say(`${fate.padEnd(12)} ${String(seconds).padStart(3)} s  ${mutation.file}: ${mutation.breaks}`);
  return outcome;
}

/** A file that can't even be loaded says nothing about its tests. */
function runTests(tests: readonly string[]): Outcome {
  const report = path.join(copy, "report.json");
  rmSync(report, { force: true });
  const config = tests.every((name) => name.startsWith("unit/")) ? "jest.unit.config.cjs" : "jest.config.cjs";
  const jest = ["node_modules/jest/bin/jest.js", "--config", `test/${config}`];
  // The long ones too.
  const options = ["--testPathIgnorePatterns", "/node_modules/", "--bail", "--json", "--outputFile", report];
  const files = ["--runTestsByPath", ...tests.map((name) => `test/${name}.test.ts`)];
  const run = spawnSync(process.execPath, [...jest, ...options, ...files], {
    cwd: copy,
    encoding: "utf8",
    timeout: DEADLINE_MS,
    killSignal: "SIGKILL",
    maxBuffer: Number.POSITIVE_INFINITY,
  });
  if (run.status === 0) return "passed";
  if (run.signal !== null) return "timed out";
  const { numFailedTests } = existsSync(report)
    ? JSON.parse(readFileSync(report, "utf8"))
    : { numFailedTests: 0 };
  if (numFailedTests > 0) return "failed";
  say(run.stderr);
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
