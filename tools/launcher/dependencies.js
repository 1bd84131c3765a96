/** Installs the dependencies when they are missing or stale. Plain JavaScript, since it runs before they exist. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { withLock } from "./lock.js";

const STAMP = "node_modules/.conveyor-stamp";
/** Seconds for npm to clean up when the process that started it is killed. */
const NPM_GRACE = "5";

/**
 * Makes node_modules match package-lock.json. When it already does, this takes a few milliseconds and no
 * network. Concurrent calls wait for each other, across processes.
 *
 * @param {string} root the project's folder
 * @throws Error with a one-line message when npm fails
 */
export async function ensureDependencies(root) {
  if (areFresh(root)) return;
  await withLock(
    path.join(root, ".local", "install.lock"),
    async () => {
      if (!areFresh(root)) await install(root);
    },
    ({ pid }) => say(`Waiting for process ${pid}, which is installing the dependencies`),
  );
}

/**
 * The stamp holds a hash of package-lock.json and of npm's own record of what it installed, so it detects a
 * change to either. An unfinished installation has no such record. An installation without a stamp gets one if
 * npm's record lists every package of the lock file in the right version.
 */
export function areFresh(root) {
  const wanted = read(root, "package-lock.json");
  const installed = read(root, "node_modules/.package-lock.json");
  if (wanted === undefined || installed === undefined) return false;
  const stamp = stampOf(wanted, installed);
  if (read(root, STAMP) === stamp) return true;
  if (!holdsAll(JSON.parse(wanted).packages, JSON.parse(installed).packages)) return false;
  try {
    writeFileSync(path.join(root, STAMP), stamp);
  } catch {
    // Another user installed them, as in a container image: compare again next time.
  }
  return true;
}

function stampOf(wanted, installed) {
  return createHash("sha256")
    .update([process.platform, process.arch, wanted, installed].join("\0"))
    .digest("hex");
}

function holdsAll(wanted, installed) {
  return Object.entries(wanted).every(([location, { version, optional, os, cpu, libc }]) => {
    if (location === "") return true;
    const found = installed[location];
    if (found !== undefined) return found.version === version;
    // npm skips packages for other systems, and optional ones that fail to build.
    const isForHere = os?.includes(process.platform) && cpu?.includes(process.arch) && libc === undefined;
    return optional === true && !isForHere;
  });
}

async function install(root) {
  say("Installing the dependencies (npm ci), once");
  rmSync(path.join(root, STAMP), { force: true });
  // Without --prefix, npm run from another project's script would install that project. --include=dev overrides
  // NODE_ENV and npm's settings: tests need the development dependencies.
  const code = await runGuarded(root, [...npm(), "ci", "--prefix", root, "--include=dev"]);
  if (code !== 0)
    throw new Error(
      `npm ci failed (${code === 126 || code === 127 ? "npm was not found" : `exit code ${code}`})`,
    );
  // If an optional package for this system can't be installed, accept that rather than retry at every start.
  const installed = read(root, "node_modules/.package-lock.json");
  if (installed === undefined) throw new Error("npm ci left no node_modules/.package-lock.json");
  writeFileSync(path.join(root, STAMP), stampOf(read(root, "package-lock.json"), installed));
}

/** The npm that runs us, if npm does. */
function npm() {
  const running = process.env.npm_execpath ?? "";
  return path.basename(running) === "npm-cli.js" ? [process.execPath, running] : ["npm"];
}

/** Runs a command under the guard, so that npm never outlives us and runs beside a second start. */
function runGuarded(root, command) {
  const guard = path.join(import.meta.dirname, "guard.sh");
  return new Promise((resolve, reject) => {
    const child = spawn("/bin/sh", [guard, NPM_GRACE, ...command], {
      cwd: root,
      detached: true,
      // Standard output is the script's.
      stdio: ["ignore", 2, 2, "pipe"],
    });
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      child.stdio[3].destroy();
      resolve(code ?? signal);
    });
  });
}

function read(root, name) {
  try {
    return readFileSync(path.join(root, name), "utf8");
  } catch {
    return undefined;
  }
}

function say(line) {
  process.stderr.write(`${line}\n`);
}
