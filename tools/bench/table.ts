import { table } from "../shared/table.ts";
import type { BenchReport } from "./report.ts";
import { goalTable, sectionsOf } from "./sections.ts";

/** Renders the report for a terminal; the goals come last. */
export function renderReport(report: BenchReport): string[] {
  const goals = goalTable(report);
  return [
    titleOf(report),
    ...sectionsOf(report).flatMap(({ title, head, rows, note }) =>
      shown(title, table(head, rows).concat(note ?? [])),
    ),
    ...(report.skipped.length === 0 ? [] : shown("Skipped", report.skipped)),
    ...shown("Goals", table(goals.head, goals.rows)),
  ];
}

function titleOf({ size, machine, lasted }: BenchReport): string {
  const { cpu, cores, node, mysql, redis, express, bullmq } = machine;
  return `${size} run in ${lasted.toFixed(0)} s on ${cores} cores of ${cpu}: ${mysql}, ${redis}, Node ${node}, Express ${express}, BullMQ ${bullmq}`;
}

function shown(title: string, lines: readonly string[]): string[] {
  return ["", title, ...lines.map((line) => `  ${line}`)];
}
