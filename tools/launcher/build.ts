import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { Failure } from "../shared/failure.ts";
import { LOCAL, PROJECT_FOLDER } from "./local-folder.ts";
import { identify, isAlive, withLock } from "./lock.js";
import { CommandFailed, run } from "./run.ts";

const CONFIG = "tsconfig.build.json";
const COMPILER = "node_modules/typescript/bin/tsc";
/** In the folder of a build, or of a run's code: the process that runs it. */
const OWNER_FILE = "owner.json";
/** Folders that are never part of the build. */
const OTHER_FOLDERS = new Set([
  "coverage",
  "dist",
  "docs",
  "node_modules",
  "test",
  "tools/bench",
  "tools/chaos",
  "tools/launcher",
]);

/**
 * Compiles the sources unless they have not changed since the last build. Compiled code starts more than twice
 * as fast as code run through tsx, which is most of the time a start takes. Types are not checked.
 *
 * @param use gets the folder with the compiled code, laid out like the project. A later build removes that folder unless
 *   `use` calls {@link own} for it.
 * @throws Failure with the compiler's errors
 */
export function build<T>(use: (folder: string) => T): Promise<T> {
  return withLock(`${LOCAL.build}.lock`, async () => use(await compile()));
}

/** Keeps a folder for as long as this process lives. */
export function own(folder: string): void {
  writeFileSync(path.join(folder, OWNER_FILE), JSON.stringify(identify(process.pid)));
}

/** Whether the process that owns this folder still runs. */
export function isOwned(folder: string): boolean {
  try {
    return isAlive(JSON.parse(readFileSync(path.join(folder, OWNER_FILE), "utf8")));
  } catch {
    return false;
  }
}

async function compile(): Promise<string> {
  const files = listFiles("");
  const folder = path.join(LOCAL.build, digestOf(files));
  if (existsSync(folder)) return folder;

  removeOthers();
  const draft = `${folder}.draft`;
  try {
    await run(process.execPath, [
      path.join(PROJECT_FOLDER, COMPILER),
      "--noCheck",
      "--project",
      path.join(PROJECT_FOLDER, CONFIG),
      "--outDir",
      draft,
    ]);
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    throw new Failure("The sources could not be compiled", error.lines.slice(0, 10));
  }
  linkAssets(files, draft, folder);
  renameSync(draft, folder);
  return folder;
}

/** Removes earlier builds, but not the one that a running `npm start` starts its processes from. */
function removeOthers(): void {
  if (!existsSync(LOCAL.build)) return;
  for (const name of readdirSync(LOCAL.build)) {
    const folder = path.join(LOCAL.build, name);
    if (!isOwned(folder)) rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Every file that can affect the build, relative to the project's folder; at the top level only JSON files can.
 */
function listFiles(folder: string): string[] {
  return readdirSync(path.join(PROJECT_FOLDER, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(folder, entry.name);
    if (entry.isFile()) return folder !== "" || name.endsWith(".json") ? [name] : [];
    return entry.isDirectory() && !entry.name.startsWith(".") && !OTHER_FOLDERS.has(name)
      ? listFiles(name)
      : [];
  });
}

function digestOf(files: string[]): string {
  const digest = createHash("sha256");
  for (const file of files.toSorted()) {
    digest.update(`${file}\0`);
    if (/\.(ts|json)$/.test(file)) digest.update(readFileSync(path.join(PROJECT_FOLDER, file)));
  }
  return digest.digest("hex").slice(0, 16);
}

/** Links files that the sources read at run time, such as the migrations' SQL, into the output. */
function linkAssets(files: string[], draft: string, folder: string): void {
  for (const file of files) {
    const link = path.join(draft, file);
    const isBuilt = existsSync(path.join(draft, file.split(path.sep)[0] ?? ""));
    if (file.endsWith(".ts") || !file.includes(path.sep) || !isBuilt || existsSync(link)) continue;
    mkdirSync(path.dirname(link), { recursive: true });
    // Relative, so that the project's folder can be moved.
    symlinkSync(path.relative(path.dirname(path.join(folder, file)), path.join(PROJECT_FOLDER, file)), link);
  }
}
