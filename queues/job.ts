import type { Job, JobsOptions } from "bullmq";
import type { Transition } from "../src/order/lifecycle.ts";
import type { StageSettings } from "../src/order/stage.ts";

/**
 * All that a job carries. What the order is and where it stands is read from MySQL when the job runs. What is said beside
 * the order's id makes a difference only to when the job is done: workers from before a deploy do without it.
 */
export interface JobData {
  readonly orderId: string;
  /** The order may be one that nobody can serve: it has failed before, or whoever tried it was failed like all others. */
  readonly suspect?: true;
  /** How often in a row it was put off since its service failed everybody. */
  readonly putOffs?: number;
  /** `attemptsMade` when the service last served the order: what failed before says nothing any more. */
  readonly goodAtAttempt?: number;
}

/** Completed jobs are kept for people to look at: so many seconds, and so many a queue. */
const KEEP_COMPLETED = { age: 3_600, count: 1_000 };
const STACK_TRACES_KEPT = 5;

/** The score of a delayed job is its time in this unit of a millisecond, so that those of one moment keep their order. */
export const SCORES_PER_MS = 0x1000;

/**
 * The id names the transition, so adding the same work twice is harmless, and a stage that is put in later makes new
 * ids, which no finished job of old blocks. BullMQ reserves `:` and refuses whole numbers.
 */
export function jobId(orderId: string, { from, to }: Pick<Transition, "from" | "to">): string {
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

/**
 * Whether an order is suspected to be one that nobody can serve: an attempt at it has failed, or it has come back from
 * the failed set, by whatever way. Asking again later, as a stage does that snoozes, makes no suspect.
 */
export function isSuspect({
  data,
  attemptsMade,
  stacktrace,
}: Pick<Job<JobData>, "data" | "attemptsMade" | "stacktrace">): boolean {
  if (data.goodAtAttempt !== undefined) return attemptsMade !== data.goodAtAttempt;
  // Retried with its attempts reset, a job keeps the traces of those that failed.
  return data.suspect === true || attemptsMade > 0 || (stacktrace ?? []).length > 0;
}
