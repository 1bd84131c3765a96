import { accessSync, constants, existsSync, readFileSync, realpathSync } from "node:fs";
import path from "node:path";
import { run } from "../run.ts";
import type { UnpackedPackages } from "./debian-packages.ts";

export type ServerName = "mysql" | "redis";
export type Flavor = "MariaDB" | "MySQL" | "Redis" | "Valkey";

/** A server program that can be run. */
export interface ServerBinary {
  server: ServerName;
  path: string;
  flavor: Flavor;
  version: string;
  /** Environment variables that the program needs. */
  environment: NodeJS.ProcessEnv;
  /** Where MySQL's or MariaDB's own files are; undefined if the program knows. */
  baseFolder?: string;
  /** Path of mariadb-install-db; set for MariaDB only. */
  installer?: string;
}

/** Folders to search, and the environment for programs found there. */
export interface SearchPlace {
  folders: string[];
  environment: NodeJS.ProcessEnv;
  baseFolder?: string;
}

/**
 * In order of preference. Debian's redis-tools contains the server under the name of redis-check-rdb, which is
 * the same file.
 */
const PROGRAMS: Record<ServerName, string[]> = {
  mysql: ["mariadbd", "mysqld"],
  redis: ["redis-server", "valkey-server"],
};
const INSTALLERS = ["mariadb-install-db", "mysql_install_db"];
const OLDEST: Record<Flavor, [number, number]> = {
  MariaDB: [10, 11],
  MySQL: [8, 4],
  Redis: [6, 2],
  Valkey: [7, 2],
};

/** We parse the programs' messages, and Redis refuses to start under a locale that is not installed. */
const PLAIN_LOCALE = { LC_ALL: "C" };

/** PATH, and folders where package managers put servers without adding them to PATH. */
export function usualPlaces(searchPath = process.env["PATH"] ?? ""): SearchPlace {
  const homebrew = ["/opt/homebrew", "/usr/local", "/home/linuxbrew/.linuxbrew"];
  const subfolders = ["bin", "opt/mariadb/bin", "opt/mysql/bin", "opt/redis/bin", "opt/valkey/bin"];
  return {
    folders: [
      ...searchPath.split(path.delimiter).filter((folder) => path.isAbsolute(folder)),
      "/usr/sbin",
      "/usr/bin",
      "/usr/libexec",
      "/usr/local/sbin",
      "/usr/local/mysql/bin",
      ...homebrew.flatMap((prefix) => subfolders.map((subfolder) => `${prefix}/${subfolder}`)),
    ],
    environment: PLAIN_LOCALE,
  };
}

/** Where the programs of unpacked Debian packages are. */
export function unpackedPlace({ root, programs, environment }: UnpackedPackages): SearchPlace {
  return {
    folders: programs,
    environment: { ...PLAIN_LOCALE, ...environment },
    baseFolder: `${root}/usr`,
  };
}

/**
 * The first program there that runs and is new enough; undefined if there is none.
 *
 * @param flavor the only flavor to accept; by default any
 */
export async function findBinary(
  server: ServerName,
  place: SearchPlace,
  flavor?: Flavor,
): Promise<ServerBinary | undefined> {
  for (const name of PROGRAMS[server]) {
    for (const file of executables(name, place.folders)) {
      const binary = await examine(server, file, place);
      if (binary && (flavor === undefined || binary.flavor === flavor)) return binary;
    }
  }
  return undefined;
}

async function examine(
  server: ServerName,
  file: string,
  { folders, environment, baseFolder }: SearchPlace,
): Promise<ServerBinary | undefined> {
  if (isConfined(file)) return undefined;
  const found = parseVersion(await run(file, ["--version"], { env: environment }).catch(() => []));
  if (!found || !isNewEnough(found)) return undefined;
  const binary: ServerBinary = { server, path: file, ...found, environment };
  if (server === "redis") return binary;
  if (baseFolder) binary.baseFolder = baseFolder;
  if (found.flavor === "MySQL") return binary;

  const prefix = path.dirname(path.dirname(realpathSync(file)));
  const [installer] = INSTALLERS.flatMap((name) =>
    executables(name, [...folders, `${prefix}/bin`, `${prefix}/scripts`]),
  );
  return installer ? { ...binary, installer } : undefined;
}

/** Parses the output of `--version`; undefined if it is not a server we know. */
export function parseVersion(lines: string[]): { flavor: Flavor; version: string } | undefined {
  const text = lines.join("\n");
  const version = /\bv=(\d+\.\d+\.\d+)/.exec(text)?.[1] ?? /\bVer (\d+\.\d+\.\d+)/.exec(text)?.[1];
  if (version === undefined) return undefined;
  if (/\bv=/.test(text)) return { flavor: /valkey/i.test(text) ? "Valkey" : "Redis", version };
  return { flavor: /mariadb/i.test(text) ? "MariaDB" : "MySQL", version };
}

function isNewEnough({ flavor, version }: { flavor: Flavor; version: string }): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [oldestMajor, oldestMinor] = OLDEST[flavor];
  return major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
}

function executables(name: string, folders: string[]): string[] {
  return [...new Set(folders)].map((folder) => path.join(folder, name)).filter(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Ubuntu's AppArmor profile lets mysqld use only the system's data folder. */
function isConfined(file: string): boolean {
  const profile = `/etc/apparmor.d/${file.slice(1).replaceAll("/", ".")}`;
  const switchFile = "/sys/module/apparmor/parameters/enabled";
  if (!existsSync(profile) || !existsSync(switchFile)) return false;
  // MariaDB's packages ship a profile that has only comments.
  const isEmpty = readFileSync(profile, "utf8")
    .split("\n")
    .every((line) => line.trim() === "" || line.startsWith("#"));
  return !isEmpty && readFileSync(switchFile, "utf8").startsWith("Y");
}
