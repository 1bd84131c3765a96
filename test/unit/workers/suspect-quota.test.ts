import { describe, expect, test } from "@jest/globals";
import { quotaOf } from "../../../workers/suspect-quota.ts";

const ALL = ["a", "b", "c"];

describe("a limit over all workers", () => {
  test.each([
    [40, [4, 3, 3]],
    [12, [1, 1, 1]],
    [8, [1, 1, 0]],
    [1, [1, 0, 0]],
  ])("of %i orders lets suspects have a quarter of it together, and one at least", (limit, expected) => {
    expect(ALL.map((self) => quotaOf(limit, ALL, self))).toEqual(expected);
  });

  test("that is not set leaves each worker its own quarter", () => {
    expect(quotaOf(null, ALL, "a")).toBe(Infinity);
  });

  test("counts a worker that has said nothing yet", () => {
    expect(quotaOf(40, ["a", "b"], "c")).toBe(3);
  });
});
