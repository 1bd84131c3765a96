import { CANCELLED, type Lifecycle } from "../order/lifecycle.ts";
import type { StoredOrder } from "../order/order.ts";
import { afterwards } from "../platform/storage-error.ts";
import type { BackgroundCalls } from "./background-calls.ts";
import type { Dispatcher, NewAction, OrderStore } from "./ports.ts";
import { timestamp } from "../platform/clock.ts";

export interface CancellationOptions {
  readonly store: OrderStore;
  readonly dispatcher: Dispatcher;
  readonly lifecycle: Lifecycle;
  readonly calls: BackgroundCalls;
  /** Called after each committed request. */
  readonly onEvents?: (() => void) | undefined;
}

/** Accepts requests to cancel orders. A worker does the undoing, never while a stage runs for the order. */
export class Cancellation {
  readonly #options: CancellationOptions;

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

  /** In the background, like an order's first job. */
  #queue({ id, status }: StoredOrder): void {
    const { lifecycle, dispatcher, calls } = this.#options;
    const due = lifecycle.due(status);
    const cancelling = lifecycle.cancelling(status);
    if (due === undefined || cancelling === undefined) return;
    const replacement = {
      job: { orderId: id, transition: due },
      by: { orderId: id, transition: cancelling },
    };
    void calls.make({
      make: () => dispatcher.replace([replacement]),
      missed: "cancellation requested, but not queued yet",
      about: { orderId: id },
    });
  }
}
