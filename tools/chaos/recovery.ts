import type { EventRow } from "./evidence.ts";
import type { InjectedFault } from "./faults.ts";

/** A span of time, milliseconds since 1970. */
export type Span = Pick<InjectedFault, "startedAt" | "endedAt">;

/** How long the orders that a fault met took to go on after it. */
export interface Recovery {
  /** Orders that were accepted and had not ended when the fault ended. */
  readonly inFlight: number;
  /** Milliseconds after the fault's end until the last of them took its next step; undefined when one never did. */
  readonly tookMs: number | undefined;
  /** The longest that one of them stood still after the fault while nothing else was broken either. */
  readonly unbrokenMs: number | undefined;
  /** The order that took longest. */
  readonly slowest: string | undefined;
}

/**
 * Told from the orders' own events: for each order that was in flight when the fault ended, the time from then to its
 * next step, whichever that is. The longest of them is the recovery. In it is what other faults did meanwhile; without
 * the time in which anything else was broken, it tells what the line needs by itself.
 *
 * @param faults all of the run.
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

/** For each order that was on its way at this moment, when it took its next step. */
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

/** The spans without their overlaps, in order of time. */
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
