import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { identify, isAlive } from "./lock.js";

const PREFIX = "conveyor-";
const OWNER_FILE = "owner.json";
/** Unix socket paths are limited to about 100 bytes, and MariaDB's installer breaks on spaces. */
const LONGEST_BASE = 60;

/**
 * Makes a folder for this process, readable by this user only, whose path is short and has no spaces. The
 * caller removes it; `removeAbandonedTempFolders` removes those of killed processes.
 */
export function makeTempFolder(): string {
  const folder = mkdtempSync(path.join(base(), PREFIX));
  writeFileSync(path.join(folder, OWNER_FILE), JSON.stringify(identify(process.pid)));
  return folder;
}

/** Removes the folders of processes that have exited. */
export function removeAbandonedTempFolders(): void {
  for (const name of readdirSync(base())) {
    const folder = path.join(base(), name);
    if (name.startsWith(PREFIX) && isAbandoned(folder)) removeIfAllowed(folder);
  }
}

function base(): string {
  const usual = os.tmpdir();
  return usual.length <= LONGEST_BASE && !/\s/.test(usual) ? usual : "/tmp";
}

function isAbandoned(folder: string): boolean {
  try {
    return !isAlive(JSON.parse(readFileSync(path.join(folder, OWNER_FILE), "utf8")));
  } catch {
    // Another program's, or still being made.
    return false;
  }
}

function removeIfAllowed(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch {
    // Another user's.
  }
}
