import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { Move } from "../src/order/lifecycle.ts";
import { settingsOf, type StageSettings, type Step } from "../src/order/stage.ts";
import { jobId, jobOptions, type JobData } from "./job.ts";

/** Entries of a queue's event stream that Redis keeps; only pages that watch the queue read it. */
const EVENTS_KEPT = 1_000;

/** A job to be: this order is due for this move. */
export interface DueJob {
  readonly orderId: string;
  readonly move: Move;
}

/** Every key of a queue carries the queue's own hash tag, so that Redis Cluster can hold each on one node. */
export function queuePrefix(step: Pick<Step, "name">): string {
  return `{${step.name}}`;
}

/** The queues of a pipeline, one a step: the only place where queues are opened. They add jobs and process none. */
export class Queues {
  readonly #queues: ReadonlyMap<string, Queue<JobData>>;
  readonly #connection: Redis;
  readonly #overrides: Partial<StageSettings>;

  constructor(options: {
    readonly connection: Redis;
    readonly steps: readonly Step[];
    /** An operator's settings over those of every step. */
    readonly overrides?: Partial<StageSettings>;
    readonly onError: (error: Error) => void;
  }) {
    this.#connection = options.connection;
    this.#overrides = options.overrides ?? {};
    this.#queues = new Map(
      options.steps.map((step) => {
        const queue = new Queue<JobData>(step.name, {
          connection: options.connection,
          prefix: queuePrefix(step),
          streams: { events: { maxLen: EVENTS_KEPT } },
          // Readiness is the health check's business; a queue opened while Redis is away must work later.
          skipWaitingForReady: true,
          skipVersionCheck: true,
        });
        queue.on("error", options.onError);
        return [step.name, queue];
      }),
    );
  }

  /** All queues, in the order of the pipeline. */
  get all(): readonly Queue<JobData>[] {
    return [...this.#queues.values()];
  }

  /** The queue of a step. @throws {Error} for a step of another pipeline. */
  of(step: Pick<Step, "name">): Queue<JobData> {
    const queue = this.#queues.get(step.name);
    if (queue === undefined) throw new Error(`no queue is open for ${step.name}`);
    return queue;
  }

  /**
   * Puts orders into the queues of what they wait for. Adding what is there already does nothing. When it
   * throws, some may have been added. @throws {Error} of Redis.
   */
  async enqueue(due: readonly DueJob[]): Promise<void> {
    for (const step of new Set(due.map((job) => job.move.step))) {
      const options = jobOptions(settingsOf(step, this.#overrides));
      await this.of(step).addBulk(
        due
          .filter((job) => job.move.step === step)
          .map(({ orderId, move }) => ({
            name: step.name,
            data: { orderId },
            opts: { ...options, jobId: jobId(orderId, move) },
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
   * Puts one job in the place of another, wherever that one waits or rests. One that runs is left to its end: whoever
   * runs it will find that the order waits for something else. @throws {Error} of Redis.
   */
  async replace(job: DueJob, by: DueJob): Promise<void> {
    if (await this.#remove(job)) await this.revive([by]);
  }

  async #finished(due: readonly DueJob[]): Promise<DueJob[]> {
    const pipeline = this.#connection.pipeline();
    for (const { orderId, move } of due) {
      pipeline.hget(this.of(move.step).toKey(jobId(orderId, move)), "finishedOn");
    }
    const answers = (await pipeline.exec()) ?? [];
    return due.filter((_, index) => {
      const [error, finishedOn] = answers[index] ?? [null, null];
      if (error) throw error;
      return finishedOn !== null;
    });
  }

  /** @returns whether it is gone, or never was; false for one that runs. */
  async #remove({ orderId, move }: DueJob): Promise<boolean> {
    return (await this.of(move.step).remove(jobId(orderId, move))) === 1;
  }

  /** Closes the queues, not the connection. */
  async close(): Promise<void> {
    await Promise.all(this.all.map((queue) => queue.close()));
  }
}
