import { describe, expect, test } from "@jest/globals";
import { isSuspect } from "../../../queues/job.ts";
import { SuspectPlaces } from "../../../src/engine/suspects.ts";

describe("a job's order is suspected", () => {
  const job = { data: { orderId: "o" }, attemptsMade: 0, stacktrace: null };
  test.each([
    ["not when it is new", {}, false],
    ["when an attempt has failed", { attemptsMade: 1 }, true],
    ["when it was retried with its attempts reset", { stacktrace: ["Error: no answer"] }, true],
    ["when it was resumed", { data: { orderId: "o", suspect: true } }, true],
    [
      "not when it was served since it failed",
      { attemptsMade: 2, data: { orderId: "o", goodAtAttempt: 2 } },
      false,
    ],
    [
      "when it failed since it was served",
      { attemptsMade: 3, data: { orderId: "o", goodAtAttempt: 2 } },
      true,
    ],
  ] as const)("%s", (_when, given, expected) => {
    expect(
      isSuspect({
        ...job,
        ...given,
        stacktrace: "stacktrace" in given ? [...given.stacktrace] : [],
      }),
    ).toBe(expected);
  });
});

describe("suspects", () => {
  test.each([
    [50, 12],
    [12, 3],
    [4, 1],
    [1, 1],
  ])("have of %i places %i", (concurrency, expected) => {
    const suspects = new SuspectPlaces(() => concurrency);
    const taken = Array.from({ length: concurrency + 1 }, (_, index) => suspects.take(`order-${index}`));
    expect(taken.filter(Boolean)).toHaveLength(expected);
    expect([suspects.places, suspects.taken]).toEqual([expected, expected]);
  });

  test("take no second place for the same order, and give theirs back", () => {
    const suspects = new SuspectPlaces(() => 4);
    expect([suspects.take("a"), suspects.take("a"), suspects.take("b")]).toEqual([true, true, false]);
    suspects.leave("b");
    expect(suspects.take("b")).toBe(false);
    suspects.leave("a");
    expect(suspects.take("b")).toBe(true);
  });

  test("that find none get turns as far apart as places become free", () => {
    let now = 0;
    const suspects = new SuspectPlaces(() => 8, { now: () => now });
    suspects.take("a");
    suspects.take("b");
    now = 2_000;
    // One has held its place for so long already, and there are two places.
    expect([suspects.nextTurn(), suspects.nextTurn()]).toEqual([1_000, 2_000]);
    suspects.leave("a");
    suspects.leave("b");
    for (let index = 0; index < 50; index++) {
      suspects.take("quick");
      suspects.leave("quick");
    }
    // All of those took no time.
    now = 10_000;
    expect(suspects.nextTurn()).toBe(20);
  });

  test("that are many neither wait for ever nor come all at once", () => {
    const suspects = new SuspectPlaces(() => 4);
    suspects.take("slow");
    const turns = Array.from({ length: 10_000 }, () => suspects.nextTurn());
    expect(Math.max(...turns)).toBeLessThanOrEqual(60_000);
    const inOneSecond = new Map<number, number>();
    for (const turn of turns) {
      const second = Math.floor(turn / 1_000);
      inOneSecond.set(second, (inOneSecond.get(second) ?? 0) + 1);
    }
    expect(Math.max(...inOneSecond.values())).toBeLessThan(10_000 / 20);
  });
});
