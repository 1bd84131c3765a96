const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Milliseconds before each further attempt: eight attempts in a bit more than a day. */
export const RETRY_DELAYS_MS: readonly number[] = [
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  10 * HOUR,
];

/** What an endpoint may ask for at the most. */
const LONGEST_RETRY_AFTER_MS = 24 * HOUR;
/** So that what failed together does not come again together. */
const JITTER = 0.1;

/**
 * Milliseconds until the next attempt; undefined when there is to be none.
 *
 * @param attempts that were made. @param retryAfterMs what the endpoint asks for: no sooner than that.
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

/** The header `Retry-After` in milliseconds: seconds, or a date (RFC 9110, section 10.2.3). */
export function parseRetryAfter(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * SECOND : Date.parse(text) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), LONGEST_RETRY_AFTER_MS);
}
