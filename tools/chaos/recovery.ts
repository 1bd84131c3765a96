import type { EventRow } from "./evidence.ts";
import type { InjectedFault } from "./faults.ts";

/** A time span, in milliseconds since 1970. */
export type Span = Pick<InjectedFault, "startedAt" | "endedAt">;

/** How long the orders in flight took to make progress after a fault. */
export interface Recovery {
  /** Orders that had not ended when the fault ended. */
  readonly inFlight: number;
  /** Milliseconds from the end of the fault until the last of them moved on; undefined if one never did. */
  readonly tookMs: number | undefined;
  /** The same, without the time in which other faults were active. */
  readonly unbrokenMs: number | undefined;
  /** The order that took the longest. */
  readonly slowest: string | undefined;
}

/**
 * Computes the recovery from the orders' events: the longest time from the end of the fault to the next
 * transition of an order that was in flight. This includes the effect of other faults; leaving out the time in
 * which any other fault was active gives what the system itself needs.
 *
 * @param faults all faults of the run.
 */
export function recoveryOf(
  { endedAt }: Pick<Span, "endedAt">,
  faults: readonly Span[],
  events: readonly EventRow[],
): Recovery {
  const broken = merged(faults);
  let inFlight = 0;
  let tookMs: number | undefined = 0;
  let unbrokenMs: number | undefined = 0;
  let slowest: string | undefined;
  for (const [orderId, next] of nextSteps(endedAt, events)) {
    inFlight += 1;
    if (next === undefined) {
      tookMs = unbrokenMs = undefined;
      slowest = orderId;
    } else if (tookMs !== undefined && unbrokenMs !== undefined) {
      if (next - endedAt > tookMs) slowest = orderId;
      tookMs = Math.max(tookMs, next - endedAt);
      unbrokenMs = Math.max(unbrokenMs, next - endedAt - overlap(broken, endedAt, next));
    }
  }
  return { inFlight, tookMs, unbrokenMs, slowest };
}

/** For each order in flight at this moment, the time of its next transition. */
function nextSteps(moment: number, events: readonly EventRow[]): Map<string, number | undefined> {
  const steps = new Map<string, number | undefined>();
  for (const { orderId, to, at } of events) {
    if (at <= moment) {
      if (to === "DELIVERED" || to === "CANCELLED") steps.delete(orderId);
      else steps.set(orderId, undefined);
    } else if (steps.has(orderId)) {
      steps.set(orderId, Math.min(steps.get(orderId) ?? Infinity, at));
    }
  }
  return steps;
}

/** Merges overlapping spans, in order of time. */
function merged(spans: readonly Span[]): Span[] {
  const whole: Span[] = [];
  for (const { startedAt, endedAt } of spans.toSorted((a, b) => a.startedAt - b.startedAt)) {
    const last = whole.at(-1);
    if (last && startedAt <= last.endedAt)
      whole[whole.length - 1] = { startedAt: last.startedAt, endedAt: Math.max(last.endedAt, endedAt) };
    else whole.push({ startedAt, endedAt });
  }
  return whole;
}

function overlap(spans: readonly Span[], from: number, to: number): number {
  return spans.reduce(
    (sum, { startedAt, endedAt }) => sum + Math.max(0, Math.min(endedAt, to) - Math.max(startedAt, from)),
    0,
  );
}
