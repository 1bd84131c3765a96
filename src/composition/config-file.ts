import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { PIPELINE } from "../order/pipeline.ts";
import { describeError } from "../platform/describe-error.ts";
import { repeatedNames } from "../platform/json.ts";
import { ConfigReader } from "./config-reader.ts";
import type { ConfigFile, Environment } from "./configuration.ts";
import { loadModule } from "./load-module.ts";
import { LOAD_WITHIN_MS, loadedWithin } from "./load-time.ts";

/** Looked for in the working directory, and in its folder `config`, where `CONVEYOR_CONFIG` names none. */
const FILES = ["ts", "mts", "js", "mjs", "json"]
  .map((extension) => `conveyor.config.${extension}`)
  .flatMap((name) => [name, path.join("config", name)]);

const READABLE = /\.([mc]?js|m?ts|json)$/;

/**
 * Reads and checks the configuration file, if there is one, with all stages and providers that it names.
 *
 * @param loadWithinMs how long it, and each module that it names, may take to load
 */
export async function readConfigFile(
  environment: Environment,
  folder = process.cwd(),
  loadWithinMs = LOAD_WITHIN_MS,
): Promise<ConfigFile> {
  const none = { file: undefined, stages: PIPELINE, variables: {}, providers: {}, faults: [] };
  const named = environment["CONVEYOR_CONFIG"];
  const found = named
    ? [path.resolve(folder, named)]
    : FILES.map((name) => path.join(folder, name)).filter(existsSync);
  const [file, another] = found;
  if (file === undefined) return none;
  const at = path.basename(file);
  if (another !== undefined)
    return {
      ...none,
      file,
      faults: [
        `${path.relative(folder, file)} and ${path.relative(folder, another)}: keep one of them, or name it in CONVEYOR_CONFIG`,
      ],
    };
  const reader = new ConfigReader(file, environment, loadWithinMs);
  try {
    if (statSync(file).isDirectory())
      return { ...none, file, faults: [`${at} is a folder: name the file in it`] };
    if (!READABLE.test(file))
      return { ...none, file, faults: [`${at} must end in .ts, .mts, .js, .mjs, .cjs or .json`] };
    if (!file.endsWith(".json"))
      return await reader.read((await loadedWithin(loadWithinMs, loadModule(file))).default);
    // Editors on Windows put a byte order mark before it.
    const json = readFileSync(file, "utf8").replace(/^\uFEFF/, "");
    const content: unknown = JSON.parse(json);
    return await reader.read(content, repeatedNames(json));
  } catch (error) {
    return { ...none, file, faults: [`${at} can't be read: ${describeError(error)}`] };
  }
}
