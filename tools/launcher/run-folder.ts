import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { build, isOwned, own } from "./build.ts";
import { LOCAL } from "./local-folder.ts";

/** How many earlier runs keep their logs. */
const RUNS_KEPT = 5;

/**
 * Makes `.local/<kind>/<time>-<pid>` for the code and logs of one run of the whole service. Keeps the logs of
 * the last few runs of this kind.
 */
export function makeRunFolder(kind: "chaos" | "bench" | "test"): string {
  const runs = path.join(path.dirname(LOCAL.logs), kind);
  mkdirSync(runs, { recursive: true });
  for (const name of readdirSync(runs).toSorted().slice(0, -RUNS_KEPT)) {
    const folder = path.join(runs, name);
    if (!isOwned(folder)) rmSync(folder, { recursive: true, force: true });
  }
  const time = new Date().toISOString().replaceAll(/\D/g, "").slice(0, 14);
  const folder = path.join(runs, `${time}-${process.pid}`);
  mkdirSync(folder);
  own(folder);
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
  await build((folder) => cpSync(folder, code, { recursive: true, dereference: true }));
  return code;
}

/** Removes a run's folder; if the logs are kept, only the folders of code in it. */
export function removeRunFolder(runFolder: string, keepLogs: boolean): void {
  const names = keepLogs ? ["code", "before"] : ["."];
  for (const name of names) rmSync(path.join(runFolder, name), { recursive: true, force: true });
}
