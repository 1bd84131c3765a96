import { grouped } from "../shared/text.ts";
import { barChart, type Bar } from "./plots/bars.ts";
import { curveChart, type Curve } from "./plots/curves.ts";
import { linear, logarithmic } from "./plots/scale.ts";
import type { Color } from "./plots/svg.ts";
import type { BenchReport, OutageSide } from "./report.ts";
import { rounded } from "./sections.ts";
import type { Spread } from "./statistics.ts";
import { NAMES } from "./variants.ts";

/** A plot of a report. */
export interface Figure {
  /** Also the name of its file. */
  readonly name: string;
  readonly title: string;
  readonly svg: string;
}

const COLORS: Readonly<Record<string, Color>> = {
  [NAMES.conveyor]: "conveyor",
  [NAMES.queued]: "conveyor",
  [NAMES.overHttp]: "conveyor",
  [NAMES.express]: "bare",
  [NAMES.bullmq]: "bare",
  [NAMES.oneTransaction]: "single",
  [NAMES.sync]: "sync",
  [NAMES.syncGrouped]: "grouped",
};

/** The plots of a report. */
export function figures(report: BenchReport): Figure[] {
  return [
    ...accept(report),
    ...drain(report),
    ...alone(report),
    ...outage(report),
    ...growth(report),
    ...scaling(report),
  ];
}

function accept({ accept: found }: BenchReport): Figure[] {
  if (!found) return [];
  const title = "Orders accepted per second";
  const connections = [...new Set(found.rows.map((row) => row.connections))];
  const groups = connections.map((count) => ({
    label: `${count} ${count === 1 ? "connection" : "connections"}`,
    bars: found.rows
      .filter((row) => row.connections === count)
      .map(({ name, requestsPerSecond }) => rateBar(name, requestsPerSecond)),
  }));
  return [
    {
      name: "accept",
      title,
      svg: barChart({ title, description: describe(groups), unit: "requests/s", groups }),
    },
  ];
}

function drain({ drain: found }: BenchReport): Figure[] {
  if (!found) return [];
  const rates = {
    name: "drain",
    title: "Orders processed per second",
    groups: [{ bars: found.rows.map(({ name, ordersPerSecond }) => rateBar(name, ordersPerSecond)) }],
  };
  const costs = {
    name: "drain-cpu",
    title: "CPU per order",
    groups: [
      {
        bars: found.rows.flatMap(({ name, cpu }): Bar[] => {
          if (!cpu) return [];
          const parts = [
            { color: "conveyor", value: cpu.node.median },
            { color: "mysql", value: cpu.mysql.median },
            { color: "redis", value: cpu.redis.median },
          ] as const;
          const sum = parts.reduce((total, { value }) => total + value, 0);
          return [{ label: name, parts, value: `${sum.toFixed(2)} ms` }];
        }),
      },
    ],
    legend: [
      { color: "conveyor", label: "Node" },
      { color: "mysql", label: "MySQL" },
      { color: "redis", label: "Redis" },
    ] as const,
  };
  return [
    { ...rates, svg: barChart({ ...rates, description: describe(rates.groups), unit: "orders/s" }) },
    ...(costs.groups.some(({ bars }) => bars.length > 0)
      ? [{ ...costs, svg: barChart({ ...costs, description: describe(costs.groups), unit: "ms" }) }]
      : []),
  ];
}

function alone({ alone: found }: BenchReport): Figure[] {
  if (!found) return [];
  const title = "Time to deliver a single order";
  const groups = [
    {
      bars: found.rows.map(({ name, p50 }): Bar => ({
        label: name,
        parts: [{ color: colorOf(name), value: p50.median }],
        value: `${p50.median.toFixed(1)} ms`,
        spread: [p50.least, p50.most],
      })),
    },
  ];
  return [
    { name: "alone", title, svg: barChart({ title, description: describe(groups), unit: "ms", groups }) },
  ];
}

