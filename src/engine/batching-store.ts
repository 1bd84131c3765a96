import { grouped, withoutResults, type Commit, type Committer } from "../platform/group-commit.ts";
import { failureKindOf } from "../platform/storage-error.ts";
import { CANCEL } from "../order/lifecycle.ts";
import type { StoredOrder } from "../order/order.ts";
import type { ExecutorStore } from "./executor.ts";
import { OrderCache } from "./order-cache.ts";
import type {
  CancellationRequest,
  Dispatcher,
  DueJob,
  OrderStore,
  OrderTransition,
  TransitionResult,
} from "./ports.ts";

/**
 * The store as the executor uses it. What many jobs want at the same moment is one statement, one transaction, one round
 * trip, as far as `commit` lets them share it; and an order that was here a moment ago is not read as a whole again.
 */
export class BatchingStore implements ExecutorStore {
  readonly #store: OrderStore;
  readonly #loads: Committer<string, StoredOrder | undefined>;
  readonly #transitions: Committer<OrderTransition, TransitionResult>;
  readonly #cache = new OrderCache();

  constructor(options: {
    readonly store: OrderStore;
    readonly commit?: Commit;
    /** Called with the step of every transition that is written and not committed yet, where a test may kill the process. */
    readonly crashHook?: ((point: "during batch", step: string) => void) | undefined;
    /** Told after every batch of events that is committed. */
    readonly onEvents?: (() => void) | undefined;
  }) {
    const { store, commit = grouped, crashHook, onEvents } = options;
    this.#store = store;
    this.#loads = commit({
      name: "loads",
      flush: (ids) => store.findOrders(ids, (id) => this.#cache.get(id)),
      kindOf: failureKindOf,
    });
    this.#transitions = commit({
      name: "status_changes",
      flush: async (transitions) => {
        const made = await store.applyTransitions(
          transitions,
          crashHook &&
            (() => transitions.forEach(({ stage }) => crashHook("during batch", stage ?? CANCEL.name))),
        );
        onEvents?.();
        return made;
      },
      kindOf: failureKindOf,
      locks: store.transitionLocks,
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

  requestCancellation(request: CancellationRequest): Promise<boolean> {
    this.#cache.forget(request.orderId);
    return this.#store.requestCancellation(request);
  }

  clearFailed(orderId: string): Promise<void> {
    return this.#store.clearFailed(orderId);
  }
}

/**
 * Hands jobs over to a dispatcher, those of the same moment together.
 *
 * @param name what the batches are called by whoever observes them.
 */
export function batchedEnqueue(
  dispatcher: Pick<Dispatcher, "enqueue">,
  { name, commit = grouped }: { readonly name: string; readonly commit?: Commit | undefined },
): Committer<DueJob, void> {
  return commit({
    name,
    flush: withoutResults((jobs) => dispatcher.enqueue(jobs)),
    // A dispatcher refuses all or none.
    kindOf: () => "away",
  });
}
