import { parseArgs } from "node:util";
import type { Stage } from "../src/order/stage.ts";
import { UsageError } from "../src/startup.ts";

export interface WorkerArguments {
  /** The stages that this process works on. */
  readonly stages: readonly Stage[];
  /** Orders in each stage at the same moment, instead of the stage's own setting. */
  readonly concurrency: number | undefined;
}

const MAX_CONCURRENCY = 10_000;

/** Reads `--stages pay,ship --concurrency 50`; without them, all stages with their own settings. @throws {UsageError} */
export function parseWorkerArguments(args: readonly string[], pipeline: readonly Stage[]): WorkerArguments {
  const { stages, concurrency } = parse(args);
  return {
    stages: stages === undefined ? pipeline : chosen(stages, pipeline),
    concurrency: concurrency === undefined ? undefined : count(concurrency),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: { stages: { type: "string" }, concurrency: { type: "string" } },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function chosen(names: string, pipeline: readonly Stage[]): Stage[] {
  const wanted = new Set(names.split(",").map((name) => name.trim()));
  const known = pipeline.map((stage) => stage.name);
  const unknown = [...wanted].filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new UsageError(
      `--stages: no stage is named "${unknown.join('", "')}"; there are ${known.join(", ")}`,
    );
  }
  return pipeline.filter((stage) => wanted.has(stage.name));
}

function count(text: string): number {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > MAX_CONCURRENCY) {
    throw new UsageError(`--concurrency must be a whole number from 1 to ${MAX_CONCURRENCY}, not "${text}"`);
  }
  return value;
}
