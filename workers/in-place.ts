import { setTimeout as sleep } from "node:timers/promises";
import type { Limits } from "../queues/controls.ts";
import type { DueJob } from "../src/engine/ports.ts";
import type { Transition } from "../src/order/lifecycle.ts";
import type { Step } from "../src/order/stage.ts";
import type { HandOver, Hosted, StageWorker, Visit } from "./stage-worker.ts";

/** How often a job that may not enter its step yet asks again. Milliseconds. */
const ADMISSION_INTERVAL_MS = 50;

type Named = Pick<Step, "name">;

type Host = Pick<StageWorker, "hasPlace" | "guests" | "expectGuest" | "host">;

export interface InPlaceOptions {
  /** This process's worker of a step; always undefined if every step is to have its own job. */
  readonly workerOf: (step: Named) => Host | undefined;
  /** Enqueues the job of what the order waits for. @throws {Error} from Redis. */
  readonly enqueue: (job: DueJob) => Promise<void>;
  /** What limits the step across all workers. @throws {Error} from Redis. */
  readonly limitsOf: (step: Named) => Promise<Limits>;
  /** Announces to all workers that this one may have guests in the step. @throws {Error} from Redis. */
  readonly announceGuests: (step: Named) => Promise<void>;
  /** Announces that its last guest has left the step. Errors are of no consequence: the next heartbeat says so, too. */
  readonly retractGuests: () => void;
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
  /** Steps that were limited when last looked at. Orders on their way there do not count as guests even for a moment. */
  readonly #limited = new Set<string>();

  constructor(options: InPlaceOptions) {
    this.#options = options;
  }

  async handOver(
    orderId: string,
    transition: Transition,
    interrupted: AbortSignal | undefined,
  ): Promise<Visit | undefined> {
    const begun = await this.#begin(orderId, transition, interrupted);
    if (begun) return { ended: this.#goOn(orderId, transition, begun.hosted, interrupted) };
    await this.enqueue({ orderId, transition });
    this.#options.onQueued?.(transition);
    return undefined;
  }

  readonly enqueue = (job: DueJob): Promise<void> => this.#options.enqueue(job);

  /**
   * BullMQ counts jobs against a global concurrency, but not guests. Those that entered before the limit was set may still be in
   * the step, of any worker: its jobs wait until they have left.
   */
  async admit(step: Named, interrupted: AbortSignal | undefined): Promise<{ readonly mayGoOn: boolean }> {
    const { limitsOf, haveGuests } = this.#options;
    for (;;) {
      const { hasConcurrency } = await limitsOf(step);
      if (!hasConcurrency || !(await haveGuests(step))) return { mayGoOn: !hasConcurrency };
      await sleep(ADMISSION_INTERVAL_MS, undefined, { signal: interrupted });
    }
  }

  async #goOn(
    orderId: string,
    first: Transition,
    hosted: Promise<Hosted>,
    interrupted: AbortSignal | undefined,
  ): Promise<readonly Transition[]> {
    const result = await hosted;
    if (!result.isDone) return [];
    const further = result.next && (await this.handOver(orderId, result.next, interrupted));
    return [first, ...((await further?.ended) ?? [])];
  }

  /** Starts the next step in this process, if it can. */
  async #begin(
    orderId: string,
    transition: Transition,
    interrupted: AbortSignal | undefined,
  ): Promise<{ readonly hosted: Promise<Hosted> } | undefined> {
    const { step } = transition;
    const worker = this.#options.workerOf(step);
    if (!worker?.hasPlace) return undefined;
    if (this.#limited.has(step.name) && !(await this.#isUnlimited(step))) return undefined;
    const leave = this.#expectGuest(worker, step);
    // Announces first, then reads the limits: so whoever sets a limit later knows of the guest.
    const mayHost = (await this.#announced(step)) && (await this.#isUnlimited(step));
    // All may have changed while Redis answered.
    if (mayHost && worker.hasPlace && !interrupted?.aborted)
      return { hosted: worker.host(orderId, transition, interrupted).finally(leave) };
    leave();
    return undefined;
  }

  /** @returns what to call when the guest has left, or does not come. */
  #expectGuest(worker: Host, step: Named): () => void {
    const left = worker.expectGuest();
    return () => {
      left();
      // Jobs may be waiting for that.
      if (worker.guests === 0 && this.#limited.has(step.name)) this.#options.retractGuests();
    };
  }

  #announced(step: Named): Promise<boolean> {
    return this.#options.announceGuests(step).then(
      () => true,
      () => false,
    );
  }

  /** While Redis is away, nobody knows the limits. */
  async #isUnlimited(step: Named): Promise<boolean> {
    const limits = await this.#options.limitsOf(step).catch(() => undefined);
    if (limits?.isUnlimited) this.#limited.delete(step.name);
    else this.#limited.add(step.name);
    return limits?.isUnlimited ?? false;
  }
}
