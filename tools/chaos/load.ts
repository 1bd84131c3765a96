import { setTimeout as delay } from "node:timers/promises";
import type { Customers } from "./customers.ts";
import type { ChaosOrder } from "./orders.ts";

/** Customers who may wait for an answer at once; when so many do, the next one comes later. */
const MOST_WAITING = 2_000;
const TICK_MS = 5;

/** Lets customers come at a steady rate, whether or not those before them were served. @throws when it is aborted. */
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
    for (; index < due && customers.waiting < MOST_WAITING; index++) {
      const order = orders[index];
      if (order) customers.come(order);
    }
    await delay(TICK_MS, undefined, { signal });
  }
}
