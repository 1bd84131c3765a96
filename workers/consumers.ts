import type { Worker } from "bullmq";
import type { JobData } from "../queues/job.ts";
import type { Places } from "./places.ts";

/** BullMQ's workers of a step, one for each of its queues, which come and go. They share the step's places. */
export class Consumers {
  readonly #open: (queue: string) => Worker<JobData>;
  readonly #places: Places;
  /** By queue. */
  readonly #workers = new Map<string, Worker<JobData>>();
  /** Workers of queues that are no longer served, with their last jobs. */
  readonly #leaving = new Set<Promise<void>>();
  #isStarted = false;
  #isPaused = false;

  constructor(open: (queue: string) => Worker<JobData>, places: Places) {
    this.#open = open;
    this.#places = places;
  }

  get all(): Worker<JobData>[] {
    return [...this.#workers.values()];
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Takes jobs from these queues, and no others. */
  follow(queues: readonly string[]): void {
    for (const queue of queues) {
      if (this.#workers.has(queue)) continue;
      const worker = this.#open(queue);
      this.#workers.set(queue, worker);
      this.#places.add(worker);
      if (this.#isPaused) void worker.pause(true);
      else if (this.#isStarted) void worker.run();
    }
    for (const [queue, worker] of this.#workers) {
      if (queues.includes(queue)) continue;
      this.#workers.delete(queue);
      const left = this.#leave(worker);
      this.#leaving.add(left);
      void left.finally(() => this.#leaving.delete(left));
    }
  }

  async #leave(worker: Worker<JobData>): Promise<void> {
    await worker.close();
    this.#places.remove(worker);
  }

  /** Starts taking jobs; resolves when connected. */
  async start(): Promise<void> {
    await Promise.all(this.all.map((worker) => worker.waitUntilReady()));
    this.#isStarted = true;
    for (const worker of this.all) void worker.run();
  }

  /** Stops taking jobs; running ones continue. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    await Promise.all(this.all.map((worker) => worker.pause(true)));
  }

  async resume(): Promise<void> {
    this.#isPaused = false;
    await Promise.all(this.all.map((worker) => worker.resume()));
  }

  /** Has the running jobs' signals abort. */
  cancelAllJobs(reason: string): void {
    for (const worker of this.all) worker.cancelAllJobs(reason);
  }

  /** Stops taking jobs; resolves when the running ones have ended. */
  async close(): Promise<void> {
    await Promise.all([...this.all.map((worker) => worker.close()), ...this.#leaving]);
  }
}
