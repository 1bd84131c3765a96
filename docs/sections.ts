import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { FAULT_NAMES, KINDS } from "../tools/chaos/kinds.ts";
import { PROCESSES, SECRETS } from "../src/composition/config.ts";
import { VARIABLES } from "../src/composition/variables.ts";
import { durationInWords } from "../src/platform/duration.ts";
import { HttpMetrics } from "../src/api/metrics.ts";
import { openApiDocument } from "../src/api/openapi.ts";
import { watchQueues } from "../src/api/queue-metrics.ts";
import { watchRelay } from "../src/api/relay-metrics.ts";
import { watchWebhooks } from "../src/api/webhook-metrics.ts";
import { Metrics } from "../src/platform/metrics.ts";
import { CANCELLED, CREATED, type Lifecycle } from "../src/order/lifecycle.ts";
import { settingsOf } from "../src/order/stage.ts";
import { StageMetrics } from "../src/engine/metrics.ts";

/*
 * The parts of the documentation that are made from the code. In a Markdown file, a part stands between
 * `<!-- generated: NAME -->` and `<!-- end -->`.
 */

const ROOT = join(import.meta.dirname, "..");

/** Every part by its name. */
export function sections(lifecycle: Lifecycle): ReadonlyMap<string, string> {
  return new Map([
    ["alerts", alerts()],
    ["answers", answers()],
    ["configuration", configuration()],
    ["endpoints", endpoints()],
    ["faults", faults()],
    ["example stage", exampleStage()],
    ["life of an order", fenced("text", lifeAsText(lifecycle))],
    ["life of an order as a diagram", fenced("mermaid", lifeAsMermaid(lifecycle))],
    ["metrics", metrics(lifecycle)],
    ["payment tokens", paymentTokens()],
    ["stages", stages(lifecycle)],
  ]);
}

const PART = /^<!-- generated: (.*) -->$([\s\S]*?)^<!-- end -->$/gm;
const MARKER = /^<!-- (generated: .*|end) -->$/gm;

/** The Markdown text with every part as it should be. @throws {Error} for a marker without its other half, or an unknown name. */
export function fill(markdown: string, parts: ReadonlyMap<string, string>): string {
  const markers = markdown.match(MARKER)?.length ?? 0;
  let paired = 0;
  const filled = markdown.replace(PART, (_whole, name: string, before: string) => {
    const part = parts.get(name);
    if (part === undefined)
      throw new Error(`no part is named "${name}"; there are ${[...parts.keys()].join(", ")}`);
    if (before.search(MARKER) >= 0) throw new Error(`the part "${name}" does not end`);
    paired += 2;
    return `<!-- generated: ${name} -->\n\n${part}\n\n<!-- end -->`;
  });
  if (paired !== markers) throw new Error(`${markers} markers do not make pairs of a beginning and an end`);
  return filled;
}

/** Every variable: what it is for, who reads it, and what stands when it is not set. */
function configuration(): string {
  return table(
    ["Variable", "Default", "Read by", "Meaning"],
    Object.entries(VARIABLES).map(([name, schema]) => [
      code(name),
      defaultOf(schema),
      readersOf(name),
      (schema.meta()?.description ?? "") +
        (isSecret(name) ? `. Also in a file that ${code(`${name}_FILE`)} names` : ""),
    ]),
  );
}

function isSecret(name: string): boolean {
  return SECRETS.some((secret) => secret === name);
}

function defaultOf(schema: (typeof VARIABLES)[keyof typeof VARIABLES]): string {
  const unset = schema.safeParse(undefined);
  if (!unset.success) return "**required**";
  const { data } = unset;
  if (data !== undefined && typeof data !== "object" && String(data) !== "") return code(String(data));
  const instead = schema.meta()?.["unset"];
  return typeof instead === "string" ? instead : "the stage's own";
}

function readersOf(name: string): string {
  const readers = Object.entries(PROCESSES).filter(([, schema]) => name in schema.shape);
  return readers.map(([process]) => process).join(", ");
}

