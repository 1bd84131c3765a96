import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "./build.ts";
import { identify, isAlive, withLock } from "./lock.js";
import { LOCAL } from "./local-folder.ts";

/** How many earlier runs keep their logs. */
const RUNS_KEPT = 5;
const OWNER_FILE = "owner.json";

/**
 * Makes `.local/<kind>/<time>-<pid>` for the code and logs of one run of the whole service. Keeps the logs of
 * the last few runs of this kind.
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
 * Compiles the sources and copies the result into the run's folder: the run keeps starting processes, and a
 * later build would remove this one.
 *
 * @returns the code's folder
 * @throws {Failure}
 */
export async function compileInto(runFolder: string): Promise<string> {
  const code = path.join(runFolder, "code");
  await withLock(`${LOCAL.build}.lock`, async () => {
    cpSync(await build(), code, { recursive: true, dereference: true });
  });
  return code;
}

/** Removes a run's folder; if the logs are kept, only the folders of code in it. */
export function removeRunFolder(runFolder: string, keepLogs: boolean): void {
  const names = keepLogs ? ["code", "before"] : ["."];
  for (const name of names) rmSync(path.join(runFolder, name), { recursive: true, force: true });
}

function isInUse(folder: string): boolean {
  try {
    return isAlive(JSON.parse(readFileSync(path.join(folder, OWNER_FILE), "utf8")));
  } catch {
    return false;
  }
}
