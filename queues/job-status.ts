import type { Connection } from "./connection.ts";
import type { Transition } from "../src/order/lifecycle.ts";
import { jobId, SCORES_PER_MS } from "./job.ts";
import type { Queues } from "./queues.ts";

/** An order's job in the queue of what it waits for. */
export interface JobStatus {
  readonly id: string;
  readonly step: string;
  readonly state: "missing" | "waiting" | "active" | "delayed" | "failed" | "finished";
  /** Failed attempts, of how many. */
  readonly attemptsMade: number;
  readonly attempts: number;
  /** When a worker started it; undefined if the order is active on the job of an earlier step. */
  readonly activeSince: Date | undefined;
  /** When it is due, if it is delayed. */
  readonly dueAt: Date | undefined;
}

/** The job of an order's transition. @throws {Error} of Redis. */
export async function readJob(
  { queues, redis }: { readonly queues: Queues; readonly redis: Connection },
  orderId: string,
  transition: Transition,
): Promise<JobStatus> {
  const id = jobId(orderId, transition);
  const queue = queues.of(transition.step);
  const [job, state, score, [isUnderWay]] = await Promise.all([
    queue.getJob(id),
    queue.getJobState(id),
    redis.zscore(queue.toKey("delayed"), id),
    queues.areUnderWay([{ orderId, transition }]),
  ]);
  const takenAt = state === "active" ? job?.processedOn : undefined;
  return {
    id,
    step: transition.step.name,
    state: isUnderWay ? "active" : job ? stateOf(state) : "missing",
    attemptsMade: job?.attemptsMade ?? 0,
    attempts: job?.opts.attempts ?? 1,
    activeSince: takenAt === undefined ? undefined : new Date(takenAt),
    dueAt: score === null ? undefined : new Date(Number(score) / SCORES_PER_MS),
  };
}

/** Runs a delayed job now. @returns whether it was delayed. @throws {Error} of Redis. */
export async function promoteJob(queues: Queues, orderId: string, transition: Transition): Promise<boolean> {
  const queue = queues.of(transition.step);
  const id = jobId(orderId, transition);
  const job = await queue.getJob(id);
  if (job === undefined || (await queue.getJobState(id)) !== "delayed") return false;
  await job.promote();
  return true;
}

function stateOf(state: string): JobStatus["state"] {
  switch (state) {
    case "active":
    case "delayed":
    case "failed":
      return state;
    case "completed":
      return "finished";
    case "unknown":
      return "missing";
    default:
      return "waiting";
  }
}
