import { existsSync, symlinkSync } from "node:fs";
import { errorCode, Failure } from "../failure.ts";
import { CommandFailed } from "../run.ts";
import { findBinary, unpackedPlace, usualPlaces, type ServerBinary, type ServerName } from "./binaries.ts";
import { canUnpackDebianPackages, unpackDebianPackages } from "./debian-packages.ts";
import { installHint } from "./install-hint.ts";

/** For both servers, even when only one is missing: that way there is one download, whatever is missing when. */
const DEBIAN_PACKAGES = ["mariadb-server-core", "mariadb-client-core", "redis-tools"];

export interface FindOptions {
  /** Where unpacked packages are kept. */
  packagesFolder: string;
  /** Hears, in a few words, what is being done, when it takes long. */
  progress?: (text: string) => void;
}

/** Which servers can be started here, and why the others can't. */
export interface Findings {
  binaries: Partial<Record<ServerName, ServerBinary>>;
  missing: ServerName[];
  /** Set when packages might have helped and could not be had. */
  reason?: string;
}

/** Looks for server programs on this machine, then in Debian's packages. */
export async function findBinaries(servers: ServerName[], options: FindOptions): Promise<Findings> {
  const findings = await searchPlace(servers, usualPlaces());
  if (findings.missing.length === 0 || !canUnpackDebianPackages()) return findings;
  try {
    const { packagesFolder, progress } = options;
    const { root, environment } = await unpackDebianPackages(DEBIAN_PACKAGES, packagesFolder, progress);
    linkRedisServer(root);
    const more = await searchPlace(findings.missing, unpackedPlace(root, environment));
    return { ...more, binaries: { ...findings.binaries, ...more.binaries } };
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    return { ...findings, reason: [error.message, ...error.lines.slice(-1)].join(": ") };
  }
}

/**
 * Both servers' programs, where nothing else will do.
 *
 * @throws Failure that says how to get the missing ones
 */
export async function requireBinaries(options: FindOptions): Promise<Record<ServerName, ServerBinary>> {
  const { binaries, missing, reason } = await findBinaries(["mysql", "redis"], options);
  const { mysql, redis } = binaries;
  if (!mysql || !redis) throw new Failure(installHint(missing, reason));
  return { mysql, redis };
}

async function searchPlace(
  servers: ServerName[],
  place: Parameters<typeof findBinary>[1],
): Promise<Findings> {
  const found = await Promise.all(servers.map((server) => findBinary(server, place)));
  const binaries = Object.fromEntries(found.flatMap((binary) => (binary ? [[binary.server, binary]] : [])));
  return { binaries, missing: servers.filter((server) => !(server in binaries)) };
}

/** Debian's redis-server package is little more than this link. */
function linkRedisServer(root: string): void {
  const link = `${root}/usr/bin/redis-server`;
  if (existsSync(link) || !existsSync(`${root}/usr/bin/redis-check-rdb`)) return;
  try {
    symlinkSync("redis-check-rdb", link);
  } catch (error) {
    // Another process was faster.
    if (errorCode(error) !== "EEXIST") throw error;
  }
}
