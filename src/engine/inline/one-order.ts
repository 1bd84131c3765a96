import { afterTransition } from "../../order/change.ts";
import type { Transition } from "../../order/lifecycle.ts";
import type { StoredOrder } from "../../order/order.ts";
import type { ExecutorStore } from "../executor.ts";
import type { CancellationRequest, DueJob, OrderTransition } from "../ports.ts";

/**
 * The executor's store for one order that is carried through several stages in one go. It is read once and not before
 * each stage: what a stage changed is known. In turn no stage moves it on when its cancellation was asked for meanwhile,
 * so that this is noticed at the end of each stage. And what is due next is not handed over, but noted.
 */
export class OneOrder implements ExecutorStore {
  readonly #store: ExecutorStore;
  readonly #id: string;
  /** As the executor was last given it. */
  #given: StoredOrder | undefined;
  /** As it stands, if that is known. */
  #known: StoredOrder | undefined;
  #next: Transition | undefined;

  /** @param created the order, if it was just written down. */
  constructor(store: ExecutorStore, id: string, created?: StoredOrder) {
    this.#store = store;
    this.#id = id;
    this.#known = created;
  }

  /** The order as it stands, or as it was just written down. @throws {StorageError} */
  async look(): Promise<StoredOrder | undefined> {
    this.#known ??= await this.#store.load(this.#id);
    return this.#known;
  }

  /** Forgets what it knows: somebody else may have moved the order. */
  forget(): void {
    this.#known = undefined;
  }

  /** What the executor has handed over since this was last asked. */
  takeNext(): Transition | undefined {
    const next = this.#next;
    this.#next = undefined;
    return next;
  }

  async load(): Promise<StoredOrder | undefined> {
    this.#given = await this.look();
    this.forget();
    return this.#given;
  }

  async applyTransition(transition: OrderTransition): Promise<boolean> {
    const made = await this.#store.applyTransition({
      ...transition,
      unlessCancelled: transition.stage !== null,
    });
    if (made && this.#given) this.#known = afterTransition(this.#given, transition);
    return made;
  }

  requestCancellation(request: CancellationRequest): Promise<boolean> {
    return this.#store.requestCancellation(request);
  }

  clearFailed(orderId: string): Promise<void> {
    return this.#store.clearFailed(orderId);
  }

  /** Notes what is due next. */
  async enqueue({ transition }: DueJob): Promise<void> {
    this.#next = transition;
  }
}
