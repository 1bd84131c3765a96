import { grouped, type Commit, type Committer } from "../platform/group-commit.ts";
import { asNeverSent, failureKindOf, isUnknownOutcome } from "../platform/storage-error.ts";
import type { Logger } from "../platform/log.ts";
import { CREATED, type Lifecycle, type Transition } from "../order/lifecycle.ts";
import type { NewOrder } from "../order/order.ts";
import { describeError } from "../platform/describe-error.ts";
import { batchedEnqueue } from "./batching-store.ts";
import type { CreatedOrder, Dispatcher, DueJob, OrderStore } from "./ports.ts";

/**
 * Takes orders in. An order is accepted once MySQL has it. Its first job is added in the background after that, since an
 * accepted order must not wait for Redis.
 */
export class Intake {
  readonly #orders: Committer<NewOrder, CreatedOrder>;
  readonly #jobs: Committer<DueJob, void>;
  readonly #first: Transition;
  readonly #log: Logger;
  readonly #withdraw: ((orderId: string) => void) | undefined;

  constructor(options: {
    readonly store: OrderStore;
    readonly dispatcher: Dispatcher;
    readonly lifecycle: Lifecycle;
    readonly commit?: Commit;
    readonly log: Logger;
    /** Told after every batch of events that is committed. */
    readonly onEvents?: (() => void) | undefined;
    /**
     * Told of an order that may have been written down although its client is told that it could not be, and that a
     * repeated request would not find.
     */
    readonly withdraw?: ((orderId: string) => void) | undefined;
  }) {
    const { store, dispatcher, lifecycle, commit = grouped, log, onEvents } = options;
    const transition = lifecycle.due(CREATED);
    if (transition === undefined) throw new Error("a pipeline has a first stage");
    this.#first = transition;
    this.#log = log;
    this.#withdraw = options.withdraw;
    this.#orders = commit({
      name: "new_orders",
      flush: async (orders) => {
        const created = await store.createOrders(orders);
        onEvents?.();
        return created;
      },
      kindOf: failureKindOf,
      isUnknown: isUnknownOutcome,
      asNeverSent,
      locks: store.newOrderLocks,
    });
    this.#jobs = batchedEnqueue(dispatcher, { name: "first_jobs", commit });
  }

  /**
   * Resolves when the order is written down for good, with the order that stands for it: the one given, or the one that
   * the same client's earlier request under the same idempotency key made. @throws {StorageError}
   * @throws {OverloadedError}
   */
  async accept(order: NewOrder): Promise<CreatedOrder> {
    const created = await this.#orders.submit(order).catch((error: unknown) => {
      if (isUnknownOutcome(error) && order.idempotency === null) this.#withdraw?.(order.id);
      throw error;
    });
    // A repeated one as well: what came before may have been cut off between MySQL and Redis.
    this.#jobs.submit({ orderId: created.id, transition: this.#first }).catch((error: unknown) => {
      this.#log.warn({ orderId: created.id, error: describeError(error) }, "accepted, but not queued yet");
    });
    return created;
  }

  /** Resolves when nothing is on its way to MySQL or Redis. */
  async idle(): Promise<void> {
    await this.#orders.idle();
    await this.#jobs.idle();
  }
}
