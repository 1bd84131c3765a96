import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import {
  findBinary,
  parseVersion,
  unpackedPlace,
  usualPlaces,
} from "../../tools/launcher/servers/binaries.ts";

const MARIADB = "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)";
const MYSQL = "/usr/sbin/mysqld  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)";
const REDIS = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=4b4ab42e7f3b37ab";
const VALKEY = "Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=5f2a";

let folder: string;

beforeEach(() => {
  // A path with a space, as a clone may have.
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor binaries-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function place(...folders: string[]): Parameters<typeof findBinary>[1] {
  return { folders: folders.map((name) => path.join(folder, name)), environment: {} };
}

/** A stand-in that knows nothing but its version. */
function program(name: string, version: string): string {
  const file = path.join(folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `#!/bin/sh\necho '${version}'\n`);
  chmodSync(file, 0o755);
  return file;
}

describe("version", () => {
  test.each([
    [MARIADB, { flavor: "MariaDB", version: "10.11.19" }],
    [MYSQL, { flavor: "MySQL", version: "8.4.3" }],
    [REDIS, { flavor: "Redis", version: "7.0.15" }],
    [VALKEY, { flavor: "Valkey", version: "8.0.1" }],
    ["command not found", undefined],
  ])("of %s", (line, expected) => {
    expect(parseVersion([line])).toEqual(expected);
  });
});

describe("search", () => {
  test("prefers MariaDB to MySQL and takes its installer along", async () => {
    program("sbin/mysqld", MYSQL);
    const server = program("sbin/mariadbd", MARIADB);
    const installer = program("bin/mariadb-install-db", "");
    expect(await findBinary("mysql", place("sbin", "bin"))).toEqual({
      server: "mysql",
      path: server,
      flavor: "MariaDB",
      version: "10.11.19",
      environment: {},
      installer,
    });
  });

  test("finds the installer beside the server's own folder", async () => {
    program("opt/mariadb/bin/mariadbd", MARIADB);
    const installer = program("opt/mariadb/scripts/mariadb-install-db", "");
    expect(await findBinary("mysql", place("opt/mariadb/bin"))).toHaveProperty("installer", installer);
  });

  test("takes only MySQL where that is asked for", async () => {
    program("sbin/mariadbd", MARIADB);
    program("bin/mariadb-install-db", "");
    expect(await findBinary("mysql", place("sbin", "bin"), "MySQL")).toBeUndefined();
    const mysqld = program("bin/mysqld", MYSQL);
    expect(await findBinary("mysql", place("sbin", "bin"), "MySQL")).toHaveProperty("path", mysqld);
  });

  test("passes over MariaDB without an installer", async () => {
    program("sbin/mariadbd", MARIADB);
    const mysqld = program("sbin/mysqld", MYSQL);
    expect(await findBinary("mysql", place("sbin"))).toHaveProperty("path", mysqld);
  });

  test("passes over versions that are too old, in favour of a newer one further on", async () => {
    program("old/redis-server", REDIS.replace("7.0.15", "6.0.16"));
    const newer = program("new/redis-server", REDIS.replace("7.0.15", "6.2.0"));
    expect(await findBinary("redis", place("old", "new"))).toHaveProperty("path", newer);
  });

  test("passes over what does not run", async () => {
    program("broken/redis-server", "");
    writeFileSync(path.join(folder, "broken/redis-server"), "#!/no/such/interpreter\n");
    const valkey = program("broken/valkey-server", VALKEY);
    expect(await findBinary("redis", place("broken"))).toHaveProperty("path", valkey);
  });

  test("says so when there is nothing", async () => {
    expect(await findBinary("redis", place("nowhere"))).toBeUndefined();
    expect(await findBinary("mysql", place("nowhere"))).toBeUndefined();
  });

  test("looks in PATH first, then where package managers put servers, and never in the working folder", () => {
    const { folders } = usualPlaces("/first:relative::/second");
    expect(folders.slice(0, 2)).toEqual(["/first", "/second"]);
    expect(folders).toEqual(
      expect.arrayContaining(["/usr/sbin", "/usr/libexec", "/opt/homebrew/opt/mariadb/bin"]),
    );
    expect(folders.every((name) => path.isAbsolute(name))).toBe(true);
  });

  test("gives unpacked programs their libraries, and MariaDB its own files", async () => {
    program("usr/sbin/mariadbd", MARIADB);
    program("usr/bin/mariadb-install-db", "");
    const binary = await findBinary(
      "mysql",
      unpackedPlace({
        root: folder,
        programs: [`${folder}/usr/sbin`, `${folder}/usr/bin`],
        environment: { LD_LIBRARY_PATH: "/some/lib" },
      }),
    );
    expect(binary).toMatchObject({
      baseFolder: path.join(folder, "usr"),
      environment: { LC_ALL: "C", LD_LIBRARY_PATH: "/some/lib" },
    });
  });
});
