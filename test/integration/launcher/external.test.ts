import { describe, expect, test } from "@jest/globals";
import { freePort } from "../../../tools/launcher/ports.ts";
import { checkExternal, environmentUrl } from "../../../tools/launcher/servers/external.ts";
import { installHint } from "../../../tools/launcher/servers/install-hint.ts";

describe("servers of the environment", () => {
  test("an empty variable counts as not set", () => {
    expect(environmentUrl("mysql", { DATABASE_URL: "" })).toBeUndefined();
    expect(environmentUrl("redis", { REDIS_URL: "redis://somewhere" })).toBe("redis://somewhere");
  });

  test("are used when they answer", async () => {
    const [mysql, redis] = [process.env["TEST_MYSQL_URL"]!, process.env["TEST_REDIS_URL"]!];
    expect(await checkExternal("mysql", mysql)).toEqual({
      url: mysql,
      version: expect.stringMatching(/^(MySQL|MariaDB) \d+\.\d+\.\d+$/),
    });
    expect(await checkExternal("redis", redis)).toEqual({
      url: redis,
      version: expect.stringMatching(/^(Redis|Valkey) \d+\.\d+\.\d+$/),
    });
  });

  test.each(["mysql", "redis"] as const)(
    "%s that can't be reached: one line, without the password",
    async (server) => {
      const port = await freePort();
      const url = `${server}://user:secret@127.0.0.1:${port}/0`;
      const error = await checkExternal(server, url).catch((reason: Error) => reason.message);
      expect(error).toMatch(
        new RegExp(`^(DATABASE|REDIS)_URL: 127.0.0.1:${port} can't be used: .*ECONNREFUSED`),
      );
      expect(error).not.toMatch(/secret|\n/);
    },
  );

  test.each([
    ["mysql", "TEST_MYSQL_URL", "Access denied"],
    ["redis", "TEST_REDIS_URL", "WRONGPASS"],
  ] as const)(
    "%s that refuses the password: its own words, without the password",
    async (server, name, words) => {
      const url = new URL(process.env[name]!);
      url.password = "secret";
      const error = await checkExternal(server, url.href).catch((reason: Error) => reason.message);
      expect(error).toContain(words);
      expect(error).not.toMatch(/secret|\n/);
    },
  );

  test.each([
    ["mysql", "postgres://localhost/db"],
    ["mysql", "localhost:3306"],
    ["redis", "127.0.0.1:6379"],
  ] as const)("%s at %s: not an address", async (server, url) => {
    await expect(checkExternal(server, url)).rejects.toThrow(
      /_URL must (be an address that begins|start) with/,
    );
  });
});

describe("the hint when nothing helps", () => {
  test("names the command of the system, for what is missing", () => {
    expect(installHint(["mysql", "redis"], undefined, "darwin")).toBe(
      "No MySQL and Redis on this machine: run: brew install mariadb redis (or start Docker, or set DATABASE_URL and REDIS_URL)",
    );
    expect(installHint(["redis"], "no network", "darwin")).toBe(
      "No Redis on this machine (no network): run: brew install redis (or start Docker, or set REDIS_URL)",
    );
  });
});
