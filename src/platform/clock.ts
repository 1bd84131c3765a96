/*
 * What the time is. Orders' deadlines, and what is due when, must not depend on which machine looks at its clock: one that
 * is a day ahead would cancel orders that are minutes old. So MySQL's clock counts wherever a process's own is off. Within a
 * second of it, the own one is the better one: a reading over the network is only as good as its way.
 */

/** Milliseconds by which a process's clock may differ from MySQL's. */
export const TOLERATED_MS = 1_000;
/** Readings that took longer say too little, unless there is none that says more. Milliseconds. */
const PROMPT_MS = 500;

/** A reading of MySQL's clock. In milliseconds. */
interface Reading {
  /** What it said (since 1970) minus `performance.now()`, which no clock that is set changes. */
  readonly aheadMs: number;
  /** By how much that may be wrong: half of the time that the reading took. */
  readonly uncertainMs: number;
  /** The same difference of the own clock. It changes when that is set, and when the machine has slept. */
  readonly ownAheadMs: number;
}

let reading: Reading | undefined;
/** Called once after a jump, until the next reading. */
let onJump: (() => void) | undefined;
let isJumpTold = false;

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

/** How far this process's clock is certainly ahead of MySQL's, in milliseconds; undefined if nothing is known. */
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
  const uncertainMs = (answeredAt - askedAt) / 2;
  const aheadMs = time - (askedAt + answeredAt) / 2;
  const isBetter =
    reading === undefined ||
    uncertainMs <= Math.max(PROMPT_MS / 2, reading.uncertainMs) ||
    hasJumped() ||
    // Both can't be true any more: MySQL's clock was set, or is another server's.
    Math.abs(aheadMs - reading.aheadMs) > uncertainMs + reading.uncertainMs;
  if (!isBetter) return;
  reading = {
    aheadMs,
    uncertainMs,
    ownAheadMs: Date.now() - answeredAt,
  };
  isJumpTold = false;
}

/** Whether MySQL's clock should be read now: it never was, or only slowly, or the own one has jumped since. */
export function isClockInDoubt(): boolean {
  return reading === undefined || reading.uncertainMs > PROMPT_MS / 2 || hasJumped();
}

/**
 * Whether the own clock and `performance.now()` have parted since the reading: somebody has set the clock, or the machine
 * has slept, which stops only the second. Which of both it was tells another reading.
 */
function hasJumped(own = Date.now()): boolean {
  if (reading === undefined) return false;
  return Math.abs(own - performance.now() - reading.ownAheadMs) > TOLERATED_MS;
}

/** Has somebody read MySQL's clock as soon as anybody asks for the time after a jump. @returns what ends that */
export function whenClockJumps(read: () => void): () => void {
  onJump = read;
  return () => {
    if (onJump === read) onJump = undefined;
  };
}

function skewAt(own: number): number | undefined {
  if (reading === undefined) return undefined;
  if (onJump !== undefined && !isJumpTold && hasJumped(own)) {
    isJumpTold = true;
    onJump();
  }
  const skew = own - (performance.now() + reading.aheadMs);
  return Math.abs(skew) <= reading.uncertainMs ? 0 : skew;
}
