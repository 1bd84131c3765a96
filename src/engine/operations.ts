import { setTimeout as sleep } from "node:timers/promises";
import { CANCEL, type Lifecycle, type Transition } from "../order/lifecycle.ts";
import {
  holding,
  patching,
  releasing,
  type Amendable,
  type Amendment,
  type Patch,
} from "../order/amendment.ts";
import type { Hold, StoredOrder } from "../order/order.ts";
import { timestamp } from "../platform/clock.ts";
import { afterwards } from "../platform/storage-error.ts";
import { describeError } from "../platform/describe-error.ts";
import type { Logger } from "../platform/log.ts";
import type { BackgroundCalls } from "./background-calls.ts";
import type { Cancellation } from "./cancellation.ts";
import type {
  Dispatcher,
  FailedOrder,
  NewAction,
  OperatorStore,
  OrderStore,
  QueueSettings,
} from "./ports.ts";
import { PAUSES_MS, type Waking } from "./waking.ts";

export interface OperationOptions {
  readonly store: Pick<OrderStore, "findOrders"> & OperatorStore;
  readonly dispatcher: Pick<Dispatcher, "revive" | "replace">;
  readonly cancellation: Pick<Cancellation, "request">;
  readonly lifecycle: Lifecycle;
  readonly calls: BackgroundCalls;
  readonly log: Logger;
  readonly waking: Pick<Waking, "wake">;
  /** Runs a delayed job now. @returns whether it was delayed. Absent without queues. */
  readonly promote?: ((orderId: string, transition: Transition) => Promise<boolean>) | undefined;
  /** Applies the stored queue settings to the dispatcher. Absent without queues. */
  readonly applySettings?: (() => Promise<void>) | undefined;
  /** Called after events are written. */
  readonly onEvents?: (() => void) | undefined;
}

/**
 * Operators' actions on orders and queues, shared by the API, the console and Bull Board. Each is recorded with its
 * actor. Every method throws a `StorageError` when the store fails.
 */
export class Operations {
  readonly #options: OperationOptions;

  constructor(options: OperationOptions) {
    this.#options = options;
  }

  /**
   * Requests an order's cancellation and returns the order. Repeating it changes nothing.
   *
   * @returns `accepted` false when it is too late; undefined if there is no such order.
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
   * Resumes a failed order with a full set of attempts, or runs a delayed or waiting one now.
   *
   * @returns false if the order is neither failed nor delayed, and does not wait; undefined if there is no such order.
   * @throws {Error} from the dispatcher, if the job is delayed and the dispatcher is away.
   */
  async retry(orderId: string, actor: string): Promise<boolean | undefined> {
    const { store, lifecycle, waking, promote } = this.#options;
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
    const runs =
      (transition !== undefined && promote !== undefined && (await promote(orderId, transition))) ||
      (await waking.wake(orderId))?.isWaiting === true;
    if (!runs) await store.updateAction(id, { done: 0, state: "failed" });
    return runs;
  }

  /**
   * Has an order go on for which something has come: the result of a stage, or a change of its parcels. At once if it waits, and
   * also if it has failed in one of these steps, with a full set of attempts.
   */
  async goOn(orderId: string, steps: readonly string[], actor: string): Promise<void> {
    const order = await this.#options.waking.wake(orderId);
    if (!order || order.failedIn === null || !steps.includes(order.failedIn)) return;
    const { id, status, isCancelled } = order;
    // One that is being cancelled runs none of its stages.
    if (isCancelled && !steps.includes(CANCEL.name)) return;
    await this.resume([{ id, status, cancelRequested: isCancelled }], actor);
  }

  /**
   * Changes an order, as far as it is not so already.
   *
   * @returns the order; undefined if there is none. @throws {NotAmendableError} once its shipment is booked
   */
  patch(orderId: string, patch: Patch, actor: string): Promise<StoredOrder | undefined> {
    const { lifecycle } = this.#options;
    return this.#amend(orderId, (order) => patching(lifecycle, order, patch), { actor, action: "change" });
  }

