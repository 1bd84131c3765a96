import type { StatusChange } from "../db/orders.ts";
import type { StoredOrder } from "../src/order/order.ts";

const ORDERS = 5_000;
/** Larger orders are read each time: what is known must stay small. */
const LINES = 100;

/**
 * Orders that this process has read or moved a moment ago: most come to the next stage in the same process, and need not
 * be read as a whole again. Bounded: the one known longest is forgotten first.
 */
export class KnownOrders {
  readonly #orders = new Map<string, StoredOrder>();

  /** As the order was when it was last seen; how it stands now is for MySQL to say. */
  get(id: string): StoredOrder | undefined {
    return this.#orders.get(id);
  }

  /** An order as it was just read. */
  note(order: StoredOrder): void {
    if (order.lines.length > LINES) return;
    this.#orders.delete(order.id);
    this.#orders.set(order.id, order);
    if (this.#orders.size <= ORDERS) return;
    for (const oldest of this.#orders.keys()) {
      this.#orders.delete(oldest);
      break;
    }
  }

  /** A change that was just made. */
  noteChange({ orderId, from, to, stage, record }: StatusChange): void {
    const order = this.#orders.get(orderId);
    if (order?.status !== from) return;
    const records = stage === null || record === null ? order.records : { ...order.records, [stage]: record };
    this.note({ ...order, status: to, records });
  }
}
