import { existsSync, symlinkSync } from "node:fs";
import { errorCode, Failure } from "../../shared/failure.ts";
import { CommandFailed } from "../run.ts";
import {
  findBinary,
  unpackedPlace,
  usualPlaces,
  type Flavor,
  type SearchPlace,
  type ServerBinary,
  type ServerName,
} from "./binaries.ts";
import { canUnpackDebianPackages, NoSuchRelease, unpackDebianPackages } from "./debian-packages.ts";
import { toldDiskFault } from "../disk.ts";
import { installHint } from "./install-hint.ts";

/** Packages for both servers, even if only one is missing, so that there is only ever one download. */
const DEBIAN_PACKAGES = ["mariadb-server-core", "mariadb-client-core", "redis-tools"];
/** What Debian's stable releases lack, and sid has: MySQL 9.7, the LTS line after 8.4, and Valkey 9. */
const PACKAGES_OF_SID: Partial<Record<Flavor, string>> = {
  MySQL: "mysql-server-core",
  Valkey: "valkey-server",
};

export interface FindOptions {
  /** Where unpacked packages are kept. */
  packagesFolder: string;
  /** Called with a few words about what is being done, if it takes long. */
  progress?: (text: string) => void;
  /** The only flavor to accept for MySQL; by default the first one found. */
  mysql?: Flavor | undefined;
  /** The same for Redis. */
  redis?: Flavor | undefined;
}

/** The servers that can be started here, and why the others can't. */
export interface Findings {
  binaries: Partial<Record<ServerName, ServerBinary>>;
  missing: ServerName[];
  /** Set if packages might have helped but could not be downloaded. */
  reason?: string;
}

/** Searches for server programs on this machine, then in Debian's packages. */
export async function findBinaries(servers: ServerName[], options: FindOptions): Promise<Findings> {
  const findings: Findings = { binaries: {}, missing: servers };
  await search(findings, usualPlaces(), options);
  if (!canUnpackDebianPackages()) return findings;
  const { packagesFolder, ...rest } = options;
  const packageOfSid = (server: ServerName) => {
    const flavor = options[server];
    return flavor && PACKAGES_OF_SID[flavor];
  };
  try {
    if (findings.missing.some((server) => packageOfSid(server) === undefined)) {
      const unpacked = await unpackDebianPackages(DEBIAN_PACKAGES, packagesFolder, rest);
      linkRedisServer(unpacked.root);
      await search(findings, unpackedPlace(unpacked), options);
    }
    for (const name of findings.missing.map(packageOfSid)) {
      if (name === undefined) continue;
      const unpacked = await unpackDebianPackages([name], packagesFolder, { ...rest, release: "sid" });
      await search(findings, unpackedPlace(unpacked), options);
    }
  } catch (error) {
    const full = error instanceof CommandFailed ? toldDiskFault(error.lines) : undefined;
    if (full !== undefined) {
      throw new Failure(`Debian's packages can't be unpacked into ${packagesFolder}: ${full}`);
    } else if (error instanceof CommandFailed) {
      findings.reason = [error.message, ...error.lines.slice(-1)].join(": ");
    } else if (error instanceof NoSuchRelease) {
      findings.reason = error.message;
    } else {
      throw error;
    }
  }
  return findings;
}

/**
 * Both servers' programs, for callers that can't use a container or a remote server.
 *
 * @throws Failure that says how to get the missing ones
 */
export async function requireBinaries(options: FindOptions): Promise<Record<ServerName, ServerBinary>> {
  const { binaries, missing, reason } = await findBinaries(["mysql", "redis"], options);
  const { mysql, redis } = binaries;
  if (!mysql || !redis) throw new Failure(installHint(missing, reason));
  return { mysql, redis };
}

/** Searches for what is still missing. */
async function search(
  findings: Findings,
  place: SearchPlace,
  options: Pick<FindOptions, ServerName>,
): Promise<void> {
  const { binaries, missing } = findings;
  await Promise.all(
    missing.map(async (server) => {
      const binary = await findBinary(server, place, options[server]);
      if (binary) binaries[server] = binary;
    }),
  );
  findings.missing = missing.filter((server) => !(server in binaries));
}

/** Debian's redis-server package is little more than this link. */
function linkRedisServer(root: string): void {
  const link = `${root}/usr/bin/redis-server`;
  if (existsSync(link) || !existsSync(`${root}/usr/bin/redis-check-rdb`)) return;
  try {
    symlinkSync("redis-check-rdb", link);
  } catch (error) {
    // Another process made the link first.
    if (errorCode(error) !== "EEXIST") throw error;
  }
}
