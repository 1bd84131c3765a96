import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { PROJECT_FOLDER } from "./local-folder.ts";
import { run } from "./run.ts";

/** Lies inside MySQL's data folder, so that it goes when that goes. */
const MARKER = "migrated-to";

/**
 * Brings the database to the schema of this version. A private database that has it already is not even asked, since
 * that would take a good part of a start; the API and the worker check it again in any case.
 *
 * @param code folder of the compiled sources
 * @param dataFolder MySQL's data folder, when it is ours alone
 * @returns what to tell; undefined when there was nothing to do
 * @throws CommandFailed with what the migration printed
 */
export async function migrate(
  databaseUrl: string,
  code: string,
  dataFolder: string | undefined,
): Promise<string | undefined> {
  const marker = dataFolder && path.join(dataFolder, MARKER);
  const version = migrationsDigest();
  if (marker && readIfThere(marker) === version) return undefined;
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

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
