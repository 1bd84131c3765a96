import { expect, test } from "@jest/globals";
import { RETRY_DELAYS_MS, retryDelay } from "../../../src/events/webhooks/retries.ts";
import { parseRetryAfter } from "../../../src/platform/retry-after.ts";

const HOUR = 3_600_000;

test("there are eight attempts, over more than a day", () => {
  const delays: number[] = [];
  for (let attempts = 1; ; attempts++) {
    const delay = retryDelay(attempts, { random: () => 0 });
    if (delay === undefined) break;
    delays.push(delay);
  }
  expect(delays).toEqual(RETRY_DELAYS_MS);
  expect(delays).toHaveLength(7);
  const total = delays.reduce((sum, each) => sum + each, 0);
  expect(total).toBeGreaterThan(24 * HOUR);
  expect(total).toBeLessThan(30 * HOUR);
});

test("a wait is up to a tenth longer, and no shorter than the endpoint asks for", () => {
  expect(retryDelay(1, { random: () => 0.5 })).toBe(5_250);
  expect(retryDelay(1, { random: () => 0, retryAfterMs: 60_000 })).toBe(60_000);
  expect(retryDelay(2, { random: () => 0, retryAfterMs: 60_000 })).toBe(300_000);
  expect(retryDelay(8, { retryAfterMs: 60_000 })).toBeUndefined();
});

test.each([
  [undefined, undefined],
  ["120", 120_000],
  [" 1 ", 1_000],
  ["Mon, 23 Nov 2026 10:00:30 GMT", 30_000],
  ["Mon, 23 Nov 2026 09:00:00 GMT", 0],
  ["999999999", 24 * HOUR],
  ["9999999999", 24 * HOUR],
  ["9".repeat(400), 24 * HOUR],
  ["Mon Nov 23 11:00:00 2026", HOUR],
  ["Monday, 23-Nov-26 11:00:00 GMT", HOUR],
  ["-5", undefined],
  ["1.5", undefined],
  ["2027", 2_027_000],
  ["2027-01-01", undefined],
  ["soon", undefined],
])("Retry-After: %s", (header, expected) => {
  expect(parseRetryAfter(header, Date.parse("2026-11-23T10:00:00Z"))).toBe(expected);
});
