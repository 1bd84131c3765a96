import { nowMs } from "./clock.ts";
const SECOND = 1_000;
/** Maximum that a server may ask for. */
const LONGEST_RETRY_AFTER_MS = 24 * 3_600 * SECOND;

/** Parses a `Retry-After` header, seconds or a date (RFC 9110, section 10.2.3), to milliseconds, at most a day. */
export function parseRetryAfter(header: string | null | undefined, now = nowMs()): number | undefined {
  if (header === undefined || header === null) return undefined;
  const text = header.trim();
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * SECOND : Date.parse(text) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), LONGEST_RETRY_AFTER_MS);
}
