/**
 * Lock files that survive no crash. Each names its owner by pid and start time, so a lock whose owner died is
 * taken over, and a reused pid is not mistaken for the owner.
 *
 * Plain JavaScript, typed in lock.d.ts: the bootstrap needs it before tsx is installed.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** The owner of an unreadable lock younger than this may still be writing it. */
const WRITING_MS = 2000;
const POLL_MS = 50;

/** A process's identity; undefined if it has exited (a zombie counts as exited). */
export function identify(pid) {
  const startedAt = process.platform === "linux" ? startTimeFromProc(pid) : startTimeFromPs(pid);
  return startedAt === undefined ? undefined : { pid, startedAt };
}

/** Whether this exact process still runs, and not another with the same pid. */
export function isAlive(identity) {
  return identify(identity.pid)?.startedAt === identity.startedAt;
}

/** Takes the lock, or returns its live owner. Waits no longer than another process needs to write a line. */
export function tryLock(path) {
  mkdirSync(dirname(path), { recursive: true });
  for (;;) {
    const mine = JSON.stringify(identify(process.pid));
    if (createExclusively(path, mine)) return { release: () => releaseIfMine(path, mine) };
    const owner = readOwner(path);
    if (owner !== undefined && isAlive(owner)) return { owner };
    if (owner !== undefined || isOld(path)) removeIfDead(path);
    pause();
  }
}

/** Runs `work` under the lock, waiting as long as its owner lives. Calls `onWait` once if it has to wait. */
export async function withLock(path, work, onWait = () => {}) {
  let lock = tryLock(path);
  if ("owner" in lock) onWait(lock.owner);
  while ("owner" in lock) {
    await delay(POLL_MS);
    lock = tryLock(path);
  }
  try {
    return await work();
  } finally {
    lock.release();
  }
}

/**
 * Only the holder of `<lock>.takeover` may remove a dead owner's lock, after checking again. Otherwise, of two
 * processes that saw the same dead owner, the slower would remove the faster one's new lock.
 */
function removeIfDead(path) {
  const takeover = `${path}.takeover`;
  if (!createExclusively(takeover, "")) {
    if (isOld(takeover)) rmSync(takeover, { force: true });
    return;
  }
  try {
    const owner = readOwner(path);
    if (owner === undefined ? isOld(path) : !isAlive(owner)) rmSync(path, { force: true });
  } finally {
    rmSync(takeover, { force: true });
  }
}

function createExclusively(path, content) {
  try {
    writeFileSync(path, content, { flag: "wx", mode: 0o600 });
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

function releaseIfMine(path, mine) {
  try {
    if (readFileSync(path, "utf8") === mine) rmSync(path, { force: true });
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
}

function readOwner(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

function isOld(path) {
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  return age > WRITING_MS;
}

/** Synchronous on purpose: nothing else may run before the lock is taken. */
function pause() {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
}

function startTimeFromProc(pid) {
  try {
    // "pid (command) state ppid …": the command may hold spaces and brackets, so count from the last bracket.
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : `${bootId()}:${fields[19]}`;
  } catch {
    return undefined;
  }
}

/** Start times count from boot and so repeat after a reboot; the boot id tells them apart. */
function bootId() {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return "";
  }
}

function startTimeFromPs(pid) {
  try {
    const line = execFileSync("ps", ["-o", "stat=,lstart=", "-p", String(pid)], {
      encoding: "utf8",
      env: { ...process.env, LC_ALL: "C", TZ: "UTC" },
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
    return line === "" || line.startsWith("Z") ? undefined : line.replace(/^\S+\s+/, "");
  } catch {
    return undefined;
  }
}
