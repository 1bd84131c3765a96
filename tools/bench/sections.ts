import { grouped } from "../shared/text.ts";
import { GOALS, verdictOf } from "./ratios.ts";
import type { BenchReport, ResultOf } from "./report.ts";
import type { Spread } from "./statistics.ts";

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** What a comparison measured, for a terminal and for a page. */
export interface Section extends Table {
  readonly title: string;
  /** What was measured, and how; for a page. */
  readonly about: readonly string[];
  /** The names of its plots. */
  readonly plots: readonly string[];
  /** What the table can't tell. */
  readonly note?: string;
}

/** A section for each comparison that was measured. */
export function sectionsOf(report: BenchReport): Section[] {
  const { accept, drain, alone, outage, growth, scaling } = report;
  return [
    ...(accept ? [acceptSection(accept)] : []),
    ...(drain ? [drainSection(drain)] : []),
    ...(alone ? [aloneSection(alone)] : []),
    ...(outage ? [outageSection(outage)] : []),
    ...(growth ? [growthSection(growth)] : []),
    ...(scaling ? [scalingSection(scaling)] : []),
  ];
}

/** Every ratio, its goal, and whether that was reached. */
export function goalTable({ ratios, ratioSpreads }: BenchReport): Table {
  return {
    head: ["Ratio", "Measured", "Range", "Goal", "Aim", ""],
    rows: GOALS.map((goal) => {
      const { name, what, least, aim, isLess } = goal;
      const value = ratios[name];
      const spread = ratioSpreads[name];
      const bound = (limit?: number) =>
        limit === undefined ? "-" : `${isLess ? "at most" : "at least"} ${limit}`;
      return [
        what,
        value === null ? "-" : value.toFixed(2),
        spread ? `${spread.least.toFixed(2)} to ${spread.most.toFixed(2)}` : "-",
        bound(least),
        bound(aim),
        verdictOf(goal, value),
      ];
    }),
  };
}

function acceptSection({ rows }: ResultOf<"accept">): Section {
  return {
    title: "Accepting orders",
    about: [
      "`POST /orders` from clients that send their next order as soon as the last one is answered, while no worker runs. Bare Express parses the same JSON and answers 202 without placing an order. The synchronous shop processes the order before it answers.",
    ],
    plots: ["accept"],
    head: ["", "Connections", "Requests/s", "Range", "p50", "p99", "Refused", "Server CPU", "Client CPU"],
    rows: rows.map((row) => [
      row.name,
      String(row.connections),
      rounded(row.requestsPerSecond.median),
      range(row.requestsPerSecond),
      milliseconds(row.p50.median),
      milliseconds(row.p99.median),
      String(row.refused),
      row.serverCpu ? percent(row.serverCpu.median) : "",
      percent(row.clientCpu.median),
    ]),
    note: "CPU is a share of one core. Where the server is near 100 % and the clients are not, the server is the limit.",
  };
}

function drainSection({ before, rows }: ResultOf<"drain">): Section {
  return {
    title: "Draining a backlog",
    about: [
      "One worker process takes a backlog through all four stages, with providers that answer in the process and keep no books, until MySQL has every order as DELIVERED. Bare BullMQ has four queues whose jobs only add the next job, with the same settings and no database. The synchronous shop gets the same orders from 50 clients.",
      "“A job per stage” is `HAND_OVER=queue`. “HTTP providers” calls a payment provider and a carrier that are servers of their own; their CPU is not counted.",
    ],
    plots: ["drain", "drain-cpu"],
    head: ["", "Orders", "Orders/s", "Range", "Node CPU per order", "MySQL", "Redis"],
    rows: rows.map(({ name, orders, ordersPerSecond, cpu }) => [
      name,
      grouped(orders),
      rounded(ordersPerSecond.median),
      range(ordersPerSecond),
      ...(["node", "mysql", "redis"] as const).map((part) =>
        cpu ? `${cpu[part].median.toFixed(2)} ms` : "",
      ),
    ]),
    ...(before === undefined
      ? {}
      : {
          note: `“Conveyor before” is ${before}, built with its own script and measured in the same rounds.`,
        }),
  };
}

