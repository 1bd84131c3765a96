import { parseArgs } from "node:util";
import type { Step } from "../src/order/stage.ts";
import { UsageError } from "../src/platform/startup.ts";
import { crashAt, type CrashPoint } from "../src/engine/crash-points.ts";

export interface WorkerArguments {
  /** The steps to work on. */
  readonly steps: readonly Step[];
  /** Concurrency of each step, overriding its own setting. */
  readonly concurrency: number | undefined;
  /** For recovery tests: kills the process at a chosen point. */
  readonly crashHook: ((point: CrashPoint, step: string) => void) | undefined;
}

const MAX_CONCURRENCY = 10_000;

/** Parses `--stages pay,ship --concurrency 50`. Defaults to all steps with their own settings. @throws {UsageError} */
export function parseWorkerArguments(args: readonly string[], known: readonly Step[]): WorkerArguments {
  const { stages, concurrency, "crash-at": crash } = parse(args);
  return {
    steps: stages === undefined ? known : chosen(stages, known),
    concurrency: concurrency === undefined ? undefined : count(concurrency),
    crashHook: crash === undefined ? undefined : crashAt(crash),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        stages: { type: "string" },
        concurrency: { type: "string" },
        "crash-at": { type: "string" },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function chosen(text: string, steps: readonly Step[]): Step[] {
  const wanted = new Set(text.split(",").map((name) => name.trim()));
  const known = steps.map((step) => step.name);
  const unknown = [...wanted].filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new UsageError(
      `--stages: no stage is named "${unknown.join('", "')}"; there are ${known.join(", ")}`,
    );
  }
  return steps.filter((step) => wanted.has(step.name));
}

function count(text: string): number {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > MAX_CONCURRENCY) {
    throw new UsageError(`--concurrency must be a whole number from 1 to ${MAX_CONCURRENCY}, not "${text}"`);
  }
  return value;
}
