import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Outline } from "../../src/order/outline.ts";
import { PROJECT_FOLDER } from "./local-folder.ts";
import { run } from "./run.ts";

/** In MySQL's data folder, so that it is wiped along with the data. */
const MARKER = "migrated-to";

/**
 * Migrates the database to this version's schema. A private database known to be up to date is not queried,
 * which would slow down the start; the API and the worker check the schema anyway.
 *
 * @param code folder of the compiled sources
 * @param dataFolder MySQL's data folder, if only we use it
 * @param pipeline the one that the processes will have
 * @returns the migration's last line of output; undefined if there was nothing to do
 * @throws CommandFailed with the migration's output
 */
export async function migrate(
  databaseUrl: string,
  code: string,
  dataFolder: string | undefined,
  pipeline: Outline,
): Promise<string | undefined> {
  const marker = dataFolder && path.join(dataFolder, MARKER);
  // Migrating puts the pipeline in force, too.
  const version = `${migrationsDigest()} ${JSON.stringify(pipeline)}`;
  if (marker && readIfPresent(marker) === version) return undefined;
  const script = path.join(code, "tools/cli/migrate.js");
  const lines = await run(process.execPath, [script], { env: { DATABASE_URL: databaseUrl } });
  if (marker) writeFileSync(marker, version);
  return lines.at(-1);
}

function migrationsDigest(): string {
  const folder = path.join(PROJECT_FOLDER, "db/migrations");
  const files = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
  const names = files.map((entry) => entry.name).toSorted();
  const digest = createHash("sha256");
  for (const name of names) digest.update(name).update(readFileSync(path.join(folder, name)));
  return digest.digest("hex");
}

function readIfPresent(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