  /**
   * Holds an order: no stage begins until its last hold is released. Repeating it changes nothing.
   *
   * @returns the order; undefined if there is none. @throws {NotAmendableError} once it has ended
   */
  hold(
    orderId: string,
    { name, reason }: Pick<Hold, "name" | "reason">,
    actor: string,
  ): Promise<StoredOrder | undefined> {
    const { lifecycle } = this.#options;
    const hold = { name, reason, at: timestamp(), actor };
    return this.#amend(orderId, (order) => holding(lifecycle, order, hold), {
      actor,
      action: "hold",
      details: { hold: name },
    });
  }

  /**
   * Releases a hold of an order, which goes on at once if it was the last.
   *
   * @returns the order; undefined if there is none. @throws {NotAmendableError} if it has no such hold
   */
  release(orderId: string, name: string, actor: string): Promise<StoredOrder | undefined> {
    return this.#amend(orderId, (order) => releasing(order, name), {
      actor,
      action: "release",
      details: { hold: name },
    });
  }

  async #amend(
    orderId: string,
    decide: (order: Amendable) => Amendment | undefined,
    action: Omit<NewAction, "target">,
  ): Promise<StoredOrder | undefined> {
    const { store, waking, log, onEvents } = this.#options;
    const by = { actor: action.actor, at: timestamp(), action: { ...action, target: orderId } };
    const amended = await store.amendOrder(orderId, decide, by);
    if (amended === undefined) return undefined;
    if (amended !== "unchanged") {
      onEvents?.();
      // The change says so too, so that the sweeper finds what this one misses.
      if (amended.wakes)
        await waking.wake(orderId).catch((error: unknown) => {
          log.warn({ orderId, error: describeError(error) }, "changed, but not woken yet");
        });
    }
    const [order] = await afterwards(() => store.findOrders([orderId]));
    return order;
  }

  /**
   * Resumes those orders that have failed, with a full set of attempts, and queues them at once.
   *
   * @param action recorded with it; absent if the caller has recorded one.
   * @returns how many had failed; `queued` resolves when they are queued or left to the sweeper.
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

  /** Pauses a step on all workers. */
  pause(step: string, actor: string): Promise<void> {
    return this.#changeQueue(step, { paused: true }, { actor, action: "pause", target: step });
  }

  /** Resumes a paused step. */
  unpause(step: string, actor: string): Promise<void> {
    return this.#changeQueue(step, { paused: false }, { actor, action: "resume", target: step });
  }

  /** @param concurrency jobs of a step at once, over all workers; null for no limit. */
  limitConcurrency(step: string, concurrency: number | null, actor: string): Promise<void> {
    const details = { concurrency: concurrency ?? "no limit" };
    return this.#changeQueue(step, { concurrency }, { actor, action: "concurrency", target: step, details });
  }

  /** @param rateLimit jobs of a step per period, over all workers; null for the stage's own limit. */
  limitRate(step: string, rateLimit: QueueSettings["rateLimit"], actor: string): Promise<void> {
    const details = rateLimit
      ? { max: rateLimit.max, seconds: rateLimit.durationMs / 1_000 }
      : { max: "no limit" };
    return this.#changeQueue(step, { rateLimit }, { actor, action: "rate-limit", target: step, details });
  }

  async #changeQueue(step: string, change: Partial<QueueSettings>, action: NewAction): Promise<void> {
    const { store, applySettings, log } = this.#options;
    await store.changeQueue(step, change, action);
    try {
      await applySettings?.();
    } catch (error) {
      // Workers reconcile the settings every few seconds.
      log.warn({ step, error: describeError(error) }, "queue settings saved, but not applied to Redis yet");
    }
  }

  /** Runs in the background unless awaited. */
  #queue(orders: readonly FailedOrder[]): Promise<void> {
    const { dispatcher, lifecycle, calls } = this.#options;
    const due = orders.flatMap(({ id, status, cancelRequested }) => {
      // A status that only the pipeline in force knows is left to its workers, whose sweeper finds the order.
      const transition = lifecycle.knows(status)
        ? lifecycle.next({ status, cancelled: cancelRequested })
        : undefined;
      // Redis may not know any more that it has failed.
      return transition ? [{ orderId: id, transition, suspect: true }] : [];
    });
    // A cancellation may have failed in the queue of the stage that found it; it goes on in that of its own.
    const left = orders.flatMap(({ id, status, cancelRequested }) => {
      const transition = cancelRequested && lifecycle.knows(status) ? lifecycle.due(status) : undefined;
      return transition ? [{ job: { orderId: id, transition } }] : [];
    });
    const revive = async () => {
      if (left.length > 0) await dispatcher.replace(left);
      // An order that has only just failed may still have its job for a moment.
      for (const pauseMs of [...PAUSES_MS, undefined]) {
        if ((await dispatcher.revive(due)) === due.length || pauseMs === undefined) return;
        await sleep(pauseMs);
      }
    };
    return calls.make({
      make: revive,
      missed: "resumed, but not queued yet",
      about: { orders: due.length },
    });
  }
}
