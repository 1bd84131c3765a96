import type { JobsOptions } from "bullmq";
import type { Move } from "../src/order/lifecycle.ts";
import type { StageSettings } from "../src/order/stage.ts";

/** All that a job carries. What the order is and where it stands is read from MySQL when the job runs. */
export interface JobData {
  readonly orderId: string;
}

/** Completed jobs are kept for people to look at: so many seconds, and so many a queue. */
const KEEP_COMPLETED = { age: 3_600, count: 1_000 };
const STACK_TRACES_KEPT = 5;

/**
 * The id names the transition, so adding the same work twice is harmless, and a stage that is put in later makes new
 * ids, which no finished job of old blocks. BullMQ reserves `:` and refuses whole numbers.
 */
export function jobId(orderId: string, { from, to }: Pick<Move, "from" | "to">): string {
  return `${orderId}-${from}-${to}`;
}

/** How a stage's jobs are retried and kept. A failed job is kept until somebody retries or removes it. */
export function jobOptions({ attempts, backoff }: StageSettings): JobsOptions {
  return {
    attempts,
    backoff: { type: "exponential", ...backoff },
    removeOnComplete: KEEP_COMPLETED,
    stackTraceLimit: STACK_TRACES_KEPT,
  };
}
