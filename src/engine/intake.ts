import { grouped, type Commit, type Committer } from "../platform/group-commit.ts";
import { isUnknownOutcome } from "../platform/storage-error.ts";
import { CREATED, type Lifecycle, type Transition } from "../order/lifecycle.ts";
import type { NewOrder } from "../order/order.ts";
import type { BackgroundCalls } from "./background-calls.ts";
import { batchedEnqueue } from "./batching-store.ts";
import type { CreatedOrder, Dispatcher, DueJob, OrderStore } from "./ports.ts";

/**
 * Accepts orders. An order is accepted once MySQL has committed it. Its first job is enqueued in the background, so
 * that acceptance never waits for Redis.
 */
export class Intake {
  readonly #orders: Committer<NewOrder, CreatedOrder>;
  readonly #jobs: Committer<DueJob, void>;
  readonly #first: Transition;
  readonly #calls: BackgroundCalls;
  readonly #withdraw: ((orderId: string) => void) | undefined;

  constructor(options: {
    readonly store: OrderStore;
    readonly dispatcher: Dispatcher;
    readonly lifecycle: Lifecycle;
    readonly commit?: Commit;
    readonly calls: BackgroundCalls;
    /** Called after each committed batch of events. */
    readonly onEvents?: (() => void) | undefined;
    /**
     * Called with an order that may have been stored although its client was told otherwise, and that a repeated
     * request would not find.
     */
    readonly withdraw?: ((orderId: string) => void) | undefined;
  }) {
    const { store, dispatcher, lifecycle, commit = grouped, calls, onEvents } = options;
    const transition = lifecycle.due(CREATED);
    if (transition === undefined) throw new Error("the pipeline has no first stage");
    this.#first = transition;
    this.#calls = calls;
    this.#withdraw = options.withdraw;
    this.#orders = commit({
      name: "new_orders",
      flush: async (orders) => {
        const created = await store.createOrders(orders);
        onEvents?.();
        return created;
      },
      locks: store.newOrderLocks,
      weightOf: rowsOf,
    });
    this.#jobs = batchedEnqueue(dispatcher, { name: "first_jobs", commit });
  }

  /**
   * Stores an order. Resolves with that order, or with the one that an earlier request of the same client created under
   * the same idempotency key.
   *
   * @throws {StorageError} {@link OverloadedError}
   */
  async accept(order: NewOrder): Promise<CreatedOrder> {
    let created: CreatedOrder;
    try {
      created = await this.#orders.submit(order);
    } catch (error) {
      if (isUnknownOutcome(error) && order.idempotency === null) this.#withdraw?.(order.id);
      throw error;
    }
    // Also for a repeated request: the first one may have failed between MySQL and Redis.
    const job = { orderId: created.id, transition: this.#first };
    void this.#calls.make({
      make: () => this.#jobs.submit(job),
      missed: "accepted, but not queued yet",
      about: { orderId: created.id },
    });
    return created;
  }

  /** Resolves when no write to MySQL is pending. */
  idle(): Promise<void> {
    return this.#orders.idle();
  }
}

/** A plain line takes less, in MySQL and on the way there. Bytes. */
const ROW_BYTES = 100;

/** What an order takes in MySQL, in rows of lines: its texts may outweigh them. */
function rowsOf({ lines, adjustments, metadata, note }: NewOrder): number {
  return Math.max(
    lines.length,
    Buffer.byteLength(JSON.stringify([lines, adjustments, metadata, note])) / ROW_BYTES,
  );
}
