import { describe, expect, test } from "@jest/globals";
import { v7 as uuidv7 } from "uuid";
import { partOfConcurrency, partOfRate, queueNameFor, queueNames } from "../../../queues/shards.ts";

describe("a stage's queues", () => {
  test("have the stage's name if there is one, as before there were shards", () => {
    expect(queueNames("pay", 1)).toEqual(["pay"]);
    expect(queueNameFor("0190a0b0-0000-7000-8000-000000000000", "pay", 1)).toBe("pay");
    expect(queueNames("pay", 3)).toEqual(["pay-0", "pay-1", "pay-2"]);
  });

  test("share orders evenly, each order always in the same one", () => {
    // Another result would lose the jobs of orders that an earlier version has queued.
    expect(queueNameFor("0190a0b0-0000-7000-8000-000000000000", "pay", 4)).toBe("pay-0");
    expect(queueNameFor("0190a0b0-0000-7000-8000-000000000005", "ship", 4)).toBe("ship-3");
    const counts = new Map<string, number>();
    for (let order = 0; order < 8_000; order++) {
      const name = queueNameFor(uuidv7(), "pay", 4);
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    expect([...counts.keys()].toSorted()).toEqual(queueNames("pay", 4));
    for (const count of counts.values()) expect(Math.abs(count - 2_000)).toBeLessThan(250);
  });
});

describe("a limit", () => {
  const parts = (of: number) => Array.from({ length: of }, (_, index) => ({ index, of }));

  test.each([
    [4, 4],
    [5, 4],
    [7, 4],
    [100, 3],
    [1, 1],
  ])("of %d jobs is divided among %d queues without a rest", (limit, of) => {
    const shares = parts(of).map((part) => partOfConcurrency(limit, part));
    expect(shares.reduce((sum, share) => sum + share, 0)).toBe(limit);
    expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
  });

  test("below the number of queues closes none of them", () => {
    expect(parts(4).map((part) => partOfConcurrency(2, part))).toEqual([1, 1, 1, 1]);
  });

  test("of a rate comes out as the same rate, however low", () => {
    expect(parts(4).map((part) => partOfRate({ max: 10, duration: 1_000 }, part).max)).toEqual([3, 3, 2, 2]);
    const slow = parts(4).map((part) => partOfRate({ max: 3, duration: 1_000 }, part));
    for (const each of slow) expect(each).toEqual({ max: 1, duration: 1_334 });
  });
});
