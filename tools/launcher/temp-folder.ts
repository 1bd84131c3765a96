import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { identify, isAlive } from "./lock.js";

const PREFIX = "conveyor-";
const OWNER_FILE = "owner.json";
/** Paths of unix sockets are limited to about 100 bytes, and MariaDB's installer breaks on spaces. */
const LONGEST_BASE = 60;

/**
 * A new folder for this process, with a short path without spaces, readable by this user only. To be removed by the
 * caller; what a killed process leaves is removed by the next `removeAbandonedTempFolders`.
 */
export function makeTempFolder(): string {
  const folder = mkdtempSync(path.join(base(), PREFIX));
  writeFileSync(path.join(folder, OWNER_FILE), JSON.stringify(identify(process.pid)));
  return folder;
}

/** Removes the folders whose processes are gone. */
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
    // Somebody else's, or just being made.
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
