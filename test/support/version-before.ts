import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
const NAMED = /^Upgrades are tested from the version of commit `([0-9a-f]{7,40})`/m;

/** The version before this one, as CHANGELOG.md names it, in a folder of its own. */
export interface VersionBefore {
  readonly commit: string;
  /** Its sources, with the dependencies of this version. */
  readonly folder: string;
  /** Makes its tables in an empty database. */
  migrate(databaseUrl: string): void;
  remove(): void;
}

/** The commit; undefined where this folder has no history that reaches so far, as in an archive. */
export function commitBefore(): string | undefined {
  const commit = NAMED.exec(readFileSync(path.join(REPOSITORY, "CHANGELOG.md"), "utf8"))?.[1];
  if (commit === undefined) throw new Error("CHANGELOG.md names no version from which upgrades are tested");
  try {
    execFileSync("git", ["-C", REPOSITORY, "cat-file", "-e", `${commit}^{commit}`], { stdio: "ignore" });
    return commit;
  } catch {
    process.stderr.write(`tests of the upgrade from ${commit} are skipped: that commit is not here\n`);
    return undefined;
  }
}

/** Unpacks it. Remove it in the end. */
export function unpackVersion(commit: string): VersionBefore {
  const folder = mkdtempSync(path.join(tmpdir(), "conveyor-before-"));
  const archive = path.join(folder, "archive.tar");
  execFileSync("git", ["-C", REPOSITORY, "archive", "--output", archive, commit]);
  execFileSync("tar", ["-xf", archive, "-C", folder]);
  symlinkSync(path.join(REPOSITORY, "node_modules"), path.join(folder, "node_modules"));
  return {
    commit,
    folder,
    migrate: (databaseUrl) =>
      void execFileSync(process.execPath, ["--import", "tsx", "tools/cli/migrate.ts"], {
        cwd: folder,
        env: { PATH: process.env["PATH"], DATABASE_URL: databaseUrl },
        stdio: ["ignore", "ignore", "inherit"],
      }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
