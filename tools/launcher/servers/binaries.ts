import { accessSync, constants, existsSync, readFileSync, realpathSync } from "node:fs";
import path from "node:path";
import { run } from "../run.ts";
import type { UnpackedPackages } from "./debian-packages.ts";

export type ServerName = "mysql" | "redis";
export type Flavor = "MariaDB" | "MySQL" | "Redis" | "Valkey";

/** A server program that can be started. */
export interface ServerBinary {
  server: ServerName;
  path: string;
  flavor: Flavor;
  version: string;
  /** What the program needs in its environment. */
  environment: NodeJS.ProcessEnv;
  /** Where MySQL's or MariaDB's own files lie; undefined when the program knows it. */
  baseFolder?: string;
  /** mariadb-install-db, when `flavor` is MariaDB. */
  installer?: string;
}

/** Where to look, and with which environment to start what is found. */
export interface SearchPlace {
  folders: string[];
  environment: NodeJS.ProcessEnv;
  baseFolder?: string;
}

/** First choice first. Debian's redis-tools holds the server under the name of the checker, which is the same file. */
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

/** The programs' messages are parsed, and Redis refuses to start under a locale that is not installed. */
const PLAIN_LOCALE = { LC_ALL: "C" };

/** PATH, and the folders where package managers put servers without adding them to PATH. */
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

/** The place that unpacked Debian packages make. */
export function unpackedPlace({ root, programs, environment }: UnpackedPackages): SearchPlace {
  return {
    folders: programs,
    environment: { ...PLAIN_LOCALE, ...environment },
    baseFolder: `${root}/usr`,
  };
}

/**
 * The first program in the place that runs and is new enough; undefined when there is none.
 *
 * @param flavor the only one that will do; without it, any
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

/** Reads what `--version` prints; undefined when it is none of the servers we know. */
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

/** Ubuntu's AppArmor profile of mysqld forbids it any data folder but the system's own. */
function isConfined(file: string): boolean {
  const profile = `/etc/apparmor.d/${file.slice(1).replaceAll("/", ".")}`;
  const switchFile = "/sys/module/apparmor/parameters/enabled";
  if (!existsSync(profile) || !existsSync(switchFile)) return false;
  // MariaDB's packages ship a profile of comments only.
  const isEmpty = readFileSync(profile, "utf8")
    .split("\n")
    .every((line) => line.trim() === "" || line.startsWith("#"));
  return !isEmpty && readFileSync(switchFile, "utf8").startsWith("Y");
}