/** The statuses on one line, and below it the ways out. */
export function lifeAsText(lifecycle: Lifecycle): string {
  let line: string = CREATED;
  const middles: number[] = [];
  for (const { name, to } of lifecycle.stages) {
    const from = line.slice(line.lastIndexOf(" ") + 1);
    if (lifecycle.canCancel(from)) middles.push(line.length - Math.ceil(from.length / 2));
    line += ` ──${name}─▶ ${to}`;
  }
  const [first = 0] = middles;
  const columns = Array.from({ length: (middles.at(-1) ?? 0) + 1 }, (_, column) => column);
  const shafts = columns.map((column) => (middles.includes(column) ? "│" : " "));
  const floor = columns.map((column) => {
    if (column <= first) return column === first ? "└" : " ";
    return middles.includes(column) ? "┴" : "─";
  });
  return [line, shafts.join(""), `${floor.join("")}──▶ ${CANCELLED}`].join("\n");
}

export function lifeAsMermaid(lifecycle: Lifecycle): string {
  const moves = lifecycle.statuses.flatMap((status) => {
    const due = lifecycle.due(status);
    return due ? [`${due.from} --> ${due.to}: ${due.step.name}`] : [`${status} --> [*]`];
  });
  const cancellations = lifecycle.statuses
    .filter((status) => lifecycle.canCancel(status))
    .map((status) => `${status} --> ${CANCELLED}`);
  return [
    "stateDiagram-v2",
    ...[`[*] --> ${CREATED}`, ...moves, ...cancellations].map((move) => `    ${move}`),
  ].join("\n");
}

/** The faults that chaos runs inject. */
function faults(): string {
  return table(
    ["Fault", "Lasts", "Effect"],
    FAULT_NAMES.map((name) => {
      const { lasts, meaning } = KINDS[name];
      const [least, most] = lasts;
      const length = most === 0 ? "an instant" : least === most ? `${most} s` : `${least} to ${most} s`;
      return [code(name), length, meaning];
    }),
  );
}

/** The settings of every stage. */
function stages(lifecycle: Lifecycle): string {
  return table(
    ["Stage", "From", "To", "Undoable", "Attempts", "Retry delay", "Timeout", "Deadline", "Concurrency"],
    lifecycle.stages.map((stage) => {
      const { attempts, backoff, timeout, deadline, concurrency } = settingsOf(stage);
      return [
        code(stage.name),
        lifecycle.statusBefore(stage),
        stage.to,
        isUndone(stage.name, lifecycle) ? "yes" : "no",
        String(attempts),
        `up to ${backoff.delay} ms, doubling`,
        `${timeout} ms`,
        deadline === undefined ? "none" : durationInWords(deadline),
        String(concurrency),
      ];
    }),
  );
}

function isUndone(name: string, lifecycle: Lifecycle): boolean {
  return lifecycle.statuses
    .filter((status) => lifecycle.canCancel(status))
    .some((status) => lifecycle.toUndo(status).some((stage) => stage.name === name));
}

/** The rules of `deploy/prometheus/alerts.yml`. */
function alerts(): string {
  const file = alertFile.parse(parse(readFileSync(join(ROOT, "deploy/prometheus/alerts.yml"), "utf8")));
  return table(
    ["Alert", "Severity", "For", "What it means, and what to do"],
    file.groups.flatMap(({ rules }) =>
      rules.map((rule) => [
        code(rule.alert),
        rule.labels.severity,
        rule.for,
        rule.annotations.description.trim(),
      ]),
    ),
  );
}

const alertFile = z.object({
  groups: z.array(
    z.object({
      rules: z.array(
        z.object({
          alert: z.string(),
          for: z.string(),
          labels: z.object({ severity: z.enum(["critical", "warning"]) }),
          annotations: z.object({ summary: z.string(), description: z.string() }),
        }),
      ),
    }),
  ),
});

