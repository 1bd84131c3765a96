import { table } from "../shared/table.ts";
import { GOALS, verdictOf } from "./ratios.ts";
import type { BenchReport } from "./report.ts";
import type { Spread } from "./statistics.ts";
import { NAMES } from "./variants.ts";

/** Renders the report; the goals come last. */
export function renderReport(report: BenchReport): string[] {
  return [
    titleOf(report),
    ...section("Accept: POST /orders", acceptLines(report)),
    ...section("Drain: a backlog through all stages", drainLines(report)),
    ...section("Alone: POST to DELIVERED", aloneLines(report)),
    ...section("Outage: steady load while the inventory is slow, down, and back", outageLines(report)),
    ...section("Growth: by orders in the table", growthLines(report)),
    ...section("Scaling: workers with slow providers", scalingLines(report)),
    ...section("Skipped", report.skipped),
    ...section("Goals", goalLines(report)),
  ];
}

function titleOf({ size, machine, lasted }: BenchReport): string {
  const { cpu, cores, node, mysql, redis, express, bullmq } = machine;
  return `${size} run in ${lasted.toFixed(0)} s on ${cores} cores of ${cpu}: ${mysql}, ${redis}, Node ${node}, Express ${express}, BullMQ ${bullmq}`;
}

function acceptLines({ accept }: BenchReport): string[] {
  if (!accept) return [];
  return table(
    ["", "connections", "requests/s", "range", "p50 ms", "p99 ms", "refused", "server CPU", "client CPU"],
    accept.rows.map((row) => [
      row.name,
      String(row.connections),
      rounded(row.requestsPerSecond.median),
      range(row.requestsPerSecond),
      row.p50.median.toFixed(1),
      row.p99.median.toFixed(1),
      String(row.refused),
      row.serverCpu ? percent(row.serverCpu) : "?",
      percent(row.clientCpu),
    ]),
  );
}

function drainLines({ drain }: BenchReport): string[] {
  if (!drain) return [];
  const lines = table(
    ["", "orders", "orders/s", "range", "Node ms", "MySQL ms", "Redis ms"],
    drain.rows.map(({ name, orders, ordersPerSecond, cpu }) => [
      name,
      String(orders),
      rounded(ordersPerSecond.median),
      range(ordersPerSecond),
      ...(["node", "mysql", "redis"] as const).map((part) => cpu?.[part].median.toFixed(2) ?? "?"),
    ]),
  );
  return drain.before === undefined ? lines : [...lines, `${NAMES.before}: ${drain.before}`];
}

function aloneLines({ alone }: BenchReport): string[] {
  if (!alone) return [];
  return table(
    ["", "orders", "p50 ms", "range", "p99 ms"],
    alone.rows.map(({ name, orders, p50, p99 }) => [
      name,
      String(orders),
      p50.median.toFixed(1),
      `${p50.least.toFixed(1)}-${p50.most.toFixed(1)}`,
      p99.median.toFixed(1),
    ]),
  );
}

function outageLines({ outage }: BenchReport): string[] {
  if (!outage) return [];
  const rows = outage.sides.flatMap(({ name, phases }) =>
    phases.map(({ phase, p50, p99, failedShare }) => [
      name,
      phase,
      p50.toFixed(1),
      p99.toFixed(1),
      `${(failedShare * 100).toFixed(1)} %`,
    ]),
  );
  const drained = outage.backlogGoneAfter.map((seconds) => `${seconds.toFixed(1)} s`).join(", ");
  return [
    ...table(["", "inventory", "p50 ms", "p99 ms", "failed"], rows),
    ...outage.sides.map(
      ({ name, accepted, delivered }) => `${name}: ${accepted} accepted, ${delivered} delivered`,
    ),
    `a backlog of ${outage.backlog.join(", ")} orders, drained after ${drained}`,
  ];
}

function growthLines({ growth }: BenchReport): string[] {
  if (!growth) return [];
  const { rows, backlog } = growth;
  return [
    ...table(
      ["orders", "in/s", "range", "out/s", "range"],
      rows.map(({ orders, acceptPerSecond, drainPerSecond }) => [
        String(orders),
        rounded(acceptPerSecond.median),
        range(acceptPerSecond),
        rounded(drainPerSecond.median),
        range(drainPerSecond),
      ]),
    ),
    `with ${backlog.orders} waiting: ${rounded(backlog.acceptPerSecond)}/s in, ${rounded(backlog.drainPerSecond)}/s out, ` +
      `${backlog.redisBytesPerOrder.toFixed(0)} bytes of Redis per order`,
  ];
}

function scalingLines({ scaling }: BenchReport): string[] {
  if (!scaling) return [];
  return table(
    ["workers", "orders/s", "range", "ideal"],
    scaling.rows.map(({ workers, ordersPerSecond, ideal }) => [
      String(workers),
      rounded(ordersPerSecond.median),
      range(ordersPerSecond),
      rounded(ideal),
    ]),
  );
}

function goalLines({ ratios, ratioSpreads }: BenchReport): string[] {
  return table(
    ["", "ratio", "range", "goal", "aim", ""],
    GOALS.map((goal) => {
      const value = ratios[goal.name];
      const spread = ratioSpreads[goal.name];
      const bound = (limit?: number) => (limit === undefined ? "-" : `${goal.isLess ? "<=" : ">="} ${limit}`);
      return [
        goal.what,
        value === null ? "-" : value.toFixed(2),
        spread ? `${spread.least.toFixed(2)}-${spread.most.toFixed(2)}` : "-",
        bound(goal.least),
        bound(goal.aim),
        verdictOf(goal, value),
      ];
    }),
  );
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${line}`)];
}

function range({ least, most }: Spread): string {
  return `${rounded(least)}-${rounded(most)}`;
}

function rounded(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0);
}

function percent({ median }: Spread): string {
  return `${(median * 100).toFixed(0)} %`;
}
