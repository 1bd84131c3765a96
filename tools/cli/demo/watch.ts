import { CANCELLED, CREATED } from "../../../src/order/lifecycle.ts";
import { isSettled, type OrderState } from "../client.ts";
import type { DemoOrder } from "./orders.ts";

/** An order of the demo, as last seen. */
export interface WatchedOrder {
  readonly demo: DemoOrder;
  readonly state: OrderState;
  /** The last status seen other than CANCELLED. */
  readonly reached: string;
}

/** The demo's accepted orders, in the order of acceptance. */
export class Watch {
  readonly #orders = new Map<string, WatchedOrder>();

  get orders(): readonly WatchedOrder[] {
    return [...this.#orders.values()];
  }

  get size(): number {
    return this.#orders.size;
  }

  /** The lowest id of the demo's orders; undefined before the first. */
  get oldest(): string | undefined {
    let oldest: string | undefined;
    for (const id of this.#orders.keys()) if (oldest === undefined || id < oldest) oldest = id;
    return oldest;
  }

  /** Adds an accepted order. */
  add(demo: DemoOrder, state: OrderState): WatchedOrder {
    const order = { demo, state, reached: CREATED };
    this.#orders.set(state.id, order);
    return order;
  }

  /**
   * Records an order's state. Returns the order if the state changed; nothing if it did not or the order is not
   * ours.
   */
  see(state: OrderState): WatchedOrder[] {
    const known = this.#orders.get(state.id);
    if (!known) return [];
    const reached = state.status === CANCELLED ? known.reached : state.status;
    const now = { demo: known.demo, state, reached };
    this.#orders.set(state.id, now);
    const isNews = known.state.status !== state.status || known.state.failed?.at !== state.failed?.at;
    return isNews ? [now] : [];
  }

  /** Counts the orders by status; failed ones under {@link FAILED}. */
  counts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { state } of this.#orders.values()) {
      const key = state.failed ? FAILED : state.status;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
  }

  /** Whether all orders have settled. */
  get isSettled(): boolean {
    return this.orders.every(({ state }) => isSettled(state));
  }
}

/** Shown instead of the status of an order that failed. */
export const FAILED = "needs a retry";
