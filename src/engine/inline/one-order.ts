import { afterTransition } from "../../order/change.ts";
import type { StoredOrder } from "../../order/order.ts";
import type { ExecutorStore } from "../executor.ts";
import type { CancellationRequest, OrderTransition, OrderWait } from "../ports.ts";

/**
 * The executor's store while one order runs through several stages in a row. The order is read once, not before each
 * stage, since each stage's changes are known. In return, no stage advances an order whose cancellation was requested
 * meanwhile, so a cancellation is noticed after each stage.
 */
export class OneOrder implements ExecutorStore {
  readonly #store: ExecutorStore;
  readonly #id: string;
  /** The order as last given to the executor. */
  #given: StoredOrder | undefined;
  /** The order's current state, if known. */
  #known: StoredOrder | undefined;

  /** @param created the order, if it was just created. */
  constructor(store: ExecutorStore, id: string, created?: StoredOrder) {
    this.#store = store;
    this.#id = id;
    this.#known = created;
  }

  /** The order's current state. @throws {StorageError} */
  async look(): Promise<StoredOrder | undefined> {
    this.#known ??= await this.#store.load(this.#id);
    return this.#known;
  }

  /** Discards the known state: another process may have changed the order. */
  forget(): void {
    this.#known = undefined;
  }

  async load(): Promise<StoredOrder | undefined> {
    this.#given = await this.look();
    this.forget();
    return this.#given;
  }

  async applyTransition(transition: OrderTransition): ReturnType<ExecutorStore["applyTransition"]> {
    const result = await this.#store.applyTransition({
      ...transition,
      unlessCancelled: transition.stage !== null,
    });
    if (result.made && this.#given) this.#known = afterTransition(this.#given, transition);
    return result;
  }

  requestCancellation(request: CancellationRequest): Promise<boolean> {
    return this.#store.requestCancellation(request);
  }

  markWaiting(wait: OrderWait): Promise<boolean> {
    return this.#store.markWaiting(wait);
  }

  clearFailed(orderId: string): Promise<void> {
    return this.#store.clearFailed(orderId);
  }
}
