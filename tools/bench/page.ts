import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { PROJECT_FOLDER } from "../launcher/local-folder.ts";
import { figures, type Figure } from "./figures.ts";
import type { BenchReport } from "./report.ts";
import { goalTable, sectionsOf, type Section, type Table } from "./sections.ts";

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
    "## Summary",
    tableOf(goalTable(report)),
    ...sectionsOf(report).flatMap((section) => partsOf(section, plots)),
    ...(report.skipped.length === 0 ? [] : ["## Skipped", ...report.skipped.map((line) => `- ${line}`)]),
  ].join("\n\n");
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

function partsOf(section: Section, plots: readonly Figure[]): string[] {
  const shown = plots.filter(({ name }) => section.plots.includes(name));
  return [
    `## ${section.title}`,
    ...section.about,
    ...shown.map(({ name, title }) => `![${title}](${PLOTS}/${name}.svg)`),
    tableOf(section),
    ...(section.note === undefined ? [] : [section.note]),
  ];
}

function tableOf({ head, rows }: Table): string {
  const lineOf = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [lineOf(head), lineOf(head.map(() => "---")), ...rows.map(lineOf)].join("\n");
}
