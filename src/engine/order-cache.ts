import { afterTransition } from "../order/change.ts";
import type { Lifecycle } from "../order/lifecycle.ts";
import type { StoredOrder } from "../order/order.ts";
import { remember } from "../platform/remember.ts";
import type { OrderTransition } from "./ports.ts";

const ORDERS = 5_000;
/** Larger orders are not cached, to keep the cache small. */
const LINES = 100;
/** How long an order counts as unchanged after this process moved it. Milliseconds. */
const FRESH_MS = 200;

interface Known {
  readonly order: StoredOrder;
  /** When this process moved it (`performance.now()`); -Infinity if it was only read. */
  readonly movedAt: number;
}

/**
 * A bounded cache of orders that this process has just read or moved. Most orders reach their next stage in the same
 * process and need not be read in full again. The oldest entry is evicted first.
 */
export class OrderCache {
  readonly #orders = new Map<string, Known>();
  readonly #lifecycle: Pick<Lifecycle, "hasEnded"> | undefined;

  /** @param lifecycle tells which orders nobody will ask for again. */
  constructor(lifecycle?: Pick<Lifecycle, "hasEnded">) {
    this.#lifecycle = lifecycle;
  }

  /** The order as last seen. Only MySQL knows its current status. */
  get(id: string): StoredOrder | undefined {
    return this.#orders.get(id)?.order;
  }

  /**
   * The order as this process just left it, once; the next caller asks MySQL. Another process may have changed it
   * since, as it may between any read and the work that follows: idempotency keys and the compare-and-set protect
   * against that.
   */
  takeFresh(id: string): StoredOrder | undefined {
    const known = this.#orders.get(id);
    if (known === undefined || performance.now() - known.movedAt > FRESH_MS) return undefined;
    this.#orders.set(id, { order: known.order, movedAt: -Infinity });
    return known.order;
  }

  /** Caches an order that was just read. */
  note(order: StoredOrder): void {
    this.#keep(order, -Infinity);
  }

  /** Drops an order that was changed elsewhere. */
  forget(id: string): void {
    this.#orders.delete(id);
  }

  /** Applies a committed transition to the cached order. Only for orders without a cancellation request. */
  noteTransition(transition: OrderTransition): void {
    const order = this.get(transition.orderId);
    // Kept orders are what costs most in the collection of garbage.
    if (this.#lifecycle?.hasEnded(transition.to)) this.forget(transition.orderId);
    else if (order?.status === transition.from)
      this.#keep(afterTransition(order, transition), performance.now());
  }

  #keep(order: StoredOrder, movedAt: number): void {
    if (order.lines.length > LINES) return;
    remember(this.#orders, order.id, { order, movedAt }, ORDERS);
  }
}
