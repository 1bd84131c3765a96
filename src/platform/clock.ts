/*
 * What the time is. Orders' deadlines, and what is due when, must not depend on which machine looks at its clock: one that
 * is a day ahead would cancel orders that are minutes old. So MySQL's clock counts wherever a process's own is off. Within a
 * second of it, the own one is the better one: a reading over the network is only as good as its way.
 */

/** Milliseconds by which a process's clock may differ from MySQL's. */
export const TOLERATED_MS = 1_000;
/** Readings that took longer say too little. Milliseconds. */
const PROMPT_MS = 500;

/** MySQL's clock (since 1970) minus `performance.now()`, which no clock that is set changes. Milliseconds. */
let aheadMs: number | undefined;

/** Milliseconds since 1970, by MySQL's clock if this process's is off by more than a second. */
export function nowMs(): number {
  const own = Date.now();
  const skew = skewAt(own);
  return skew === undefined || Math.abs(skew) <= TOLERATED_MS ? own : Math.round(own - skew);
}

/** The same as a date. */
export function timestamp(): Date {
  return new Date(nowMs());
}

/** How far this process's clock is ahead of MySQL's, in milliseconds; undefined if it is not known. */
export function clockSkewMs(): number | undefined {
  return skewAt(Date.now());
}

/**
 * Takes a reading of MySQL's clock.
 *
 * @param time what it said, in milliseconds since 1970. @param askedAt in the time of `performance.now()`.
 */
export function noteServerTime(time: number, askedAt: number): void {
  const answeredAt = performance.now();
  if (answeredAt - askedAt > PROMPT_MS && aheadMs !== undefined) return;
  aheadMs = time - (askedAt + answeredAt) / 2;
}

function skewAt(own: number): number | undefined {
  return aheadMs === undefined ? undefined : own - (performance.now() + aheadMs);
}
