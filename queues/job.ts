import type { Job, JobsOptions } from "bullmq";
import type { Transition } from "../src/order/lifecycle.ts";
import type { FailedFirst } from "../src/engine/ports.ts";
import type { StageSettings } from "../src/order/stage.ts";

/**
 * A job's payload. The order itself is read from MySQL when the job runs. All fields but the order's id affect only when
 * the job is run, so workers of an earlier version can ignore them.
 */
export interface JobData {
  readonly orderId: string;
  /** The order itself may be at fault: it has failed before, even if only along with all others. */
  readonly suspect?: true;
  /** How often in a row it was postponed because its service failed all orders. */
  readonly putOffs?: number;
  /** The first attempt was made before the job existed, and failed like this: the first pick-up reports it to BullMQ. */
  readonly failed?: FailedFirst;
  /** A process died while it worked on the order: attempts run in isolation. */
  readonly hasCrashed?: true;
  /** `attemptsMade` when the service last served the order; earlier failures no longer count. */
  readonly goodAtAttempt?: number;
}

/** Retention of completed jobs, for inspection: seconds, and number per queue. */
const KEEP_COMPLETED = { age: 3_600, count: 1_000 };
const STACK_TRACES_KEPT = 5;

/**
 * BullMQ multiplies a delayed job's time by this for its score, so that jobs of the same millisecond keep their
 * order.
 */
export const SCORES_PER_MS = 0x1000;

/**
 * The id names the transition, so adding the same work twice is harmless, and a stage added later gets new ids,
 * which no old finished job blocks. BullMQ reserves `:` and refuses whole numbers.
 */
export function jobId(orderId: string, { from, to }: Pick<Transition, "from" | "to">): string {
  return `${orderId}-${from}-${to}`;
}

/** Retry and retention options of a stage's jobs. A failed job is kept until it is retried or removed. */
export function jobOptions({ attempts, backoff }: StageSettings): JobsOptions {
  return {
    attempts,
    backoff: { type: "exponential", ...backoff },
    removeOnComplete: KEEP_COMPLETED,
    stackTraceLimit: STACK_TRACES_KEPT,
  };
}

/**
 * Whether an order is a suspect, that is, may itself be at fault: an attempt has failed, or it was resumed or retried after
 * failing. Snoozing does not make it one.
 */
export function isSuspect({
  data,
  attemptsMade,
  stacktrace,
}: Pick<Job<JobData>, "data" | "attemptsMade" | "stacktrace">): boolean {
  if (data.goodAtAttempt !== undefined) return attemptsMade !== data.goodAtAttempt;
  // A job retried with its attempts reset keeps the stack traces of failed ones.
  return data.suspect === true || attemptsMade > 0 || (stacktrace ?? []).length > 0;
}
