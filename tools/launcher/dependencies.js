/** Installs the dependencies when they are missing or stale. Plain JavaScript: it runs before there are any. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { withLock } from "./lock.js";

const STAMP = "node_modules/.conveyor-stamp";
/** Seconds that npm gets to clean up when the process that started it is killed. */
const NPM_GRACE = "5";

/**
 * Makes node_modules what package-lock.json says. Without the network, and in a few milliseconds, when it is that
 * already. Of two processes at once, one waits for the other.
 *
 * @param {string} root the project's folder
 * @throws Error, of one line, when npm fails
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
 * The stamp holds a hash of package-lock.json and of npm's own record of what it installed, so that a change of
 * either is noticed. An installation that npm did not finish has no such record; one that somebody else made gets its
 * stamp when the record holds every package of the lock file in the right version.
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
    // Installed by another user, as in a container image: compare again next time.
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
    // Packages for other systems are left out, and optional ones that could not be built.
    const isForHere = os?.includes(process.platform) && cpu?.includes(process.arch) && libc === undefined;
    return optional === true && !isForHere;
  });
}

async function install(root) {
  say("Installing the dependencies (npm ci), once");
  rmSync(path.join(root, STAMP), { force: true });
  // Without --prefix, npm inside another project's npm script would take that project for its own. Development
  // dependencies are needed to test, and tsx to start, whatever NODE_ENV and npm's settings leave out.
  const code = await runGuarded(root, [...npm(), "ci", "--prefix", root, "--include=dev"]);
  if (code !== 0)
    throw new Error(
      `npm ci failed (${code === 126 || code === 127 ? "npm was not found" : `exit code ${code}`})`,
    );
  // When an optional package for this system could not be had, that is what there is: do not try at every start.
  const installed = read(root, "node_modules/.package-lock.json");
  if (installed === undefined) throw new Error("npm ci left no node_modules/.package-lock.json");
  writeFileSync(path.join(root, STAMP), stampOf(read(root, "package-lock.json"), installed));
}

/** The npm that runs us, when it is npm. */
function npm() {
  const running = process.env.npm_execpath ?? "";
  return path.basename(running) === "npm-cli.js" ? [process.execPath, running] : ["npm"];
}

/** Under the guard: a second start must not find an npm at work that outlived its starter. */
function runGuarded(root, command) {
  const guard = path.join(import.meta.dirname, "guard.sh");
  return new Promise((resolve, reject) => {
    const child = spawn("/bin/sh", [guard, NPM_GRACE, ...command], {
      cwd: root,
      detached: true,
      // Standard output belongs to the script.
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
