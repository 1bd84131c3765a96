import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, test } from "@jest/globals";
import { healthRoutes } from "../../src/api/health.ts";
import { loadConfig, PROCESSES } from "../../src/composition/config.ts";
import { makeTempFolder } from "../../tools/launcher/temp-folder.ts";

/* What stands in deploy/vps for one machine with systemd, held against the processes that it runs. */

const ROOT = path.resolve(import.meta.dirname, "../..");
const FOLDER = path.join(ROOT, "deploy/vps");
const LAST_MOMENT_S = 5;
const SECRETS: Readonly<Record<string, string>> = {
  "database-url": "mysql://u:p@localhost/conveyor",
  "redis-url": "redis://localhost",
  "api-keys": "a-key-of-our-own-0123",
};

const read = (name: string) => readFileSync(path.join(FOLDER, name), "utf8");
/** Every value of a setting of a unit. */
const valuesOf = (unit: string, name: string) =>
  [...read(unit).matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value = ""]) => value);
const pairs = (text: string) =>
  [...text.matchAll(/^(\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]);

const folder = makeTempFolder();
afterAll(() => rmSync(folder, { recursive: true }));

/** What systemd gives a unit's process. */
function environmentOf(unit: string, instance: string): Record<string, string> {
  for (const credential of valuesOf(unit, "LoadCredential")) {
    const [name = "", file = ""] = credential.split(":");
    expect(file).toBe(`/etc/conveyor/secrets/${name}`);
    writeFileSync(path.join(folder, name), SECRETS[name] ?? "");
  }
  const own = valuesOf(unit, "Environment").join(" ").replaceAll("%i", instance).replaceAll("%d", folder);
  const shared = valuesOf(unit, "EnvironmentFile").length > 0 ? pairs(read("conveyor.env")) : [];
  return Object.fromEntries([...shared, ...pairs(own.replaceAll(" ", "\n"))]);
}

describe.each([
  ["conveyor-api@.service", PROCESSES.api, "3001"],
  ["conveyor-worker@.service", PROCESSES.worker, "1"],
] as const)("the unit %s", (unit, schema, instance) => {
  const environment = environmentOf(unit, instance);

  test("gives the process an environment that it takes, and nothing else", () => {
    const config = loadConfig(schema, environment);
    expect(config.PORT).toBe(unit.includes("api") ? 3001 : 3000);
    expect(config.METRICS_PORT).toBe(unit.includes("api") ? undefined : 9461);
    const known = Object.keys(PROCESSES.api.shape);
    for (const name of Object.keys(environment)) expect(known).toContain(name.replace(/_FILE$/, ""));
  });

  test("gives it more time to stop than it takes", () => {
    const delay = unit.includes("api") ? Number(environment["SHUTDOWN_DELAY_MS"]) : 0;
    const takes = (delay + Number(environment["SHUTDOWN_TIMEOUT_MS"])) / 1_000;
    expect(Number(valuesOf(unit, "TimeoutStopSec")[0])).toBeGreaterThan(takes + LAST_MOMENT_S);
  });
});

test("the units run what the build makes, and scripts that are there", () => {
  const units = readdirSync(FOLDER).filter((name) => name.endsWith(".service"));
  expect(units).toHaveLength(4);
  for (const unit of units) {
    const [, script = ""] = /(\S+\.(?:js|sh))\b/.exec(valuesOf(unit, "ExecStart")[0] ?? "") ?? [];
    const source = script.replace(/^dist\/(.*)\.js$/, "$1.ts").replace("/opt/conveyor/current/", "");
    expect([unit, existsSync(path.join(ROOT, source))]).toEqual([unit, true]);
  }
  loadConfig(PROCESSES.migrate, environmentOf("conveyor-migrate.service", ""));
});

test("the proxy notices in time that an API process is about to stop, and closes idle connections first", () => {
  const caddyfile = read("Caddyfile");
  const [, health = ""] = /health_uri (\S+)/.exec(caddyfile) ?? [];
  expect(healthRoutes.map((route) => route.path)).toContain(health);
  const interval = Number(/health_interval (\d+)ms/.exec(caddyfile)?.[1]);
  const timeout = 1_000 * Number(/health_timeout (\d+)s/.exec(caddyfile)?.[1]);
  expect(interval + timeout).toBeLessThan(Number(/SHUTDOWN_DELAY_MS=(\d+)/.exec(read("conveyor.env"))?.[1]));
  expect(Number(/keepalive (\d+)s/.exec(caddyfile)?.[1])).toBeLessThan(75);
});
