import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "./build.ts";
import { identify, isAlive, withLock } from "./lock.js";
import { LOCAL } from "./local-folder.ts";

/** Runs whose logs are kept. */
const RUNS_KEPT = 5;
const OWNER_FILE = "owner.json";

/**
 * `.local/<kind>/<time>-<pid>`, for the code of a run of the whole service, and its logs. Of earlier runs of the kind,
 * the logs of a few stay.
 */
export function makeRunFolder(kind: "chaos" | "bench" | "test"): string {
  const runs = path.join(path.dirname(LOCAL.logs), kind);
  mkdirSync(runs, { recursive: true });
  for (const name of readdirSync(runs).toSorted().slice(0, -RUNS_KEPT)) {
    const folder = path.join(runs, name);
    if (!isInUse(folder)) rmSync(folder, { recursive: true, force: true });
  }
  const time = new Date().toISOString().replaceAll(/\D/g, "").slice(0, 14);
  const folder = path.join(runs, `${time}-${process.pid}`);
  mkdirSync(folder);
  writeFileSync(path.join(folder, OWNER_FILE), JSON.stringify(identify(process.pid)));
  return folder;
}

/**
 * Compiles the sources, and copies them into the run's folder: processes are started all through the run, and a later
 * build removes this one. @returns where the code is. @throws {Failure}
 */
export async function compileInto(runFolder: string): Promise<string> {
  const code = path.join(runFolder, "code");
  await withLock(`${LOCAL.build}.lock`, async () => {
    cpSync(await build(), code, { recursive: true, dereference: true });
  });
  return code;
}

/** Removes a run's folder, or all but the logs in it. */
export function removeRunFolder(runFolder: string, keepLogs: boolean): void {
  rmSync(keepLogs ? path.join(runFolder, "code") : runFolder, { recursive: true, force: true });
}

function isInUse(folder: string): boolean {
  try {
    return isAlive(JSON.parse(readFileSync(path.join(folder, OWNER_FILE), "utf8")));
  } catch {
    return false;
  }
}
