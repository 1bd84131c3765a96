import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import { parse } from "yaml";
import type { GuardedProcess } from "../../../tools/launcher/guard.ts";
import { LogFile } from "../../../tools/launcher/log-file.ts";
import { freePort } from "../../../tools/launcher/ports.ts";
import { requireBinaries } from "../../../tools/launcher/servers/find.ts";
import {
  composeProject,
  hasComposeEngine,
  removeComposeData,
  startWithCompose,
} from "../../../tools/launcher/servers/compose.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../../..");
const PASSWORDS = { mysql: "m", redis: "right" };
let folder: string;
let searchPath: string | undefined;

/** A docker that runs a real Redis where a container is asked for. */
beforeEach(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-compose-"));
  searchPath = process.env["PATH"];
  process.env["PATH"] = `${folder}/bin:${searchPath}`;
  const { redis } = await requireBinaries({ packagesFolder: path.join(REPOSITORY, ".local/packages") });
  docker(`case "$*" in
    "compose version") exit 0 ;;
    version*) echo 28.0.0 ;;
    *up*) cd '${folder}'; LC_ALL=C LD_LIBRARY_PATH='${redis.environment["LD_LIBRARY_PATH"] ?? ""}' \\
      exec '${redis.path}' --port "$CONVEYOR_REDIS_PORT" --requirepass "\${REAL_PASSWORD:-$REDIS_PASSWORD}" ;;
  esac`);
});
afterEach(() => {
  process.env["PATH"] = searchPath;
  delete process.env["REAL_PASSWORD"];
  rmSync(folder, { recursive: true });
});

function docker(script: string): void {
  mkdirSync(path.join(folder, "bin"), { recursive: true });
  const file = path.join(folder, "bin/docker");
  writeFileSync(file, `#!/bin/sh\necho "$@" >> '${folder}/calls'\n${script}\n`);
  chmodSync(file, 0o755);
}

function calls(): string[] {
  return readFileSync(path.join(folder, "calls"), "utf8").split("\n").slice(0, -1);
}

async function start(): Promise<{ url: string; version: string; process: GuardedProcess; log: LogFile }> {
  const log = new LogFile(path.join(folder, "compose.log"));
  let child: GuardedProcess | undefined;
  try {
    const { redis } = await startWithCompose({
      log,
      passwords: PASSWORDS,
      ports: { mysql: await freePort(), redis: await freePort() },
      servers: ["redis"],
      onStart: (started) => (child = started),
    });
    return { ...redis!, process: child!, log };
  } catch (error) {
    await child?.stop(10_000);
    throw error;
  }
}

test("an engine counts when it answers and has compose", async () => {
  expect(await hasComposeEngine()).toBe(true);
  docker('case "$*" in "compose version") exit 1 ;; esac');
  expect(await hasComposeEngine()).toBe(false);
  docker('case "$*" in version*) echo "Cannot connect to the Docker daemon" >&2; exit 1 ;; esac');
  expect(await hasComposeEngine()).toBe(false);
});

test("the servers asked for run in the clone's own project, and are ready when they answer", async () => {
  const server = await start();
  expect(calls()).toEqual([
    [
      "compose",
      `--project-name ${composeProject()}`,
      `--project-directory ${REPOSITORY}`,
      `--file ${REPOSITORY}/docker-compose.yml`,
      `--file ${REPOSITORY}/tools/launcher/compose.ports.yml`,
      "up --no-color redis",
    ].join(" "),
  ]);
  expect(server.version).toMatch(/^(Redis|Valkey) \d/);
  const redis = new Redis(server.url);
  expect(await redis.ping()).toBe("PONG");
  redis.disconnect();

  expect((await server.process.stop(10_000)).code).toBe(0);
  server.log.close();
});

test("volumes with other passwords: said at once, with the command that removes them", async () => {
  process.env["REAL_PASSWORD"] = "of an earlier clone";
  await expect(start()).rejects.toThrow(`docker compose -p ${composeProject()} down --volumes`);
});

test("compose that fails: the end of what it said", async () => {
  docker('echo "no space left on device" >&2; exit 17');
  await expect(start()).rejects.toMatchObject({
    message: expect.stringContaining("docker compose exited while starting (exit code 17)"),
    details: ["no space left on device"],
  });
});

test("a reset removes containers and volumes of that project only", async () => {
  docker("exit 0");
  await removeComposeData("conveyor-1234");
  expect(calls()[0]).toMatch(/^compose --project-name conveyor-1234 .* down --volumes$/);
});

test("each clone has a project of its own", () => {
  expect(composeProject("/home/a/conveyor")).toMatch(/^conveyor-[0-9a-f]{8}$/);
  expect(composeProject("/home/a/conveyor")).not.toBe(composeProject("/home/b/conveyor"));
});

test("the added file only publishes ports, to this machine only, of services that docker-compose.yml has", () => {
  const added = parse(readFileSync(path.join(REPOSITORY, "tools/launcher/compose.ports.yml"), "utf8"));
  const base = parse(readFileSync(path.join(REPOSITORY, "docker-compose.yml"), "utf8"));
  expect(added).toEqual({
    services: {
      mysql: { ports: ["127.0.0.1:${CONVEYOR_MYSQL_PORT:-0}:3306"] },
      redis: { ports: ["127.0.0.1:${CONVEYOR_REDIS_PORT:-0}:6379"] },
    },
  });
  expect(Object.keys(base.services)).toEqual(expect.arrayContaining(["mysql", "redis"]));
});
