import { lifecycle } from "../order/lifecycle.ts";
import { UsageError } from "../platform/startup.ts";

/**
 * Where a worker can be made to die, to show that nothing is lost there. "during batch": the status is written, and the
 * transaction that carries it, with all its other members, not committed.
 */
export const CRASH_POINTS = [
  "before run",
  "after run",
  "during batch",
  "after commit",
  "after enqueue",
  "before undo",
  "after undo",
] as const;

export type CrashPoint = (typeof CRASH_POINTS)[number];

/**
 * Reads `pay: after run`, a step's name and a point, and gives a function that kills the process there: at once, as a
 * loss of power would, with nothing written and nobody told. @throws {UsageError}
 */
export function crashAt(text: string): (point: CrashPoint, step: string) => void {
  const [name, wanted] = text.split(":").map((part) => part.trim());
  const names = lifecycle.steps.map((step) => step.name);
  if (name === undefined || !names.includes(name) || !CRASH_POINTS.some((point) => point === wanted)) {
    throw new UsageError(
      `--crash-at must be a step and a point, such as "pay: after run"; steps are ${names.join(", ")}, ` +
        `points ${CRASH_POINTS.join(", ")}`,
    );
  }
  return (point, step) => {
    if (point === wanted && step === name) process.kill(process.pid, "SIGKILL");
  };
}
