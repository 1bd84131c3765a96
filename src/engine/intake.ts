import type { Database } from "../../db/database.ts";
import { asNeverSent, failureKindOf, isUnknownOutcome } from "../../db/errors.ts";
import { createOrders, newOrderLocks, type CreatedOrder } from "../../db/new-orders.ts";
import type { Queues } from "../../queues/queues.ts";
import { grouped, withoutResults, type Commit, type Committer } from "../platform/group-commit.ts";
import type { Logger } from "../platform/log.ts";
import { CREATED, type Lifecycle } from "../order/lifecycle.ts";
import type { NewOrder } from "../order/order.ts";
import { describeError } from "../platform/describe-error.ts";

/**
 * Takes orders in. An order is accepted once MySQL has it. Its first job is added in the background after that, since an
 * accepted order must not wait for Redis.
 */
export class Intake {
  readonly #orders: Committer<NewOrder, CreatedOrder>;
  readonly #jobs: Committer<string, void>;
  readonly #log: Logger;
  readonly #withdraw: ((orderId: string) => void) | undefined;

  constructor(options: {
    readonly database: Database;
    readonly queues: Pick<Queues, "enqueue">;
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
    const { database, queues, lifecycle, commit = grouped, log, onEvents } = options;
    const transition = lifecycle.due(CREATED);
    if (transition === undefined) throw new Error("a pipeline has a first stage");
    this.#log = log;
    this.#withdraw = options.withdraw;
    this.#orders = commit({
      name: "new_orders",
      flush: async (orders) => {
        const created = await createOrders(database, orders);
        onEvents?.();
        return created;
      },
      kindOf: failureKindOf,
      isUnknown: isUnknownOutcome,
      asNeverSent,
      locks: newOrderLocks(database),
    });
    this.#jobs = commit({
      name: "first_jobs",
      flush: withoutResults((ids) => queues.enqueue(ids.map((orderId) => ({ orderId, transition })))),
      kindOf: () => "away",
    });
  }

  /**
   * Resolves when the order is written down for good, with the order that stands for it: the one given, or the one that
   * the same client's earlier request under the same idempotency key made. @throws {DatabaseError}
   * @throws {OverloadedError}
   */
  async accept(order: NewOrder): Promise<CreatedOrder> {
    const created = await this.#orders.submit(order).catch((error: unknown) => {
      if (isUnknownOutcome(error) && order.idempotency === null) this.#withdraw?.(order.id);
      throw error;
    });
    // A repeated one as well: what came before may have been cut off between MySQL and Redis.
    this.#jobs.submit(created.id).catch((error: unknown) => {
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
