import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { identify } from "../../tools/launcher/lock.js";
import { waitFor } from "../support/wait-for.ts";

const LAUNCHER = path.resolve(import.meta.dirname, "../../tools/launcher");
let project: string;
let npmLog: string;

/** A project with one dependency, and an npm that installs it by itself: it writes down that it was called. */
beforeEach(() => {
  project = mkdtempSync(path.join(os.tmpdir(), "conveyor bootstrap-"));
  npmLog = path.join(project, "npm.log");
  for (const file of ["bootstrap.mjs", "dependencies.js", "lock.js", "guard.sh"]) {
    cpSync(path.join(LAUNCHER, file), path.join(project, "tools/launcher", file));
  }
  write("package.json", JSON.stringify({ type: "module", engines: { node: ">=20.19" } }));
  write("package-lock.json", lockFile("1.0.0"));
  write("script.js", `console.log(JSON.stringify(process.argv.slice(1))); process.exitCode = 3;`);
  write(
    "npm/npm-cli.js",
    `import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
     appendFileSync("npm.log", JSON.stringify({ pid: process.pid, args: process.argv.slice(2) }) + "\\n");
     mkdirSync("node_modules", { recursive: true });
     while (process.env.NPM_HANGS);
     if (process.env.NPM_FAILS) process.exit(7);
     writeFileSync("node_modules/.package-lock.json", readFileSync("package-lock.json"));`,
  );
});
afterEach(() => rmSync(project, { recursive: true }));

function write(name: string, content: string): void {
  const file = path.join(project, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, content);
}

function lockFile(version: string, more: object = {}): string {
  return JSON.stringify({ packages: { "": { name: "x" }, "node_modules/dep": { version }, ...more } });
}

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

