import { failureKindOf } from "../../db/errors.ts";
import type { Database } from "../../db/database.ts";
import {
  applyTransitions,
  transitionLocks,
  type TransitionResult,
  type OrderTransition,
} from "../../db/transitions.ts";
import { clearFailed } from "../../db/failures.ts";
import { findOrders } from "../../db/orders.ts";
import { requestCancellation } from "../../db/cancellations.ts";
import type { DueJob, Queues } from "../../queues/queues.ts";
import { grouped, withoutResults, type Commit, type Committer } from "../platform/group-commit.ts";
import { CANCEL } from "../order/lifecycle.ts";
import type { StoredOrder } from "../order/order.ts";
import type { ExecutorStore } from "./executor.ts";
import { OrderCache } from "./order-cache.ts";

/**
 * MySQL and Redis for the executor. What many jobs want at the same moment is one statement, one transaction, one round
 * trip, as far as `commit` lets them share it.
 */
export class OrderStore implements ExecutorStore {
  readonly #database: Database;
  readonly #loads: Committer<string, StoredOrder | undefined>;
  readonly #transitions: Committer<OrderTransition, TransitionResult>;
  readonly #jobs: Committer<DueJob, void>;
  readonly #cache = new OrderCache();

  constructor(options: {
    readonly database: Database;
    readonly queues: Pick<Queues, "enqueue">;
    readonly commit?: Commit;
    /** Called with the step of every transition that is written and not committed yet, where a test may kill the process. */
    readonly crashHook?: ((point: "during batch", step: string) => void) | undefined;
    /** Told after every batch of events that is committed. */
    readonly onEvents?: (() => void) | undefined;
  }) {
    const { database, queues, commit = grouped, crashHook, onEvents } = options;
    this.#database = database;
    this.#loads = commit({
      name: "loads",
      flush: (ids) => findOrders(database, ids, (id) => this.#cache.get(id)),
      kindOf: failureKindOf,
    });
    this.#transitions = commit({
      name: "status_changes",
      flush: async (transitions) => {
        const made = await applyTransitions(
          database,
          transitions,
          crashHook &&
            (() => transitions.forEach(({ stage }) => crashHook("during batch", stage ?? CANCEL.name))),
        );
        onEvents?.();
        return made;
      },
      kindOf: failureKindOf,
      locks: transitionLocks(database),
    });
    this.#jobs = commit({
      name: "next_jobs",
      flush: withoutResults((jobs) => queues.enqueue(jobs)),
      // Redis refuses all or none.
      kindOf: () => "away",
    });
  }

  async load(orderId: string): Promise<StoredOrder | undefined> {
    const order = await this.#loads.submit(orderId);
    if (order) this.#cache.note(order);
    return order;
  }

  recall(orderId: string): StoredOrder | undefined {
    return this.#cache.takeFresh(orderId);
  }

  async applyTransition(transition: OrderTransition): Promise<boolean> {
    const { made, toBeCancelled } = await this.#transitions.submit(transition);
    if (made && !toBeCancelled) this.#cache.noteTransition(transition);
    else this.#cache.forget(transition.orderId);
    return made;
  }

  requestCancellation(request: Parameters<ExecutorStore["requestCancellation"]>[0]): Promise<boolean> {
    this.#cache.forget(request.orderId);
    return requestCancellation(this.#database, request);
  }

  clearFailed(orderId: string): Promise<void> {
    return clearFailed(this.#database, orderId);
  }

  enqueue(job: DueJob): Promise<void> {
    return this.#jobs.submit(job);
  }
}
