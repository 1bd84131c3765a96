import { withoutResults } from "../platform/flush.ts";
import { grouped, type Commit, type Committer } from "../platform/group-commit.ts";
import { CANCEL, type Lifecycle } from "../order/lifecycle.ts";
import type { StoredOrder } from "../order/order.ts";
import type { ExecutorStore } from "./executor.ts";
import { OrderCache } from "./order-cache.ts";
import type {
  CancellationRequest,
  Dispatcher,
  DueJob,
  OrderStore,
  OrderTransition,
  OrderWait,
  TransitionResult,
} from "./ports.ts";

/**
 * The executor's store. Concurrent jobs share statements, transactions and round trips, as far as `commit` allows, and
 * recently seen orders are not read in full again.
 */
export class BatchingStore implements ExecutorStore {
  readonly #store: OrderStore;
  readonly #loads: Committer<string, StoredOrder | undefined>;
  readonly #transitions: Committer<OrderTransition, TransitionResult>;
  /** Those that move stock, so that the others don't wait for a popular product. */
  readonly #stockTransitions: Committer<OrderTransition, TransitionResult>;
  readonly #waits: Committer<OrderWait, boolean>;
  readonly #cache: OrderCache;

  constructor(options: {
    readonly store: OrderStore;
    readonly commit?: Commit;
    readonly lifecycle?: Pick<Lifecycle, "hasEnded">;
    /** Called with each transition's step before the commit, where a test may kill the process. */
    readonly crashHook?: ((point: "during batch", step: string) => void) | undefined;
    /** Called after each committed batch of events. */
    readonly onEvents?: (() => void) | undefined;
  }) {
    const { store, commit = grouped, crashHook, onEvents } = options;
    this.#store = store;
    this.#cache = new OrderCache(options.lifecycle);
    this.#loads = commit({
      name: "loads",
      flush: (ids) => store.findOrders(ids, (id) => this.#cache.get(id)),
    });
    const transitions = (name: string) =>
      commit<OrderTransition, TransitionResult>({
        name,
        flush: async (batch) => {
          const made = await store.applyTransitions(
            batch,
            crashHook &&
              (() => batch.forEach(({ stage }) => crashHook("during batch", stage ?? CANCEL.name))),
          );
          onEvents?.();
          return made;
        },
        locks: store.transitionLocks,
        weightOf: ({ stock }) => stock?.lines.length ?? 1,
      });
    this.#waits = commit({
      name: "waits",
      flush: async (waits) => {
        const noted = await store.markWaiting(waits);
        onEvents?.();
        return noted;
      },
    });
    this.#transitions = transitions("status_changes");
    this.#stockTransitions = transitions("stock_moves");
  }

  async load(orderId: string): Promise<StoredOrder | undefined> {
    const order = await this.#loads.submit(orderId);
    if (order) this.#cache.note(order);
    return order;
  }

  recall(orderId: string): StoredOrder | undefined {
    return this.#cache.takeFresh(orderId);
  }

  async applyTransition(transition: OrderTransition): Promise<TransitionResult> {
    const result = await (transition.stock ? this.#stockTransitions : this.#transitions).submit(transition);
    if (result.made && !result.toBeCancelled && result.isChanged !== true)
      this.#cache.noteTransition(transition);
    else this.#cache.forget(transition.orderId);
    return result;
  }

  requestCancellation(request: CancellationRequest): Promise<boolean> {
    this.#cache.forget(request.orderId);
    return this.#store.requestCancellation(request);
  }

  markWaiting(wait: OrderWait): Promise<boolean> {
    this.#cache.forget(wait.orderId);
    return this.#waits.submit(wait);
  }

  clearFailed(orderId: string): Promise<void> {
    return this.#store.clearFailed(orderId);
  }
}

/**
 * Batches jobs for a dispatcher.
 *
 * @param name the batches' name in metrics and traces.
 */
export function batchedEnqueue(
  dispatcher: Pick<Dispatcher, "enqueue">,
  { name, commit = grouped }: { readonly name: string; readonly commit?: Commit | undefined },
): Committer<DueJob, void> {
  return commit({
    name,
    flush: withoutResults((jobs) => dispatcher.enqueue(jobs)),
    // A dispatcher accepts all jobs or none.
    kindOf: () => "away",
  });
}
