import { setTimeout as sleep } from "node:timers/promises";
import type { Limits } from "../queues/controls.ts";
import type { DueJob } from "../src/engine/ports.ts";
import type { Transition } from "../src/order/lifecycle.ts";
import type { Step } from "../src/order/stage.ts";
import type { HandOver, StageWorker, Visit } from "./stage-worker.ts";

/** How often a job that may not enter its step yet asks again. Milliseconds. */
const ADMISSION_INTERVAL_MS = 50;

type Named = Pick<Step, "name">;

export interface InPlaceOptions {
  /** This process's worker of a step; always undefined if every step is to have its own job. */
  readonly workerOf: (step: Named) => Pick<StageWorker, "hasPlace" | "expectGuest" | "host"> | undefined;
  /** Enqueues the job of what the order waits for. @throws {Error} from Redis. */
  readonly enqueue: (job: DueJob) => Promise<void>;
  /** What limits the step across all workers. @throws {Error} from Redis. */
  readonly limitsOf: (step: Named) => Promise<Limits>;
  /** Announces to all workers that this one may have guests in the step. @throws {Error} from Redis. */
  readonly announceGuests: (step: Named) => Promise<void>;
  /** Whether any worker may have guests in the step. @throws {Error} from Redis. */
  readonly haveGuests: (step: Named) => Promise<boolean>;
  /** Called after an order was enqueued; a test may kill the process there. */
  readonly onQueued?: ((transition: Transition) => void) | undefined;
}

/**
 * Carries an order through as many steps as it can in this process, on the job that brought it here: if the process dies,
 * that job finds the order again. The order takes the queue instead if this process has no free place in the next step,
 * does not run it, holds it or is shutting down, or if operators have paused the step or limited it across all workers.
 */
export class InPlace implements HandOver {
  readonly #options: InPlaceOptions;

  constructor(options: InPlaceOptions) {
    this.#options = options;
  }

  async handOver(
    orderId: string,
    transition: Transition,
    interrupted: AbortSignal | undefined,
  ): Promise<Visit | undefined> {
    const begun = await this.#begin(orderId, transition, interrupted);
    if (begun) return { ended: this.#goOn(orderId, transition, begun.next, interrupted) };
    await this.enqueue({ orderId, transition });
    this.#options.onQueued?.(transition);
    return undefined;
  }

  readonly enqueue = (job: DueJob): Promise<void> => this.#options.enqueue(job);

  /**
   * BullMQ counts jobs against a global concurrency, but not guests. Those that entered before the limit was set may still be in
   * the step, of any worker: its jobs wait until they have left.
   */
  async admit(step: Named, interrupted: AbortSignal | undefined): Promise<void> {
    const { limitsOf, haveGuests } = this.#options;
    while ((await limitsOf(step)).hasConcurrency && (await haveGuests(step)))
      await sleep(ADMISSION_INTERVAL_MS, undefined, { signal: interrupted });
  }

  async #goOn(
    orderId: string,
    first: Transition,
    waitsFor: Promise<Transition | undefined>,
    interrupted: AbortSignal | undefined,
  ): Promise<readonly Transition[]> {
    const next = await waitsFor;
    const further = next && (await this.handOver(orderId, next, interrupted));
    return [first, ...((await further?.ended) ?? [])];
  }

  /** Starts the next step in this process, if it can. */
  async #begin(
    orderId: string,
    transition: Transition,
    interrupted: AbortSignal | undefined,
  ): Promise<{ readonly next: Promise<Transition | undefined> } | undefined> {
    const { step } = transition;
    const worker = this.#options.workerOf(step);
    if (!worker?.hasPlace) return undefined;
    const leave = worker.expectGuest();
    // All may have changed while Redis answered.
    if ((await this.#mayHost(step)) && worker.hasPlace && !interrupted?.aborted)
      return { next: worker.host(orderId, transition, interrupted).finally(leave) };
    leave();
    return undefined;
  }

  /** Announces first, then reads the limits: so whoever sets a limit later knows of the guest. */
  async #mayHost(step: Named): Promise<boolean> {
    const { announceGuests, limitsOf } = this.#options;
    try {
      await announceGuests(step);
      return (await limitsOf(step)).isUnlimited;
    } catch {
      // While Redis is away, nobody knows the limits.
      return false;
    }
  }
}