/** What the processes report to Prometheus, besides what prom-client reports of any process. */
function metrics(lifecycle: Lifecycle): string {
  const registries = Object.entries({
    api: apiMetrics(),
    "api (queue)": queuedMetrics(),
    "api (sync)": stageMetrics(lifecycle).registry,
    worker: workerMetrics(lifecycle),
  });
  const reporters = new Map<string, string[]>();
  const rows = new Map<string, readonly [string, string, string]>();
  for (const [process, { all }] of registries) {
    for (const { name, kind, labels, help } of all) {
      const earlier = reporters.get(name) ?? [];
      // Whatever an API may do, it has the metrics of all processes.
      if (!(process.startsWith("api ") && earlier.includes("api")))
        reporters.set(name, [...earlier, process]);
      rows.set(name, [kind, labels.map(code).join(", "), help]);
    }
  }
  return table(
    ["Metric", "Kind", "Labels", "Reported by", "Meaning"],
    [...rows].map(([name, [kind, labels, help]]) => [
      code(name),
      kind,
      labels,
      reporters.get(name)?.join(", ") ?? "",
      help,
    ]),
  );
}

/*
 * The metrics of each process, as `src/composition` registers them. A test finds those that are missing here.
 */

function apiMetrics(): Metrics {
  const { metrics: api } = new HttpMetrics(new Metrics());
  api.watchPool(0, () => undefined);
  watchWebhooks(api, { failing: async () => [], disabled: async () => [] });
  return api;
}

function queuedMetrics(): Metrics {
  const queued = new Metrics();
  watchQueues(queued, { all: [] });
  watchRelay(queued, async () => ({ events: 0, ageMs: 0 }));
  return queued;
}

function stageMetrics(lifecycle: Lifecycle) {
  const registry = new Metrics();
  return { registry, ofStages: new StageMetrics(registry, lifecycle) };
}

function workerMetrics(lifecycle: Lifecycle): Metrics {
  const { registry: worker, ofStages } = stageMetrics(lifecycle);
  worker.watchPool(0, () => undefined);
  ofStages.watchWorkers(() => []);
  ofStages.watchBreakers(() => undefined);
  return worker;
}

interface Operation {
  readonly summary: string;
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
}

function operations(): { method: string; path: string; operation: Operation }[] {
  const paths: Record<string, Record<string, Operation>> = openApiDocument("").paths;
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
}

function endpoints(): string {
  return table(
    ["Request", "What it does", "Answers"],
    operations().map(({ method, path, operation }) => [
      code(`${method} ${path}`),
      operation.summary,
      Object.keys(operation.responses)
        .filter((status) => status !== "default")
        .join(", "),
    ]),
  );
}

/** What each status that is no success means. */
function answers(): string {
  const meanings = new Map<string, string>();
  for (const { path, operation } of operations()) {
    // Its 503 carries no problem.
    if (path.startsWith("/health")) continue;
    for (const [status, { description }] of Object.entries(operation.responses)) {
      // The first is that of POST /orders, which has more to say than others.
      if (Number(status) >= 400 && !meanings.has(status)) meanings.set(status, description);
    }
  }
  return table(
    ["Status", "Means"],
    [...meanings].toSorted(([a], [b]) => Number(a) - Number(b)),
  );
}

/** The list that stands in the simulated Stripe's own comment. */
function paymentTokens(): string {
  const source = readFileSync(join(ROOT, "tools/simulators/stripe/methods.ts"), "utf8");
  const items = [...source.matchAll(/^ \* (- `(?:tok|pm)_.*)$/gm)].map(([, item]) => item);
  if (items.length === 0) throw new Error("the simulated Stripe's comment lists no payment methods");
  return items.join("\n");
}

/** The example as it stands once it is where stages belong. */
function exampleStage(): string {
  const source = readFileSync(join(ROOT, "docs/examples/fraud-check.ts"), "utf8");
  return fenced("ts", `// src/order/stages/fraud-check.ts\n${inPlace(source).trimEnd()}`);
}

/** The example's text in src/order/stages/. */
export function inPlace(source: string): string {
  return source.replace('"../../src/order/stage.ts"', '"../stage.ts"');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  // Not padded, so that one cell's change is one line's change.
  return ["<!-- prettier-ignore -->", line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function fenced(language: string, text: string): string {
  return `\`\`\`${language}\n${text}\n\`\`\``;
}

function code(text: string): string {
  return `\`${text}\``;
}
