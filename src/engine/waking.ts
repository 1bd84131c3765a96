import { setTimeout as sleep } from "node:timers/promises";
import type { Lifecycle } from "../order/lifecycle.ts";
import { grouped, type Commit, type Committer } from "../platform/group-commit.ts";
import type { BackgroundCalls } from "./background-calls.ts";
import type { Dispatcher, OrderStore, WokenOrder } from "./ports.ts";

/** Pauses before an order is queued once more that still had the job of an attempt that has just ended. Milliseconds. */
export const PAUSES_MS = [50, 200, 500];

export interface WakingOptions {
  readonly store: Pick<OrderStore, "wakeOrders" | "findOrders">;
  readonly dispatcher: Pick<Dispatcher, "revive">;
  readonly lifecycle: Lifecycle;
  readonly commit?: Commit;
  readonly calls: BackgroundCalls;
}

/**
 * Wakes orders that wait for somebody else to act, for anybody in any process: a provider's webhook, a callback, a change
 * of stock. A wake is only a nudge, after which the stage asks for the truth. It is written down first, so that a stage
 * that asked before it and waits after it runs again, and so that the sweeper finds it if the dispatcher is away.
 */
export class Waking {
  readonly #options: WakingOptions;
  readonly #wakes: Committer<string, WokenOrder | undefined>;

  constructor(options: WakingOptions) {
    const { store, commit = grouped } = options;
    this.#options = options;
    this.#wakes = commit({
      name: "wakes",
      flush: async (ids) => {
        const woken = await store.wakeOrders(ids);
        const waiting = woken.filter((order) => order?.isWaiting).map((order) => [order?.id, order] as const);
        this.#start([...new Map(waiting).values()]);
        return woken;
      },
    });
  }

  /**
   * Brings an order forward at once if it waits, or as soon as it does.
   *
   * @returns the order as it was; undefined if there is none. @throws {StorageError}
   */
  wake(orderId: string): Promise<WokenOrder | undefined> {
    return this.#wakes.submit(orderId);
  }

  /** In the background. */
  #start(orders: readonly (WokenOrder | undefined)[]): void {
    const woken = orders.filter((order) => order !== undefined);
    if (woken.length === 0) return;
    void this.#options.calls.make({
      make: () => this.#queue(woken),
      missed: "woken, but not queued yet",
      about: { orders: woken.length },
    });
  }

  async #queue(orders: readonly WokenOrder[]): Promise<void> {
    const { dispatcher, lifecycle, store } = this.#options;
    let left = orders;
    for (const pauseMs of [...PAUSES_MS, undefined]) {
      const due = left.flatMap(({ id: orderId, status, isCancelled }) => {
        // A status that only the pipeline in force knows is left to its workers, whose sweeper finds the order.
        const transition = lifecycle.knows(status)
          ? lifecycle.next({ status, cancelled: isCancelled })
          : undefined;
        return transition ? [{ orderId, transition }] : [];
      });
      if ((await dispatcher.revive(due)) === due.length || pauseMs === undefined) return;
      await sleep(pauseMs);
      // Those whose job was still held by the attempt that has written the wait.
      const current = await store.findOrders(left.map(({ id }) => id));
      left = left.filter(({ status }, index) => {
        const order = current[index];
        return order?.status === status && order.waiting !== null && order.wokenAt !== null;
      });
    }
  }
}
