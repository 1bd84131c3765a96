const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Milliseconds before each further attempt: eight attempts in a little over a day. */
export const RETRY_DELAYS_MS: readonly number[] = [
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  10 * HOUR,
];

/** Spreads retries of messages that failed together. */
const JITTER = 0.1;

/**
 * Milliseconds until the next attempt; undefined if there is none.
 *
 * @param attempts the number of attempts so far
 * @param retryAfterMs the minimum that the endpoint asks for
 */
export function retryDelay(
  attempts: number,
  {
    delaysMs = RETRY_DELAYS_MS,
    retryAfterMs = 0,
    random = Math.random,
  }: {
    readonly delaysMs?: readonly number[];
    readonly retryAfterMs?: number;
    readonly random?: () => number;
  },
): number | undefined {
  const delay = delaysMs[attempts - 1];
  return delay === undefined ? undefined : Math.max(delay * (1 + JITTER * random()), retryAfterMs);
}
