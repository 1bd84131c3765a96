import { setTimeout as delay } from "node:timers/promises";
import type { Customers } from "./customers.ts";
import type { ChaosOrder } from "./orders.ts";

/** Requests in flight at most; beyond that, the next order waits. */
const MAX_IN_FLIGHT = 2_000;
const TICK_MS = 5;

/** Places orders at a steady rate, whether or not earlier ones were answered. @throws when aborted */
export async function steadyLoad(
  customers: Customers,
  orders: readonly ChaosOrder[],
  lengthMs: number,
  signal: AbortSignal,
): Promise<void> {
  const began = performance.now();
  const gap = lengthMs / Math.max(1, orders.length);
  let index = 0;
  while (index < orders.length) {
    const due = Math.min(orders.length, Math.floor((performance.now() - began) / gap) + 1);
    for (; index < due && customers.waiting < MAX_IN_FLIGHT; index++) {
      const order = orders[index];
      if (order) customers.place(order);
    }
    await delay(TICK_MS, undefined, { signal });
  }
}
