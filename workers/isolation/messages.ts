import type { Execution } from "../../src/engine/executor.ts";
import type { Failure } from "../../src/engine/failure.ts";

/** One attempt that a worker asks an isolated process to run. */
export interface Attempt {
  readonly orderId: string;
  readonly step: string;
  /** Time limit in milliseconds. */
  readonly timeoutMs: number;
  /** For the event log: the attempt's number, and its start in milliseconds since 1970. */
  readonly attempt: number;
  readonly startedAt: number;
  /** Trace context; undefined if not traced. */
  readonly trace?: string | undefined;
}

/** Interval of the process's `alive` messages. Milliseconds. */
export const ALIVE_INTERVAL_MS = 1_000;

/** Messages to the process, and its answers, matched by id. */
export type Request =
  | ({ readonly type: "attempt"; readonly id: number } & Attempt)
  | { readonly type: "abort"; readonly id: number };

export type Answer =
  | { readonly type: "ready" }
  /** Sent every second, to show that the event loop is not blocked. */
  | { readonly type: "alive" }
  | { readonly type: "execution"; readonly id: number; readonly execution: Execution }
  | { readonly type: "failure"; readonly id: number; readonly failure: Failure };
