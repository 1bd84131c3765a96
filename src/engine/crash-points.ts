import { lifecycle } from "../order/lifecycle.ts";
import { UsageError } from "../platform/startup.ts";

/**
 * Points where a test can kill a worker. "during batch": the status is written, but the transaction that it shares with
 * others is not committed.
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
 * Parses a step and a point, such as `pay: after run`, and returns a function that kills the process there with
 * SIGKILL, as a power failure would. @throws {UsageError}
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
