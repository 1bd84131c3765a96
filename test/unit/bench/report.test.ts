import { describe, expect, test } from "@jest/globals";
import { figures } from "../../../tools/bench/figures.ts";
import { pageOf } from "../../../tools/bench/page.ts";
import { GOALS, ratiosOf, verdictOf } from "../../../tools/bench/ratios.ts";
import { benchReport, type BenchReport, type Results } from "../../../tools/bench/report.ts";
import { spreadOf } from "../../../tools/bench/statistics.ts";
import { renderReport } from "../../../tools/bench/table.ts";
import { NAMES } from "../../../tools/bench/variants.ts";

const accepted = (name: string, connections: number, rates: number[]) => ({
  name,
  connections,
  requestsPerSecond: spreadOf(rates),
  p50: spreadOf([1]),
  p99: spreadOf([2]),
  refused: 0,
  serverCpu: null,
  clientCpu: spreadOf([0.2]),
});
const drained = (name: string, rates: number[], node = 1) => ({
  name,
  orders: 100,
  ordersPerSecond: spreadOf(rates),
  cpu: { node: spreadOf([node, node]), mysql: spreadOf([0.5, 0.75]), redis: spreadOf([0.25, 0]) },
});
const alone = (name: string, times: number[]) => ({
  name,
  orders: 10,
  p50: spreadOf(times),
  p99: spreadOf(times),
});
const side = (name: string) => ({
  name,
  seconds: [{ second: 0, sent: 10, failed: 1, p50: 1, p99: 2 }],
  phases: ["healthy", "down"].map((phase) => ({ phase, p50: 1, p99: 2, failedShare: 0.1 })),
  accepted: 9,
  delivered: 9,
});

const RESULTS: Results = {
  accept: {
    seconds: 5,
    rows: [
      accepted(NAMES.express, 1, [100]),
      accepted(NAMES.express, 200, [4_000, 4_400]),
      accepted(NAMES.conveyor, 1, [99]),
      accepted(NAMES.conveyor, 200, [2_000, 3_300]),
      accepted(NAMES.oneTransaction, 200, [1_000, 1_100]),
      accepted(NAMES.sync, 200, [200, 300]),
    ],
  },
  drain: {
    before: "v1 (0123abc)",
    rows: [
      drained(NAMES.bullmq, [2_000, 2_000]),
      drained(NAMES.conveyor, [1_000, 1_600]),
      drained(NAMES.before, [700, 700], 2.75),
      drained(NAMES.queued, [900, 900]),
      drained(NAMES.oneTransaction, [250, 250]),
      drained(NAMES.sync, [200, 400]),
      drained(NAMES.syncGrouped, [400, 400]),
    ],
  },
  alone: { rows: [alone(NAMES.bullmq, [5, 5]), alone(NAMES.conveyor, [10, 12])] },
  outage: {
    perSecond: 100,
    inventoryMs: 200,
    probeMs: 5_000,
    phases: [
      { phase: "healthy", from: 0, to: 10 },
      { phase: "down", from: 10, to: 30 },
    ],
    sides: [side(NAMES.conveyor), side(NAMES.sync)],
    backlogGoneAfter: [6],
    backlog: [2_000],
    p99WhileDownToHealthy: spreadOf([1.2]),
  },
  growth: {
    rows: [10_000, 1_000_000].map((orders, index) => ({
      orders,
      acceptPerSecond: spreadOf([2_000, 2_000]),
      drainPerSecond: spreadOf([1_000 - index * 100, 1_000]),
    })),
    backlog: { orders: 100_000, acceptPerSecond: 2_000, drainPerSecond: 1_000, redisBytesPerOrder: 900.4 },
  },
  scaling: {
    providerMs: 100,
    concurrency: 5,
    rows: [
      { workers: 1, ordersPerSecond: spreadOf([40, 50]), ideal: 50 },
      { workers: 4, ordersPerSecond: spreadOf([160, 180]), ideal: 200 },
    ],
  },
};

