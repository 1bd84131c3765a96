import type { Logger } from "../platform/log.ts";
import { CANCELLED, type Lifecycle } from "../order/lifecycle.ts";
import type { StoredOrder } from "../order/order.ts";
import { describeError } from "../platform/describe-error.ts";
import { afterwards } from "../platform/storage-error.ts";
import type { Dispatcher, NewAction, OrderStore } from "./ports.ts";

export interface CancellationOptions {
  readonly store: OrderStore;
  readonly dispatcher: Dispatcher;
  readonly lifecycle: Lifecycle;
  readonly log: Logger;
  /** Told after every request that was committed. */
  readonly onEvents?: (() => void) | undefined;
}

/** Takes requests to cancel orders. What is to be undone is undone by a worker, never while a stage runs for the order. */
export class Cancellation {
  readonly #options: CancellationOptions;
  readonly #underWay = new Set<Promise<void>>();

  constructor(options: CancellationOptions) {
    this.#options = options;
  }

  /**
   * Notes that the order is to be cancelled, and gives it as it then stands. Asking again changes nothing.
   *
   * @param actor who asks for it.
   * @param action what is written down with it, if nobody had asked before.
   * @returns `accepted` false when it is too late; undefined when there is no such order. @throws {StorageError}
   */
  async request(
    orderId: string,
    reason: string,
    actor: string | null = null,
    action?: NewAction,
  ): Promise<{ readonly accepted: boolean; readonly order: StoredOrder } | undefined> {
    const { store, lifecycle, onEvents } = this.#options;
    const whileIn = lifecycle.statuses.filter((status) => lifecycle.canCancel(status));
    const request = { orderId, whileIn, reason, at: new Date(), actor };
    const noted = await store.requestCancellation(request, action);
    onEvents?.();
    const [order] = await afterwards(() => store.findOrders([orderId]));
    if (order === undefined) return undefined;
    if (noted) this.#queue(order);
    return { accepted: noted || order.status === CANCELLED, order };
  }

  /** Resolves when nothing is on its way to Redis. */
  async idle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  /** Behind the client's back, like the first job of an order; what is lost here the sweeper finds. */
  #queue({ id, status }: StoredOrder): void {
    const { lifecycle, dispatcher, log } = this.#options;
    const due = lifecycle.due(status);
    const cancelling = lifecycle.cancelling(status);
    if (due === undefined || cancelling === undefined) return;
    const done = dispatcher
      .replace([{ job: { orderId: id, transition: due }, by: { orderId: id, transition: cancelling } }])
      .catch((error: unknown) => {
        log.warn({ orderId: id, error: describeError(error) }, "to be cancelled, but not queued yet");
      })
      .finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
  }
}
