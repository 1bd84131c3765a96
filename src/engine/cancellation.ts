import type { Logger } from "../platform/log.ts";
import { CANCELLED, type Lifecycle } from "../order/lifecycle.ts";
import type { StoredOrder } from "../order/order.ts";
import { describeError } from "../platform/describe-error.ts";
import { afterwards } from "../platform/storage-error.ts";
import type { Dispatcher, NewAction, OrderStore } from "./ports.ts";
import { timestamp } from "../platform/clock.ts";

export interface CancellationOptions {
  readonly store: OrderStore;
  readonly dispatcher: Dispatcher;
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
  /** Called after each committed request. */
  readonly onEvents?: (() => void) | undefined;
}

/** Accepts requests to cancel orders. A worker does the undoing, never while a stage runs for the order. */
export class Cancellation {
  readonly #options: CancellationOptions;
  readonly #underWay = new Set<Promise<void>>();

  constructor(options: CancellationOptions) {
    this.#options = options;
  }

  /**
   * Requests an order's cancellation and returns the order. Repeating it changes nothing.
   *
   * @param actor who asks for it.
   * @param action recorded with the request, if it is the first.
   * @returns `accepted` false when it is too late; undefined if there is no such order. @throws {StorageError}
   */
  async request(
    orderId: string,
    reason: string,
    actor: string | null = null,
    action?: NewAction,
  ): Promise<{ readonly accepted: boolean; readonly order: StoredOrder } | undefined> {
    const { store, lifecycle, onEvents } = this.#options;
    const whileIn = lifecycle.statuses.filter((status) => lifecycle.canCancel(status));
    const request = { orderId, whileIn, reason, at: timestamp(), actor };
    const noted = await store.requestCancellation(request, action);
    onEvents?.();
    const [order] = await afterwards(() => store.findOrders([orderId]));
    if (order === undefined) return undefined;
    if (noted) this.#queue(order);
    return { accepted: noted || order.status === CANCELLED, order };
  }

  /** Resolves when no write to Redis is pending. */
  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  /** In the background, like an order's first job. The sweeper finds what is lost here. */
  #queue({ id, status }: StoredOrder): void {
    const { lifecycle, dispatcher, log } = this.#options;
    const due = lifecycle.due(status);
    const cancelling = lifecycle.cancelling(status);
    if (due === undefined || cancelling === undefined) return;
    const done = dispatcher
      .replace([{ job: { orderId: id, transition: due }, by: { orderId: id, transition: cancelling } }])
      .catch((error: unknown) => {
        log.warn({ orderId: id, error: describeError(error) }, "cancellation requested, but not queued yet");
      })
      .finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
  }
}