function reportOf(results: Results): BenchReport {
  return {
    version: 1,
    startedAt: "2026-11-23T08:00:00.000Z",
    lasted: 1_800,
    size: "full",
    machine: {
      cpu: "a CPU",
      cores: 2,
      memoryBytes: 2 ** 34,
      system: "Linux 6",
      node: "20.20.2",
      mysql: "MariaDB 10.11.19",
      redis: "Redis 7.0.15",
      express: "5.3.0",
      bullmq: "6.7.0",
    },
    ...results,
    ...ratiosOf(results),
    skipped: [],
  };
}

describe("the ratios", () => {
  test("are those of the repeats, at the connections at which they are judged", () => {
    const { ratios, ratioSpreads } = ratiosOf(RESULTS);
    expect(ratios).toEqual({
      acceptToBareExpress: 0.625,
      acceptToOneTransaction: 2.5,
      acceptToSync: 10.5,
      drainToBareBullmq: 0.65,
      drainToOneTransaction: 5.2,
      drainToSync: 4.5,
      aloneToBareChain: 2.2,
      outageP99: 1.2,
      growthDrain: 0.95,
      scaling: 0.95,
      cpuToBefore: 0.5,
    });
    expect(ratioSpreads.drainToSync).toEqual({ median: 4.5, least: 4, most: 5, values: [5, 4] });
  });

  test("are null where nothing was measured", () => {
    const { ratios, ratioSpreads } = ratiosOf({});
    expect(Object.values(ratios)).toEqual(GOALS.map(() => null));
    expect(ratioSpreads).toEqual({});
  });

  test.each([
    [0.54, "missed"],
    [0.55, "reached"],
    [0.7, "aim reached"],
    [null, "not measured"],
  ])("of which more is better: %d is %s", (value, verdict) => {
    expect(verdictOf({ name: "acceptToBareExpress", what: "", least: 0.55, aim: 0.7 }, value)).toBe(verdict);
  });

  test("without a goal are only told", () => {
    expect(verdictOf({ name: "acceptToSync", what: "" }, 9)).toBe("no goal");
  });

  test.each([
    [3.1, "missed"],
    [3, "reached"],
    [2, "aim reached"],
  ])("of which less is better: %d is %s", (value, verdict) => {
    const goal = { name: "aloneToBareChain", what: "", least: 3, aim: 2, isLess: true } as const;
    expect(verdictOf(goal, value)).toBe(verdict);
  });
});

describe("a report", () => {
  const report = reportOf(RESULTS);

  test("is what the schema of the JSON says, and comes back from it", () => {
    expect(benchReport.parse(JSON.parse(JSON.stringify(report)))).toEqual(report);
  });

  test("tells every goal with what became of it", () => {
    const lines = renderReport(report);
    for (const { what } of GOALS) expect(lines.filter((line) => line.includes(what))).toHaveLength(1);
    expect(lines.find((line) => line.includes("bare Express ") && line.includes("0.63"))).toContain(
      "reached",
    );
    expect(lines.join("\n")).toMatch(/scaling|workers/);
    expect(lines.join("\n")).toContain("“Conveyor before” is v1 (0123abc)");
  });

  test("makes a page with a section, a plot and numbers for each comparison", () => {
    const plots = figures(report);
    const page = pageOf(report, plots);
    expect(plots.map(({ name }) => name)).toEqual([
      "accept",
      "drain",
      "drain-cpu",
      "alone",
      "outage",
      "growth",
      "scaling",
    ]);
    for (const { name, title, svg } of plots) {
      expect(page).toContain(`![${title}](benchmarks/${name}.svg)`);
      expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    }
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
    expect(page).toContain("900 bytes in Redis");
    expect(page).toContain("“Conveyor before” is v1 (0123abc)");
    expect(page).toContain(
      "| drain / synchronous, same orders | 4.50 | 4.00 to 5.00 | at least 4 | at least 6 | reached |",
    );
  });

  test("makes a page of what was measured, and no more", () => {
    const part = reportOf({ alone: RESULTS.alone });
    const page = pageOf({ ...part, size: "quick", skipped: ["synchronous: not there"] }, figures(part));
    expect([...page.matchAll(/^## (.*)$/gm)].map(([, title]) => title)).toEqual([
      "Summary",
      "A single order",
      "Skipped",
    ]);
    expect(page).toContain("A quick run");
    expect(page).toContain("- synchronous: not there");
  });
});
