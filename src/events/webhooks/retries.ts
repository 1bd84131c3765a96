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

/** Maximum that an endpoint may ask for. */
const LONGEST_RETRY_AFTER_MS = 24 * HOUR;
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

/** Parses a `Retry-After` header, seconds or a date (RFC 9110, section 10.2.3), to milliseconds. */
export function parseRetryAfter(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * SECOND : Date.parse(text) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), LONGEST_RETRY_AFTER_MS);
}
