import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { grouped } from "../shared/text.ts";
import { PROJECT_FOLDER } from "../launcher/local-folder.ts";
import { figures, type Figure } from "./figures.ts";
import { GOALS, verdictOf } from "./ratios.ts";
import type { BenchReport } from "./report.ts";
import type { Spread } from "./statistics.ts";

const DOCS = path.join(PROJECT_FOLDER, "docs");
const PAGE = "benchmarks.md";
const PLOTS = "benchmarks";

/**
 * Writes docs/benchmarks.md and its plots, replacing earlier ones. @returns the files, relative to the
 * project's folder
 */
export async function writePage(report: BenchReport): Promise<string[]> {
  const plots = figures(report);
  const folder = path.join(DOCS, PLOTS);
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder)) if (name.endsWith(".svg")) rmSync(path.join(folder, name));
  for (const { name, svg } of plots) writeFileSync(path.join(folder, `${name}.svg`), svg);
  const file = path.join(DOCS, PAGE);
  // A development dependency, loaded only when needed.
  const { format, resolveConfig } = await import("prettier");
  const options = { ...(await resolveConfig(file)), filepath: file };
  writeFileSync(file, await format(pageOf(report, plots), options));
  return [`docs/${PAGE}`, ...plots.map(({ name }) => `docs/${PLOTS}/${name}.svg`)];
}

/** Renders the page as Markdown. */
export function pageOf(report: BenchReport, plots: readonly Figure[]): string {
  return [
    "# Benchmarks",
    "`npm run bench -- --write-docs` wrote this page. Run it to measure your own machine.",
    ...introduction(report),
    ...goals(report),
    ...accept(report),
    ...drain(report),
    ...alone(report),
    ...outage(report),
    ...growth(report),
    ...scaling(report),
    ...(report.skipped.length === 0 ? [] : ["## Skipped", ...report.skipped.map((line) => `- ${line}`)]),
  ]
    .map((part) => part.replace(/^!\[(.*)\]$/, (_all, name: string) => image(name, plots)))
    .filter((part) => part !== "")
    .join("\n\n");
}

function introduction({ size, startedAt, machine, lasted }: BenchReport): string[] {
  const { cpu, cores, memoryBytes, system, node, mysql, redis, express, bullmq } = machine;
  return [
    ...(size === "full"
      ? []
      : [`**A ${size} run: too short for reliable numbers.** \`npm run bench\` does a full run.`]),
    `Measured on ${startedAt.slice(0, 10)} in ${Math.max(1, Math.round(lasted / 60))} minutes, on ${cores} cores (${cpu}) and ${Math.round(memoryBytes / 2 ** 30)} GiB of memory, ${system}, with ${mysql}, ${redis}, Node ${node}, Express ${express} and BullMQ ${bullmq}. Servers, service and load generator share the machine.`,
    [
      "- MySQL is fully durable: every commit waits for the disk (`innodb_flush_log_at_trx_commit=1`). Redis appends to its file (`appendonly yes`).",
      "- Everything is enabled: validation, API keys, idempotency keys, events, logs to a file (`LOG_LEVEL=info`).",
      "- The systems take turns in one run, after a warm-up. Each figure is the median of the repeats, with minimum and maximum; each ratio is the median over pairs measured next to each other.",
      "- Orders have 1 to 8 lines out of 1,000 SKUs, an address and a card. One hot SKU makes up 5 % of the lines, and four more share another 5 %.",
      "- After each measurement the orders are counted in MySQL: accepted orders must exist, and processed ones must be delivered.",
    ].join("\n"),
  ];
}

function goals({ ratios, ratioSpreads }: BenchReport): string[] {
  return [
    "## Summary",
    tableOf(
      ["Ratio", "Measured", "Goal", "Aim", ""],
      GOALS.map((goal) => {
        const value = ratios[goal.name];
        const spread = ratioSpreads[goal.name];
        const bound = (limit?: number) =>
          limit === undefined ? "-" : `${goal.isLess ? "at most" : "at least"} ${limit}`;
        return [
          goal.what,
          value === null
            ? "-"
            : `**${value.toFixed(2)}**${spread ? ` (${spread.least.toFixed(2)} to ${spread.most.toFixed(2)})` : ""}`,
          bound(goal.least),
          bound(goal.aim),
          verdictOf(goal, value),
        ];
      }),
    ),
  ];
}

function accept({ accept: found }: BenchReport): string[] {
  if (!found) return [];
  return [
    "## Accepting orders",
    "`POST /orders` from clients that send their next order as soon as the last one is answered, while no worker runs. Bare Express parses the same JSON and answers 202 without placing an order. The synchronous shop processes the order before it answers.",
    "![accept]",
    tableOf(
      ["", "Connections", "Requests/s", "Range", "p50", "p99", "Server CPU", "Client CPU"],
      found.rows.map((row) => [
        row.name,
        String(row.connections),
        rounded(row.requestsPerSecond.median),
        range(row.requestsPerSecond),
        milliseconds(row.p50.median),
        milliseconds(row.p99.median),
        row.serverCpu ? percent(row.serverCpu.median) : "",
        percent(row.clientCpu.median),
      ]),
    ),
    "CPU is a share of one core. Where the server is near 100 % and the clients are not, the server is the limit.",
  ];
}