function bootstrap(args: string[], env: NodeJS.ProcessEnv = {}): { pid: number; ended: Promise<Outcome> } {
  const child = spawn(process.execPath, [path.join(project, "tools/launcher/bootstrap.mjs"), ...args], {
    // Not the project's folder: it must not matter where it is called.
    cwd: os.tmpdir(),
    env: { PATH: process.env["PATH"], npm_execpath: path.join(project, "npm/npm-cli.js"), ...env },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  const ended = new Promise<Outcome>((resolve) => {
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
  return { pid: child.pid!, ended };
}

function npmCalls(): { pid: number; args: string[] }[] {
  if (!existsSync(npmLog)) return [];
  const lines = readFileSync(npmLog, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line));
}

describe("dependencies", () => {
  test("that are missing are installed, development ones included, and then the script runs", async () => {
    const { code, stdout, stderr } = await bootstrap(["script.js", "a b", "--flag"], {
      NODE_ENV: "production",
    }).ended;
    expect(JSON.parse(stdout)).toEqual([path.join(project, "script.js"), "a b", "--flag"]);
    expect(code).toBe(3);
    expect(stderr).toBe("Installing the dependencies (npm ci), once\n");
    expect(npmCalls()).toEqual([
      { pid: expect.any(Number), args: ["ci", "--prefix", project, "--include=dev"] },
    ]);
  });

  test("that are there are left alone", async () => {
    await bootstrap(["script.js"]).ended;
    const { code, stderr } = await bootstrap(["script.js"]).ended;
    expect({ code, stderr, calls: npmCalls().length }).toEqual({ code: 3, stderr: "", calls: 1 });
  });

  test("that somebody else installed are left alone", async () => {
    write("node_modules/.package-lock.json", lockFile("1.0.0"));
    expect((await bootstrap(["script.js"]).ended).code).toBe(3);
    expect(npmCalls()).toEqual([]);
  });

  test.each([
    ["whose lock file changed", () => write("package-lock.json", lockFile("2.0.0"))],
    ["that npm changed since", () => write("node_modules/.package-lock.json", lockFile("0.9.0"))],
    [
      "that npm did not finish installing",
      () => rmSync(path.join(project, "node_modules/.package-lock.json")),
    ],
    [
      "of which one is missing",
      () => write("node_modules/.package-lock.json", JSON.stringify({ packages: {} })),
    ],
  ])("%s are installed again", async (_name, change) => {
    await bootstrap(["script.js"]).ended;
    change();
    expect((await bootstrap(["script.js"]).ended).code).toBe(3);
    expect(npmCalls()).toHaveLength(2);
  });

  test("for other systems may be missing, those for this one may not", async () => {
    const optional = { version: "1.0.0", optional: true };
    const other = { "node_modules/other": { ...optional, os: ["aix"], cpu: ["ppc64"] } };
    write("node_modules/.package-lock.json", lockFile("1.0.0"));
    write("package-lock.json", lockFile("1.0.0", other));
    await bootstrap(["script.js"]).ended;
    expect(npmCalls()).toHaveLength(0);

    const own = { "node_modules/own": { ...optional, os: [process.platform], cpu: [process.arch] } };
    write("package-lock.json", lockFile("1.0.0", own));
    await bootstrap(["script.js"]).ended;
    expect(npmCalls()).toHaveLength(1);
  });

  test("are installed once when two processes start at once", async () => {
    const outcomes = await Promise.all([bootstrap(["script.js"]).ended, bootstrap(["script.js"]).ended]);
    expect(outcomes.map(({ code }) => code)).toEqual([3, 3]);
    expect(npmCalls()).toHaveLength(1);
  });

  test("that can't be installed: one line, and another try next time", async () => {
    const { code, stderr } = await bootstrap(["script.js"], { NPM_FAILS: "1" }).ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(/\nnpm ci failed \(exit code 7\)\n$/);
    expect((await bootstrap(["script.js"]).ended).code).toBe(3);
  });

  test("an npm at work ends with the process that needs it, and the next one begins anew", async () => {
    const { pid, ended } = bootstrap(["script.js"], { NPM_HANGS: "1" });
    const [call] = await waitFor("npm to run", () => npmCalls().length > 0 && npmCalls());
    process.kill(pid, "SIGKILL");
    await ended;
    await waitFor("npm to end", () => identify(call!.pid) === undefined);
    expect((await bootstrap(["script.js"]).ended).code).toBe(3);
    expect(npmCalls()).toHaveLength(2);
  });

  test("without npm: one line", async () => {
    const empty = path.join(project, "empty");
    mkdirSync(empty);
    const { stderr } = await bootstrap(["script.js"], { PATH: empty, npm_execpath: "" }).ended;
    expect(stderr).toMatch(/npm ci failed \(npm was not found\)\n$/);
  });
});

describe("what it refuses", () => {
  test("a Node that is too old: one line that names the version it needs", async () => {
    write("package.json", JSON.stringify({ type: "module", engines: { node: ">=99.1" } }));
    const { code, stderr } = await bootstrap(["script.js"]).ended;
    expect(stderr).toMatch(
      /^Conveyor needs Node 99\.1 or newer; this is \d+\.\d+\.\d+: https:\/\/nodejs\.org\n$/,
    );
    expect(code).toBe(1);
    expect(npmCalls()).toEqual([]);
  });

  test("a call without a script", async () => {
    expect(await bootstrap([]).ended).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^usage: .*\n$/),
    });
  });
});

test("the script has the process to itself: its pid, its signals, its exit code", async () => {
  write("node_modules/.package-lock.json", lockFile("1.0.0"));
  write(
    "script.js",
    `import { writeFileSync } from "node:fs";
     process.on("SIGTERM", () => process.exit(42));
     setInterval(() => {}, 1000);
     writeFileSync(${JSON.stringify(path.join(project, "ready"))}, String(process.pid));`,
  );
  const { pid, ended } = bootstrap(["script.js"]);
  const ready = path.join(project, "ready");
  // The file is there before its content is.
  const told = await waitFor(
    "the script to run",
    () => existsSync(ready) && (readFileSync(ready, "utf8") || undefined),
  );
  expect(told).toBe(String(pid));
  process.kill(pid, "SIGTERM");
  expect((await ended).code).toBe(42);
});
