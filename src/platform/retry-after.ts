import { nowMs } from "./clock.ts";

const SECOND = 1_000;
/** Maximum that a server may ask for. */
const LONGEST_RETRY_AFTER_MS = 24 * 3_600 * SECOND;

/** The three forms of RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`, and two from before. */
const HTTP_DATE =
  /^[A-Z][a-z]+, \d\d[ -][A-Z][a-z]{2}[ -]\d{2,4} \d\d:\d\d:\d\d GMT$|^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/;

/**
 * Parses a `Retry-After` header, seconds or a date (RFC 9110, section 10.2.3), to milliseconds, at most a day. What is
 * neither counts as none.
 */
export function parseRetryAfter(header: string | null | undefined, now = nowMs()): number | undefined {
  if (header === undefined || header === null) return undefined;
  const text = header.trim();
  // Date.parse() takes much for a date, such as -5.
  const date = HTTP_DATE.test(text) ? Date.parse(text.endsWith("GMT") ? text : `${text} GMT`) : NaN;
  const ms = /^\d+$/.test(text) ? Number(text) * SECOND : date - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), LONGEST_RETRY_AFTER_MS);
}
