import type { EventRow } from "./evidence.ts";
import type { InjectedFault } from "./faults.ts";

/** How long the orders that a fault met took to go on after it. */
export interface Recovery {
  /** Orders that were accepted and had not ended when the fault ended. */
  readonly inFlight: number;
  /** Milliseconds after the fault's end until the last of them took its next step; undefined when one never did. */
  readonly tookMs: number | undefined;
  /** The order that took longest. */
  readonly slowest: string | undefined;
}

/**
 * Told from the orders' own events: for each order that was in flight when the fault ended, the time from then to its
 * next step, whichever that is. The longest of them is the recovery. Other faults that came meanwhile count with it.
 */
export function recoveryOf(
  { endedAt }: Pick<InjectedFault, "endedAt">,
  events: readonly EventRow[],
): Recovery {
  const orders = new Map<string, { last: string; next: number | undefined }>();
  for (const { orderId, to, at } of events) {
    const order = orders.get(orderId);
    if (at <= endedAt) orders.set(orderId, { last: to, next: undefined });
    else if (order) order.next = Math.min(order.next ?? Infinity, at);
  }
  let inFlight = 0;
  let took: number | undefined = 0;
  let slowest: string | undefined;
  for (const [orderId, { last, next }] of orders) {
    if (last === "DELIVERED" || last === "CANCELLED") continue;
    inFlight += 1;
    if (next === undefined) {
      took = undefined;
      slowest = orderId;
    } else if (took !== undefined && next - endedAt > took) {
      took = next - endedAt;
      slowest = orderId;
    }
  }
  return { inFlight, tookMs: took, slowest };
}
