import { describe, expect, test } from "@jest/globals";
import {
  bucketLimit,
  MinuteCounts,
  noCounts,
  quantile,
  sumOf,
} from "../../../../queues/telemetry/minute-counts.ts";

function countsOf(...durations: number[]) {
  const counts = new MinuteCounts();
  for (const duration of durations) counts.done("pay", duration);
  return sumOf(counts.take().values());
}

describe("the 95 % quantile of durations", () => {
  test.each([0, 0.3, 1, 7, 99, 1_000, 59_999])(
    "is at most a fifth above %d ms, and never below",
    (duration) => {
      const found = quantile(countsOf(duration), 0.95) ?? NaN;
      expect(found).toBeGreaterThanOrEqual(duration);
      expect(found).toBeLessThanOrEqual(Math.max(1, duration * 1.2));
    },
  );

  test("lets one in twenty be longer", () => {
    const short = Array.from({ length: 95 }, () => 10);
    expect(quantile(countsOf(...short, ...Array.from({ length: 5 }, () => 5_000)), 0.95)).toBeLessThan(12);
    expect(quantile(countsOf(...short, ...Array.from({ length: 6 }, () => 5_000)), 0.95)).toBeGreaterThan(
      4_999,
    );
  });

  test("of nothing is not known", () => {
    expect(quantile(noCounts(), 0.95)).toBeUndefined();
  });
});

test("buckets double every four", () => {
  expect([0, 4, 8].map(bucketLimit)).toEqual([1, 2, 4]);
});

test("what was counted is taken once", () => {
  const counts = new MinuteCounts();
  counts.done("pay", 5);
  counts.failed("pay");
  expect(sumOf(counts.take().values())).toMatchObject({ done: 1, failed: 1 });
  expect(counts.take().size).toBe(0);
});