function outage({ outage: found }: BenchReport): Figure[] {
  if (!found) return [];
  const title = "What clients notice while the inventory is slow and down";
  const curves = (value: (second: OutageSide["seconds"][number]) => number | null): Curve[] =>
    found.sides.map(({ name, seconds }) => ({
      label: name,
      color: colorOf(name),
      points: seconds.flatMap((each): (readonly [number, number])[] => {
        const y = value(each);
        return y === null ? [] : [[each.second + 0.5, y]];
      }),
    }));
  const times = curves(({ p99 }) => p99);
  const most = Math.max(10, ...times.flatMap(({ points }) => points.map(([, y]) => y)));
  const end = found.phases.at(-1)?.to ?? 0;
  const description = found.sides
    .map(
      ({ name, phases }) =>
        `${name}: ${phases.map(({ phase, p99, failedShare }) => `${phase} p99 ${p99.toFixed(0)} ms, ${(failedShare * 100).toFixed(0)} % failed`).join("; ")}.`,
    )
    .join(" ");
  return [
    {
      name: "outage",
      title,
      svg: curveChart({
        title,
        description,
        unit: "seconds",
        scale: (span) => linear(end, span),
        spans: found.phases.map(({ phase, from, to }) => ({ label: phase, from, to })),
        panels: [
          {
            unit: "p99 of POST /orders, ms",
            height: 170,
            scale: (span) => logarithmic([1, most], span),
            curves: times,
          },
          {
            unit: "failed, %",
            height: 90,
            scale: (span) => linear(100, span),
            curves: curves(({ sent, failed }) => (sent === 0 ? null : (failed / sent) * 100)),
          },
        ],
      }),
    },
  ];
}

function growth({ growth: found }: BenchReport): Figure[] {
  if (!found) return [];
  const title = "Orders per second, by orders in the table";
  const counts = found.rows.map(({ orders }) => orders);
  const most = Math.max(
    ...found.rows.flatMap((row) => [row.acceptPerSecond.median, row.drainPerSecond.median]),
  );
  const description = found.rows
    .map(
      ({ orders, acceptPerSecond, drainPerSecond }) =>
        `${grouped(orders)} orders: ${rounded(acceptPerSecond.median)} in, ${rounded(drainPerSecond.median)} out.`,
    )
    .join(" ");
  return [
    {
      name: "growth",
      title,
      svg: curveChart({
        title,
        description,
        unit: "orders in the table",
        scale: (span) => logarithmic([Math.min(...counts), Math.max(...counts)], span),
        panels: [
          {
            unit: "orders/s",
            height: 200,
            scale: (span) => linear(most, span),
            curves: [
              {
                label: "accepted",
                color: "grouped",
                points: found.rows.map((row) => [row.orders, row.acceptPerSecond.median]),
                hasDots: true,
              },
              {
                label: "processed",
                color: "conveyor",
                points: found.rows.map((row) => [row.orders, row.drainPerSecond.median]),
                hasDots: true,
              },
            ],
          },
        ],
      }),
    },
  ];
}

function scaling({ scaling: found }: BenchReport): Figure[] {
  if (!found) return [];
  const title = "Orders per second, by workers";
  const workers = found.rows.map((row) => row.workers);
  const most = Math.max(...found.rows.map((row) => Math.max(row.ideal, row.ordersPerSecond.median)));
  const description = found.rows
    .map((row) => `${row.workers}: ${rounded(row.ordersPerSecond.median)} of ${rounded(row.ideal)}.`)
    .join(" ");
  return [
    {
      name: "scaling",
      title,
      svg: curveChart({
        title,
        description,
        unit: "workers",
        scale: ([from, to]) => {
          const end = Math.max(...workers);
          return { place: (value) => from + ((to - from) * value) / end, ticks: [0, ...workers] };
        },
        panels: [
          {
            unit: "orders/s",
            height: 200,
            scale: (span) => linear(most, span),
            curves: [
              {
                label: "ideal",
                color: "bare",
                points: [[0, 0], ...found.rows.map((row) => [row.workers, row.ideal] as const)],
                isIdeal: true,
              },
              {
                label: "measured",
                color: "conveyor",
                points: found.rows.map((row) => [row.workers, row.ordersPerSecond.median]),
                hasDots: true,
              },
            ],
          },
        ],
      }),
    },
  ];
}

function rateBar(name: string, { median, least, most }: Spread): Bar {
  return {
    label: name,
    parts: [{ color: colorOf(name), value: median }],
    value: rounded(median),
    spread: [least, most],
  };
}

function colorOf(name: string): Color {
  return COLORS[name] ?? "bare";
}

function describe(groups: readonly { readonly label?: string; readonly bars: readonly Bar[] }[]): string {
  return groups
    .map(({ label, bars }) => {
      const values = bars.map((each) => `${each.label} ${each.value}`).join(", ");
      return `${label === undefined ? "" : `${label}: `}${values}.`;
    })
    .join(" ");
}
