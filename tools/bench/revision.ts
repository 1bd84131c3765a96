import { readFileSync, symlinkSync } from "node:fs";
import path from "node:path";
import { PROJECT_FOLDER } from "../launcher/local-folder.ts";
import { CommandFailed, run } from "../launcher/run.ts";
import { Failure } from "../shared/failure.ts";

const LOCK_FILE = "package-lock.json";
const MODULES = "node_modules";

/** A commit, what it is called, and the folder of its repository. */
export interface Commit {
  readonly name: string;
  readonly hash: string;
  readonly repository: string;
}

/**
 * Finds the commit to compare with: the named one, or else the last tag. Undefined if there is no tag.
 *
 * @throws {Failure} if the named one is not a commit of this repository
 */
export async function findCommit(named?: string, repository = PROJECT_FOLDER): Promise<Commit | undefined> {
  const ask = (...args: string[]) => firstLine("git", "-C", repository, ...args);
  const name = named ?? (await ask("describe", "--tags", "--abbrev=0"));
  if (name === undefined) return undefined;
  const hash = await ask("rev-parse", "--verify", "--quiet", `${name}^{commit}`);
  if (hash === undefined)
    throw new Failure(`--against: ${JSON.stringify(name)} is no commit of this repository`);
  return { name, hash, repository };
}

/** An earlier version of the service, in a folder of its own. */
export class Revision {
  readonly name: string;
  readonly #folder: string;

  private constructor(name: string, folder: string) {
    this.name = name;
    this.#folder = folder;
  }

  /**
   * Checks a commit out and builds it with its own script. It shares this version's dependencies if its lock file is
   * the same; otherwise it gets its own.
   *
   * @param folder does not exist yet. @throws {Failure}
   */
  static async checkOut({ name, hash, repository }: Commit, folder: string): Promise<Revision> {
    await command({}, "git", "clone", "--quiet", "--shared", "--no-checkout", repository, folder);
    await command({}, "git", "-C", folder, "checkout", "--quiet", "--detach", hash);
    const [wanted, ours] = [folder, PROJECT_FOLDER].map((each) => readFileSync(path.join(each, LOCK_FILE)));
    if (ours && wanted?.equals(ours))
      symlinkSync(path.join(PROJECT_FOLDER, MODULES), path.join(folder, MODULES));
    else await command({}, "npm", "--prefix", folder, "ci", "--include=dev");
    await command({}, "npm", "--prefix", folder, "run", "build");
    const short = hash.slice(0, 7);
    return new Revision(hash.startsWith(name) ? short : `${name} (${short})`, folder);
  }

  /**
   * The folder of the compiled code. It is run as its image runs it, and not by `npm run worker`: that compiles with
   * esbuild, which names every closure when it is made, and so takes more CPU than what it is compared with.
   */
  get code(): string {
    return path.join(this.#folder, "dist");
  }

  /** Makes its tables in an empty database. @throws {Failure} */
  async migrate(databaseUrl: string): Promise<void> {
    const env = { DATABASE_URL: databaseUrl };
    await command(env, "npm", "--prefix", this.#folder, "run", "migrate");
  }
}

/** The first line of a command's answer; undefined if it fails, as git does where there is no repository. */
async function firstLine(name: string, ...args: string[]): Promise<string | undefined> {
  const lines = await run(name, args).catch(() => []);
  return lines[0];
}

/** @throws {Failure} with the last line of its output */
async function command(env: NodeJS.ProcessEnv, name: string, ...args: string[]): Promise<void> {
  try {
    await run(name, args, { env });
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    throw new Failure(`${[name, ...args].join(" ")}: ${error.lines.at(-1) ?? error.message}`);
  }
}