function drain({ drain: found }: BenchReport): string[] {
  if (!found) return [];
  return [
    "## Draining a backlog",
    "One worker process takes a backlog through all four stages, with providers that answer at once, until MySQL has every order as DELIVERED. Bare BullMQ has four queues whose jobs only add the next job, with the same settings and no database. “A job per stage” is `HAND_OVER=queue`. The synchronous shop gets the same orders from 50 clients.",
    found.before === undefined
      ? ""
      : `“Conveyor before” is ${found.before}, built with its own script and measured in the same rounds.`,
    "![drain]",
    "![drain-cpu]",
    tableOf(
      ["", "Orders", "Orders/s", "Range", "Node CPU per order", "MySQL", "Redis"],
      found.rows.map(({ name, orders, ordersPerSecond, cpu }) => [
        name,
        grouped(orders),
        rounded(ordersPerSecond.median),
        range(ordersPerSecond),
        ...(["node", "mysql", "redis"] as const).map((part) =>
          cpu ? `${cpu[part].median.toFixed(2)} ms` : "",
        ),
      ]),
    ),
  ];
}

function alone({ alone: found }: BenchReport): string[] {
  if (!found) return [];
  return [
    "## A single order",
    "The time from sending the request until MySQL has the order as DELIVERED, on an idle system; without a queue, until the answer. For bare BullMQ, it is the time until the last of its jobs is done. The systems take turns, order by order.",
    "![alone]",
    tableOf(
      ["", "p50", "Range", "p99"],
      found.rows.map(({ name, p50, p99 }) => [
        name,
        milliseconds(p50.median),
        `${p50.least.toFixed(1)} to ${p50.most.toFixed(1)} ms`,
        milliseconds(p99.median),
      ]),
    ),
  ];
}

function outage({ outage: found }: BenchReport): string[] {
  if (!found) return [];
  const { perSecond, inventoryMs, probeMs, phases, sides, backlog, backlogGoneAfter } = found;
  const down = phases.find(({ phase }) => phase === "down");
  return [
    "## While the inventory is down",
    `${perSecond} orders per second, whether or not earlier ones were answered. The inventory is healthy, then takes ${inventoryMs} ms per call, then is down${down ? ` for ${down.to - down.from} seconds` : ""}, then back. Both shops get the same load at the same time.`,
    "![outage]",
    tableOf(
      ["", ...phases.map(({ phase }) => `p99 ${phase}`), "Failed while down", "Accepted", "Delivered"],
      sides.map((side) =>
        [side.name].concat(
          side.phases.map(({ p99 }) => milliseconds(p99)),
          percent(side.phases.find(({ phase }) => phase === "down")?.failedShare ?? 0),
          grouped(side.accepted),
          grouped(side.delivered),
        ),
      ),
    ),
    `When the inventory was back, ${backlog.map((count) => grouped(count)).join(", ")} orders were waiting; all were delivered ${backlogGoneAfter.map((seconds) => `${seconds.toFixed(1)} s`).join(", ")} later, while new ones kept arriving. Workers probe the inventory every ${probeMs / 1_000} seconds.`,
  ];
}

function growth({ growth: found }: BenchReport): string[] {
  if (!found) return [];
  const { rows, backlog } = found;
  return [
    "## Growth",
    "The same with growing numbers of delivered orders in the tables, each with its lines, events, reservation and charges.",
    "![growth]",
    tableOf(
      ["Orders in the table", "Accepted/s", "Range", "Processed/s", "Range"],
      rows.map(({ orders, acceptPerSecond, drainPerSecond }) => [
        grouped(orders),
        rounded(acceptPerSecond.median),
        range(acceptPerSecond),
        rounded(drainPerSecond.median),
        range(drainPerSecond),
      ]),
    ),
    `With a backlog of ${grouped(backlog.orders)} orders, ${rounded(backlog.acceptPerSecond)} requests/s are accepted and ${rounded(backlog.drainPerSecond)} orders/s processed. A waiting order takes ${grouped(Math.round(backlog.redisBytesPerOrder))} bytes in Redis.`,
  ];
}

function scaling({ scaling: found }: BenchReport): string[] {
  if (!found) return [];
  const { providerMs, concurrency, rows } = found;
  return [
    "## Scaling",
    `Providers take ${providerMs} ms, and each worker processes ${concurrency} orders per stage at a time, so that the providers are the limit and not this machine's CPU. The ideal is the throughput that the providers allow.`,
    "![scaling]",
    tableOf(
      ["Workers", "Orders/s", "Range", "Ideal", "Reached"],
      rows.map(({ workers, ordersPerSecond, ideal }) => [
        String(workers),
        rounded(ordersPerSecond.median),
        range(ordersPerSecond),
        rounded(ideal),
        percent(ordersPerSecond.median / ideal),
      ]),
    ),
  ];
}

function image(name: string, plots: readonly Figure[]): string {
  const plot = plots.find((each) => each.name === name);
  return plot ? `![${plot.title}](${PLOTS}/${name}.svg)` : "";
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lineOf = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [lineOf(head), lineOf(head.map(() => "---")), ...rows.map(lineOf)].join("\n");
}

function range({ least, most }: Spread): string {
  return `${rounded(least)} to ${rounded(most)}`;
}

function rounded(value: number): string {
  return value < 100 ? value.toFixed(1) : grouped(Math.round(value));
}

function milliseconds(value: number): string {
  return `${value.toFixed(1)} ms`;
}

function percent(part: number): string {
  return `${(part * 100).toFixed(0)} %`;
}
