import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { benchReport } from "../../tools/bench/report.ts";
import { SIZES } from "../../tools/bench/sizes.ts";
import { spawnGuarded, type GuardedProcess } from "../../tools/launcher/guard.ts";
import { endWithJest } from "../support/end-with-jest.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(300_000);

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
const SMOKE = SIZES.smoke;

let folder: string;
let command: GuardedProcess | undefined;
let lines: string[];

beforeEach(() => {
  // Short, and without spaces: sockets lie in it.
  folder = mkdtempSync("/tmp/bench-");
  lines = [];
});
afterEach(async () => {
  await command?.stop(30_000);
  rmSync(folder, { recursive: true });
});

/** `npm run bench`; all that its servers and processes write lies in the test's folder. */
function bench(...args: string[]): GuardedProcess {
  endWithJest();
  command = spawnGuarded(process.execPath, ["--import", "tsx", "tools/bench/main.ts", ...args], {
    cwd: REPOSITORY,
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], TMPDIR: folder },
    onLine: (line) => lines.push(line),
  });
  return command;
}

/** Processes that have the command's folder open, or its code. Linux only. */
function leftOf(pid: number): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const started = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
        return started.includes(folder) || started.includes(`-${pid}/code/`) ? [started] : [];
      } catch {
        return [];
      }
    });
}

test("everything is run and counted, and told in numbers", async () => {
  const file = path.join(folder, "report.json");
  // The current commit, which the bench checks out, builds and measures like any earlier version.
  const { code } = await bench("--smoke", "--json", file, "--against", "HEAD").exited;
  const output = lines.join("\n");
  // Orders that are missing or not delivered end it with 1.
  expect([code, output]).toEqual([0, expect.stringContaining("Goals")]);
  const report = benchReport.parse(JSON.parse(readFileSync(file, "utf8")));
  for (const [name, ratio] of Object.entries(report.ratios))
    expect([name, ratio]).toEqual([name, expect.any(Number)]);
  const { accept, drain, alone, outage, growth, scaling } = report;
  for (const row of accept?.rows ?? []) expect(row.refused).toBe(0);
  // Not of every row: on a busy machine so short a time may pass without an answer.
  expect(accept?.rows.some(({ requestsPerSecond }) => requestsPerSecond.most > 0)).toBe(true);
  expect(new Set(accept?.rows.map(({ connections }) => connections))).toEqual(
    new Set(SMOKE.accept.connections),
  );
  expect(drain?.rows.map(({ name, orders }) => [name, orders])).toEqual([
    ["bare BullMQ", SMOKE.drain.orders],
    ["Conveyor", SMOKE.drain.orders],
    ["Conveyor before", SMOKE.drain.orders],
    ["Conveyor, a job per stage", SMOKE.drain.orders],
    ["Conveyor, HTTP providers", SMOKE.drain.orders],
    ["one transaction each", SMOKE.drain.slowOrders],
    ["synchronous", SMOKE.drain.slowOrders],
    ["synchronous, group commit", SMOKE.drain.slowOrders],
  ]);
  expect(alone?.rows.length).toBeGreaterThanOrEqual(2);
  const [conveyor] = outage?.sides ?? [];
  expect(conveyor?.accepted).toBeGreaterThan(0);
  expect(conveyor?.delivered).toBe(conveyor?.accepted);
  expect(outage?.backlog[0]).toBeGreaterThan(0);
  expect(growth?.rows.map(({ orders }) => orders)).toEqual(SMOKE.growth.orders);
  expect(growth?.backlog.redisBytesPerOrder).toBeGreaterThan(100);
  expect(scaling?.rows.map(({ workers }) => workers)).toEqual(SMOKE.scaling.workers);
});

test("Ctrl-C ends it with all that it has started", async () => {
  const running = bench("--only", "drain");
  await waitFor("servers and processes", () => leftOf(running.pid).some((each) => each.includes("/code/")));
  running.kill("SIGINT");
  expect(await running.exited).toEqual({ code: 130, signal: null });
  await waitFor("all processes to be gone", () => leftOf(running.pid).length === 0);
  expect(readdirSync(folder).filter((name) => name.startsWith("conveyor-"))).toEqual([]);
});
