import { CANCELLED, CREATED } from "../../../src/order/lifecycle.ts";
import { isAtRest, type OrderState } from "../client.ts";
import type { DemoOrder } from "./orders.ts";

/** One order of the demo, as it was last seen. */
export interface WatchedOrder {
  readonly demo: DemoOrder;
  readonly state: OrderState;
  /** The last status it was seen in before it was cancelled, if it was. */
  readonly reached: string;
}

/** The orders of the demo that were accepted, in the order of acceptance. */
export class Watch {
  readonly #orders = new Map<string, WatchedOrder>();

  get orders(): readonly WatchedOrder[] {
    return [...this.#orders.values()];
  }

  get size(): number {
    return this.#orders.size;
  }

  /** The id from which on orders can be the demo's; undefined before the first. */
  get oldest(): string | undefined {
    let oldest: string | undefined;
    for (const id of this.#orders.keys()) if (oldest === undefined || id < oldest) oldest = id;
    return oldest;
  }

  /** Takes in an order that was accepted. */
  add(demo: DemoOrder, state: OrderState): WatchedOrder {
    const order = { demo, state, reached: CREATED };
    this.#orders.set(state.id, order);
    return order;
  }

  /** Takes note of how an order stands. Gives it when that is news, and nothing when not or when it is another's order. */
  see(state: OrderState): WatchedOrder[] {
    const known = this.#orders.get(state.id);
    if (!known) return [];
    const reached = state.status === CANCELLED ? known.reached : state.status;
    const now = { demo: known.demo, state, reached };
    this.#orders.set(state.id, now);
    const isNews = known.state.status !== state.status || known.state.failed?.at !== state.failed?.at;
    return isNews ? [now] : [];
  }

  /** Orders by what there is to say of them: their status, or that they failed. */
  counts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { state } of this.#orders.values()) {
      const key = state.failed ? FAILED : state.status;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
  }

  /** Whether nothing more happens to any of them by itself. */
  get isAtRest(): boolean {
    return this.orders.every(({ state }) => isAtRest(state));
  }
}

/** Stands for the status of an order that waits for a retry. */
export const FAILED = "needs a retry";
