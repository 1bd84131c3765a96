import { jobId } from "../../queues/job.ts";
import type { Dispatcher, DueJob, Replacement } from "../../src/engine/ports.ts";

export type JobState = "waiting" | "delayed" | "active" | "completed" | "failed";

export interface Job {
  readonly id: string;
  readonly due: DueJob;
  state: JobState;
  /** Failed attempts. */
  attempts: number;
  /** Changes with each delivery: who has an older one has lost the job. */
  lock: number;
}

/** What its worker knows of a job. */
export interface Delivery {
  readonly job: Job;
  readonly lock: number;
  /** Failed attempts. */
  readonly attempts: number;
}

/**
 * Stands in for Redis: what BullMQ promises of jobs, and nothing more. An id that is known keeps a new job out, also when
 * its job has finished; a job is delivered at least once. Which job is delivered when, how often, and whether Redis loses
 * everything, the test says: BullMQ's own queues have an order, and clocks, and would tell only a few of these stories,
 * slowly. That `Queues` does the same with the real Redis is what the integration tests are for.
 */
export class MemoryQueue implements Dispatcher {
  readonly #jobs = new Map<string, Job>();
  readonly #ever = new Map<string, DueJob>();

  get jobs(): readonly Job[] {
    return [...this.#jobs.values()];
  }

  /** Those that a worker can get: in this world, waits are over at any time. */
  get deliverable(): readonly Job[] {
    return this.jobs.filter(({ state }) => state === "waiting" || state === "delayed");
  }

  /** Every job that there ever was, lost ones too. */
  get ever(): readonly DueJob[] {
    return [...this.#ever.values()];
  }

  async enqueue(due: readonly DueJob[]): Promise<void> {
    for (const job of due) this.#add(job);
  }

  async revive(due: readonly DueJob[]): Promise<number> {
    const lost = due.filter((job) => {
      const state = this.#stateOf(job);
      return state === undefined || state === "completed" || state === "failed";
    });
    for (const job of lost) this.restore(job);
    return lost.length;
  }

  async replace(replacements: readonly Replacement[]): Promise<void> {
    for (const { job, by } of replacements) {
      const state = this.#stateOf(job);
      if (state === "active") continue;
      // One that waits in line stays there.
      if (state !== "waiting") this.#jobs.delete(idOf(job));
      if (by) await this.revive([by]);
    }
  }

  /** Gives a job out. */
  take(job: Job): Delivery {
    job.state = "active";
    return { job, lock: ++job.lock, attempts: job.attempts };
  }

  /** Says what became of a delivery; nobody listens when the job is lost, or somebody else's by now. */
  finish({ job, lock, attempts }: Delivery, state: JobState): void {
    if (this.#jobs.get(job.id) !== job || job.state !== "active" || job.lock !== lock) return;
    job.state = state;
    job.attempts = attempts;
  }

  /** The job is to be delivered, again if need be: its worker was silent for too long, or a person wants it. */
  again(job: Job): void {
    if (job.state === "failed") job.attempts = 0;
    job.state = "waiting";
  }

  /** A job of old is back. */
  restore(due: DueJob): void {
    this.#jobs.delete(idOf(due));
    this.#add(due);
  }

  /** Redis loses everything. */
  flush(): void {
    this.#jobs.clear();
  }

  #stateOf(due: DueJob): JobState | undefined {
    return this.#jobs.get(idOf(due))?.state;
  }

  #add(due: DueJob): void {
    const id = idOf(due);
    this.#ever.set(id, due);
    if (!this.#jobs.has(id)) this.#jobs.set(id, { id, due, state: "waiting", attempts: 0, lock: 0 });
  }
}

function idOf({ orderId, transition }: DueJob): string {
  return jobId(orderId, transition);
}
