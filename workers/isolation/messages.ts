import type { Execution } from "../../src/engine/executor.ts";
import type { Failure } from "../../src/engine/failure.ts";

/** One attempt at a step of an order, as a worker hands it to a process of its own. */
export interface Attempt {
  readonly orderId: string;
  readonly step: string;
  /** Milliseconds that it may take. */
  readonly timeoutMs: number;
  /** Which attempt it is, for the log of events, and when it began, in milliseconds. */
  readonly attempt: number;
  readonly startedAt: number;
  /** The trace that it is a part of; undefined when nobody follows it. */
  readonly trace?: string | undefined;
}

/** Milliseconds between two signs of life of the process. */
export const ALIVE_INTERVAL_MS = 1_000;

/** What a worker says to the process, and what that answers. Ids tell attempts apart. */
export type Request =
  | ({ readonly type: "attempt"; readonly id: number } & Attempt)
  | { readonly type: "abort"; readonly id: number };

export type Answer =
  | { readonly type: "ready" }
  /** Said every second: nothing blocks the process. */
  | { readonly type: "alive" }
  | { readonly type: "execution"; readonly id: number; readonly execution: Execution }
  | { readonly type: "failure"; readonly id: number; readonly failure: Failure };