function aloneSection({ rows }: ResultOf<"alone">): Section {
  return {
    title: "A single order",
    about: [
      "The time from sending the request until MySQL has the order as DELIVERED, on an idle system; without a queue, until the answer. For bare BullMQ, it is the time until the last of its jobs is done. The systems take turns, order by order.",
    ],
    plots: ["alone"],
    head: ["", "p50", "Range", "p99"],
    rows: rows.map(({ name, p50, p99 }) => [
      name,
      milliseconds(p50.median),
      `${p50.least.toFixed(1)} to ${p50.most.toFixed(1)} ms`,
      milliseconds(p99.median),
    ]),
  };
}

function outageSection(found: ResultOf<"outage">): Section {
  const { perSecond, inventoryMs, probeMs, phases, sides, backlog, backlogGoneAfter } = found;
  const down = phases.find(({ phase }) => phase === "down");
  const waiting = backlog.map((count) => grouped(count)).join(", ");
  const seconds = backlogGoneAfter.map((each) => `${each.toFixed(1)} s`).join(", ");
  return {
    title: "While the inventory is down",
    about: [
      `${perSecond} orders per second, whether or not earlier ones were answered. The inventory is healthy, then takes ${inventoryMs} ms per call, then is down${down ? ` for ${down.to - down.from} seconds` : ""}, then back. Both shops get the same load at the same time.`,
    ],
    plots: ["outage"],
    head: ["", ...phases.map(({ phase }) => `p99 ${phase}`), "Failed while down", "Accepted", "Delivered"],
    rows: sides.map((side) =>
      [side.name].concat(
        side.phases.map(({ p99 }) => milliseconds(p99)),
        percent(side.phases.find(({ phase }) => phase === "down")?.failedShare ?? 0),
        grouped(side.accepted),
        grouped(side.delivered),
      ),
    ),
    note: `When the inventory was back, ${waiting} orders were waiting; all were delivered ${seconds} later, while new ones kept arriving. Workers probe the inventory every ${probeMs / 1_000} seconds.`,
  };
}

function growthSection({ rows, backlog }: ResultOf<"growth">): Section {
  return {
    title: "Growth",
    about: [
      "The same with growing numbers of delivered orders in the tables, each with its lines, events, reservation and charges.",
    ],
    plots: ["growth"],
    head: ["Orders in the table", "Accepted/s", "Range", "Processed/s", "Range"],
    rows: rows.map(({ orders, acceptPerSecond, drainPerSecond }) => [
      grouped(orders),
      rounded(acceptPerSecond.median),
      range(acceptPerSecond),
      rounded(drainPerSecond.median),
      range(drainPerSecond),
    ]),
    note: `With a backlog of ${grouped(backlog.orders)} orders, ${rounded(backlog.acceptPerSecond)} requests/s are accepted and ${rounded(backlog.drainPerSecond)} orders/s processed. A waiting order takes ${grouped(Math.round(backlog.redisBytesPerOrder))} bytes in Redis.`,
  };
}

function scalingSection({ providerMs, concurrency, rows }: ResultOf<"scaling">): Section {
  return {
    title: "Scaling",
    about: [
      `Providers take ${providerMs} ms, and each worker processes ${concurrency} orders per stage at a time, so that the providers are the limit and not this machine's CPU. The ideal is the throughput that the providers allow.`,
    ],
    plots: ["scaling"],
    head: ["Workers", "Orders/s", "Range", "Ideal", "Reached"],
    rows: rows.map(({ workers, ordersPerSecond, ideal }) => [
      String(workers),
      rounded(ordersPerSecond.median),
      range(ordersPerSecond),
      rounded(ideal),
      percent(ordersPerSecond.median / ideal),
    ]),
  };
}

function range({ least, most }: Spread): string {
  return `${rounded(least)} to ${rounded(most)}`;
}

/** A number as people read it: `1,234`, but `12.3`. */
export function rounded(value: number): string {
  return value < 100 ? value.toFixed(1) : grouped(Math.round(value));
}

function milliseconds(value: number): string {
  return `${value.toFixed(1)} ms`;
}

function percent(part: number): string {
  return `${(part * 100).toFixed(0)} %`;
}
