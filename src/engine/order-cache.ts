import { afterTransition } from "../order/change.ts";
import type { StoredOrder } from "../order/order.ts";
import type { OrderTransition } from "./ports.ts";

const ORDERS = 5_000;
/** Larger orders are read each time: what is known must stay small. */
const LINES = 100;
/** Milliseconds for which an order is taken to be as this process has left it. */
const FRESH_MS = 200;

interface Known {
  readonly order: StoredOrder;
  /** When this process moved it, as `performance.now()` has it; -Infinity for one that was only read. */
  readonly movedAt: number;
}

/**
 * Orders that this process has read or moved a moment ago: most come to the next stage in the same process, and need not
 * be read as a whole again. Bounded: the one known longest is forgotten first.
 */
export class OrderCache {
  readonly #orders = new Map<string, Known>();

  /** As the order was when it was last seen; how it stands now is for MySQL to say. */
  get(id: string): StoredOrder | undefined {
    return this.#orders.get(id)?.order;
  }

  /**
   * The order as this process has just moved it, once: whoever comes again asks MySQL. Somebody else may have touched it
   * since, as they may between any look at an order and the work on it: what is done then is guarded by the keys under
   * which it is done, and by the compare-and-set that follows.
   */
  takeFresh(id: string): StoredOrder | undefined {
    const known = this.#orders.get(id);
    if (known === undefined || performance.now() - known.movedAt > FRESH_MS) return undefined;
    this.#orders.set(id, { order: known.order, movedAt: -Infinity });
    return known.order;
  }

  /** An order as it was just read. */
  note(order: StoredOrder): void {
    this.#keep(order, -Infinity);
  }

  /** An order of which something was changed that is not known here. */
  forget(id: string): void {
    this.#orders.delete(id);
  }

  /** A transition that was just made, of an order that nobody wants cancelled. */
  noteTransition(transition: OrderTransition): void {
    const order = this.get(transition.orderId);
    if (order?.status === transition.from) this.#keep(afterTransition(order, transition), performance.now());
  }

  #keep(order: StoredOrder, movedAt: number): void {
    if (order.lines.length > LINES) return;
    this.#orders.delete(order.id);
    this.#orders.set(order.id, { order, movedAt });
    if (this.#orders.size <= ORDERS) return;
    for (const oldest of this.#orders.keys()) {
      this.#orders.delete(oldest);
      break;
    }
  }
}
