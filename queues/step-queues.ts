import type { Queue } from "bullmq";
import type { Step } from "../src/order/stage.ts";
import type { JobData } from "./job.ts";
import { queueNameFor, queueNames, type Part } from "./shards.ts";

type Named = Pick<Step, "name">;

/** How a step's queue is split, by a process that is or was there. */
export interface Split {
  readonly step: string;
  readonly shards: number;
  /** Whether workers take jobs from its queues. If not, these have but jobs that have failed. */
  readonly isServed: boolean;
}

export interface StepQueuesOptions {
  readonly steps: readonly Step[];
  /** Into how many this process splits a step's queue. */
  readonly shardsOf: (step: Step) => number;
  readonly open: (name: string) => Queue<JobData>;
}

/**
 * The queues of all steps. This process adds jobs to those of its own splits. While others have, or had, other splits,
 * it knows their queues too: jobs are found wherever they are, and workers take them from there.
 */
export class StepQueues {
  readonly #options: StepQueuesOptions;
  readonly #open = new Map<string, Queue<JobData>>();
  readonly #listeners: (() => void)[] = [];
  /** By step, this process's own first. */
  #splits: ReadonlyMap<string, readonly [Split, ...Split[]]> = new Map();

  constructor(options: StepQueuesOptions) {
    this.#options = options;
    this.follow([]);
  }

  /** This process's own splits. */
  get own(): readonly Split[] {
    return [...this.#splits.values()].map(([own]) => own);
  }

  /** All queues, in the steps' sequence. */
  get all(): readonly Queue<JobData>[] {
    return this.#options.steps.flatMap((step) => this.known(step));
  }

  /**
   * The queue to which an order's job is added. @param orderId may be left out if the step has one queue. @throws {Error}
   * for a step of another pipeline.
   */
  of(step: Named, orderId?: string): Queue<JobData> {
    const { shards } = this.#splitsOf(step)[0];
    if (orderId === undefined && shards > 1)
      throw new Error(`${step.name} has ${shards} queues: the order tells which`);
    return this.#queue(queueNameFor(orderId ?? "", step.name, shards));
  }

  /** The queues that may have an order's job, {@link of} first. @throws {Error} for a step of another pipeline. */
  having(step: Named, orderId: string): Queue<JobData>[] {
    const names = this.#splitsOf(step).map(({ shards }) => queueNameFor(orderId, step.name, shards));
    return [...new Set(names)].map((name) => this.#queue(name));
  }

  /** All queues of a step. @throws {Error} for a step of another pipeline. */
  known(step: Named): Queue<JobData>[] {
    return queuesOf(this.#splitsOf(step)).map((name) => this.#queue(name));
  }

  /** Those that workers serve, in the same sequence in every process. @throws {Error} for a step of another pipeline. */
  served(step: Named): Queue<JobData>[] {
    const served = this.#splitsOf(step).filter(({ isServed }) => isServed);
    return queuesOf(served.toSorted((a, b) => a.shards - b.shards)).map((name) => this.#queue(name));
  }

  /** Those of one split, if it is known. */
  ofSplit({ step, shards }: Pick<Split, "step" | "shards">): Queue<JobData>[] {
    return queueNames(step, shards).flatMap((name) => this.#open.get(name) ?? []);
  }

  /** A queue's part of what limits its step. */
  partOf(queue: Pick<Queue, "name">): Part {
    const step = this.stepOf(queue.name);
    const names = step ? this.served(step).map(({ name }) => name) : [];
    return { index: Math.max(0, names.indexOf(queue.name)), of: Math.max(1, names.length) };
  }

  /** The step of a queue; undefined for other names. */
  stepOf(queueName: string): Step | undefined {
    return this.#options.steps.find((step) => queuesOf(this.#splitsOf(step)).includes(queueName));
  }

  /** Follows the splits that others have. */
  follow(splits: readonly Split[]): void {
    const before = JSON.stringify([...this.#splits]);
    this.#splits = new Map(
      this.#options.steps.map((step) => {
        const own = { step: step.name, shards: this.#options.shardsOf(step), isServed: true };
        const others = splits.filter((each) => each.step === own.step && each.shards !== own.shards);
        return [step.name, [own, ...others.toSorted((a, b) => a.shards - b.shards)]] as const;
      }),
    );
    const names = new Set([...this.#splits.values()].flatMap(queuesOf));
    for (const name of names) if (!this.#open.has(name)) this.#open.set(name, this.#options.open(name));
    if (before !== JSON.stringify([...this.#splits])) for (const listener of this.#listeners) listener();
    for (const [name, queue] of this.#open) {
      if (names.has(name)) continue;
      this.#open.delete(name);
      void queue.close();
    }
  }

  /** Calls back after every change of the queues. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((queue) => queue.close()));
  }

  #splitsOf({ name }: Named): readonly [Split, ...Split[]] {
    const splits = this.#splits.get(name);
    if (splits === undefined) throw new Error(`no queue is open for ${name}`);
    return splits;
  }

  #queue(name: string): Queue<JobData> {
    const queue = this.#open.get(name);
    if (queue === undefined) throw new Error(`the queue ${name} is not open`);
    return queue;
  }
}

/** Splits share queues: the first two of four are those of two. */
function queuesOf(splits: readonly Split[]): string[] {
  return [...new Set(splits.flatMap(({ step, shards }) => queueNames(step, shards)))];
}
