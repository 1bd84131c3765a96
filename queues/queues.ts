import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { Transition } from "../src/order/lifecycle.ts";
import { settingsOf, type Stage, type StageSettings } from "../src/order/stage.ts";
import { jobId, jobOptions, type JobData } from "./job.ts";

/** Entries of a queue's event stream that Redis keeps; only pages that watch the queue read it. */
const EVENTS_KEPT = 1_000;

/** A job to be: this order is due for this transition. */
export interface DueJob {
  readonly orderId: string;
  readonly transition: Transition;
}

/** Every key of a queue carries the queue's own hash tag, so that Redis Cluster can hold each on one node. */
export function queuePrefix(stage: Pick<Stage, "name">): string {
  return `{${stage.name}}`;
}

/** The queues of a pipeline, one a stage: the only place where queues are opened. They add jobs and process none. */
export class Queues {
  readonly #queues: ReadonlyMap<string, Queue<JobData>>;
  readonly #connection: Redis;
  readonly #overrides: Partial<StageSettings>;

  constructor(options: {
    readonly connection: Redis;
    readonly stages: readonly Stage[];
    /** An operator's settings over those of every stage. */
    readonly overrides?: Partial<StageSettings>;
    readonly onError: (error: Error) => void;
  }) {
    this.#connection = options.connection;
    this.#overrides = options.overrides ?? {};
    this.#queues = new Map(
      options.stages.map((stage) => {
        const queue = new Queue<JobData>(stage.name, {
          connection: options.connection,
          prefix: queuePrefix(stage),
          streams: { events: { maxLen: EVENTS_KEPT } },
          // Readiness is the health check's business; a queue opened while Redis is away must work later.
          skipWaitingForReady: true,
          skipVersionCheck: true,
        });
        queue.on("error", options.onError);
        return [stage.name, queue];
      }),
    );
  }

  /** All queues, in the order of the pipeline. */
  get all(): readonly Queue<JobData>[] {
    return [...this.#queues.values()];
  }

  /** The queue of a stage. @throws {Error} for a stage of another pipeline. */
  of(stage: Pick<Stage, "name">): Queue<JobData> {
    const queue = this.#queues.get(stage.name);
    if (queue === undefined) throw new Error(`no queue is open for the stage ${stage.name}`);
    return queue;
  }

  /**
   * Puts orders into the queues of the stages that they wait for. Adding what is there already does nothing. When it
   * throws, some may have been added. @throws {Error} of Redis.
   */
  async enqueue(due: readonly DueJob[]): Promise<void> {
    for (const stage of new Set(due.map((job) => job.transition.stage))) {
      const options = jobOptions(settingsOf(stage, this.#overrides));
      await this.of(stage).addBulk(
        due
          .filter((job) => job.transition.stage === stage)
          .map(({ orderId, transition }) => ({
            name: stage.name,
            data: { orderId },
            opts: { ...options, jobId: jobId(orderId, transition) },
          })),
      );
    }
  }

  /**
   * Like {@link enqueue}, for orders that may have been lost: a finished job under the same id, which will never run
   * again and would keep the new one out, is removed first. @throws {Error} of Redis.
   */
  async revive(due: readonly DueJob[]): Promise<void> {
    const finished = await this.#finished(due);
    // A job that somebody has retried in the meantime is active, and refuses: then it is not lost.
    await Promise.allSettled(finished.map((job) => this.#remove(job)));
    await this.enqueue(due);
  }

  /**
   * Has an order's job run now: one that waits for its time is promoted, one that failed is retried with all its
   * attempts, one that is missing is added. @throws {Error} of Redis.
   */
  async bringForward(due: DueJob): Promise<void> {
    const job = await this.of(due.transition.stage).getJob(jobId(due.orderId, due.transition));
    const state = await job?.getState();
    if (state === "delayed") await job?.promote();
    else if (state === "failed")
      await job?.retry("failed", { resetAttemptsMade: true, resetAttemptsStarted: true });
    else await this.revive([due]);
  }

  async #finished(due: readonly DueJob[]): Promise<DueJob[]> {
    const pipeline = this.#connection.pipeline();
    for (const { orderId, transition } of due) {
      pipeline.hget(this.of(transition.stage).toKey(jobId(orderId, transition)), "finishedOn");
    }
    const answers = (await pipeline.exec()) ?? [];
    return due.filter((_, index) => {
      const [error, finishedOn] = answers[index] ?? [null, null];
      if (error) throw error;
      return finishedOn !== null;
    });
  }

  async #remove({ orderId, transition }: DueJob): Promise<void> {
    await this.of(transition.stage).remove(jobId(orderId, transition));
  }

  /** Closes the queues, not the connection. */
  async close(): Promise<void> {
    await Promise.all(this.all.map((queue) => queue.close()));
  }
}
