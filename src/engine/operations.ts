import type { Lifecycle, Transition } from "../order/lifecycle.ts";
import type { StoredOrder } from "../order/order.ts";
import { describeError } from "../platform/describe-error.ts";
import type { Logger } from "../platform/log.ts";
import type { Cancellation } from "./cancellation.ts";
import type { Dispatcher, FailedOrder, NewAction, OperationStore, OrderStore, QueueChange } from "./ports.ts";

export interface OperationOptions {
  readonly store: Pick<OrderStore, "findOrders"> & OperationStore;
  readonly dispatcher: Pick<Dispatcher, "revive">;
  readonly cancellation: Pick<Cancellation, "request">;
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
  /** Has a job that waits for its time taken at once. @returns whether it waited. Absent without queues. */
  readonly wake?: ((orderId: string, transition: Transition) => Promise<boolean>) | undefined;
  /** Has the dispatcher go by the settings of the queues that are stored. Absent without queues. */
  readonly applySettings?: (() => Promise<void>) | undefined;
  /** Told after events are written. */
  readonly onEvents?: (() => void) | undefined;
}

/**
 * What people, and programs for them, do to orders and queues: the API, the console and Bull Board all call these. Each
 * deed is written down with who did it. Every method throws a `StorageError` when the store can't do it.
 */
export class Operations {
  readonly #options: OperationOptions;
  readonly #underWay = new Set<Promise<void>>();

  constructor(options: OperationOptions) {
    this.#options = options;
  }

  /**
   * Notes that an order is to be cancelled, and gives it as it then stands. Asking again changes nothing.
   *
   * @returns `accepted` false when it is too late; undefined when there is no such order.
   */
  async cancel(
    orderId: string,
    reason: string,
    actor: string,
  ): Promise<{ readonly accepted: boolean; readonly order: StoredOrder } | undefined> {
    const { store, cancellation } = this.#options;
    const action = { actor, action: "cancel", target: orderId, details: { reason } };
    const cancelled = await cancellation.request(orderId, reason, actor, action);
    if (cancelled?.accepted === false) await store.recordAction({ ...action, state: "failed" });
    return cancelled;
  }

  /**
   * Has an order that failed go on, with all its attempts, and one that waits for its next attempt make it now.
   *
   * @returns false when it does neither any more; undefined when there is no such order.
   * @throws {Error} of the dispatcher, when it waits and the dispatcher is away.
   */
  async retry(orderId: string, actor: string): Promise<boolean | undefined> {
    const { store, lifecycle, wake } = this.#options;
    const [order] = await store.findOrders([orderId]);
    if (order === undefined) return undefined;
    const { status, cancellation } = order;
    const action = { actor, action: "retry", target: orderId };
    const failed = { id: orderId, status, cancelRequested: cancellation !== null };
    const { resumed, queued } = await this.resume([failed], actor, action);
    await queued;
    if (resumed > 0) return true;
    const transition = lifecycle.next({ status, cancelled: failed.cancelRequested });
    const id = await store.recordAction(action);
    const woken = transition !== undefined && wake !== undefined && (await wake(orderId, transition));
    if (!woken) await store.updateAction(id, { done: 0, state: "failed" });
    return woken;
  }

  /**
   * Puts those of the orders that have failed back on their way, with all their attempts, and has them queued at once.
   *
   * @param action what is written down with it; absent for a part of what is written down already.
   * @returns how many had failed; `queued` resolves when they are queued, or when the sweeper will have to do that.
   */
  async resume(
    orders: readonly FailedOrder[],
    actor: string,
    action?: NewAction,
  ): Promise<{ readonly resumed: number; readonly queued: Promise<void> }> {
    const { store, onEvents } = this.#options;
    const ids = orders.map(({ id }) => id);
    const resumed = await store.resumeOrders(ids, actor, action);
    if (resumed === 0) return { resumed, queued: Promise.resolve() };
    onEvents?.();
    return { resumed, queued: this.#queue(orders) };
  }

  /** Has no job of a step begin, over all workers. */
  pause(step: string, actor: string): Promise<void> {
    return this.#changeQueue(step, { paused: true }, { actor, action: "pause", target: step });
  }

  /** Has jobs of a step begin again. */
  unpause(step: string, actor: string): Promise<void> {
    return this.#changeQueue(step, { paused: false }, { actor, action: "resume", target: step });
  }

  /** @param concurrency jobs of a step at the same moment, over all workers; null for no limit. */
  limitConcurrency(step: string, concurrency: number | null, actor: string): Promise<void> {
    const details = { concurrency: concurrency ?? "no limit" };
    return this.#changeQueue(step, { concurrency }, { actor, action: "concurrency", target: step, details });
  }

  /** @param rateLimit so many jobs of a step in so many milliseconds, over all workers; null for the stage's own limit. */
  limitRate(
    step: string,
    rateLimit: NonNullable<QueueChange["rateLimit"]> | null,
    actor: string,
  ): Promise<void> {
    const details = rateLimit
      ? { max: rateLimit.max, seconds: rateLimit.durationMs / 1_000 }
      : { max: "no limit" };
    return this.#changeQueue(step, { rateLimit }, { actor, action: "rate-limit", target: step, details });
  }

  /** Resolves when nothing is on its way to the dispatcher. */
  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #changeQueue(step: string, change: QueueChange, action: NewAction): Promise<void> {
    const { store, applySettings, log } = this.#options;
    await store.changeQueue(step, change, action);
    try {
      await applySettings?.();
    } catch (error) {
      // Workers look every few seconds whether it is so.
      log.warn({ step, error: describeError(error) }, "queue settings are saved, but not in Redis yet");
    }
  }

  /** Nobody waits for the dispatcher who does not want to; what it misses, the sweeper finds. */
  #queue(orders: readonly FailedOrder[]): Promise<void> {
    const { dispatcher, lifecycle, log } = this.#options;
    const due = orders.flatMap(({ id, status, cancelRequested }) => {
      const transition = lifecycle.next({ status, cancelled: cancelRequested });
      return transition ? [{ orderId: id, transition }] : [];
    });
    const done = dispatcher
      .revive(due)
      .then(
        () => undefined,
        (error: unknown) => {
          log.warn({ orders: due.length, error: describeError(error) }, "resumed, but not queued yet");
        },
      )
      .finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
    return done;
  }
}
