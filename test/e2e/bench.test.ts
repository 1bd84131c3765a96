import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, jest, test } from "@jest/globals";
import { benchReport } from "../../tools/bench/report.ts";
import { SIZES } from "../../tools/bench/sizes.ts";
import { ToolRun } from "../support/tool.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(300_000);

const SMOKE = SIZES.smoke;

const bench = new ToolRun("bench");

test("everything is run and counted, and told in numbers", async () => {
  const file = path.join(bench.folder, "report.json");
  // The current commit, which the bench checks out, builds and measures like any earlier version.
  const { code } = await bench.start("--smoke", "--json", file, "--against", "HEAD").exited;
  const output = bench.lines.join("\n");
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
  const running = bench.start("--only", "drain");
  await waitFor("servers and processes", () => bench.left().some((each) => each.includes("/code/")));
  running.kill("SIGINT");
  expect(await running.exited).toEqual({ code: 130, signal: null });
  await waitFor("all processes to be gone", () => bench.left().length === 0);
  expect(readdirSync(bench.folder).filter((name) => name.startsWith("conveyor-"))).toEqual([]);
});
