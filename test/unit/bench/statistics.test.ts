import { describe, expect, test } from "@jest/globals";
import { ratioOf, spreadIfKnown, spreadOf } from "../../../tools/bench/statistics.ts";

describe("a spread", () => {
  test.each([
    [[5], { median: 5, least: 5, most: 5 }],
    [[9, 1, 5], { median: 5, least: 1, most: 9 }],
    [[10, 1, 3, 2], { median: 2.5, least: 1, most: 10 }],
  ])("of %j has its median, its ends and its values", (values, expected) => {
    expect(spreadOf(values)).toEqual({ ...expected, values });
  });

  test.each([[[]], [[1, Number.NaN]], [[Infinity]]])("of %j is none: nothing was measured", (values) => {
    expect(() => spreadOf(values)).toThrow("no measurement");
  });
});

test("a spread of which a value is unknown is unknown", () => {
  expect(spreadIfKnown([1, Number.NaN])).toBeNull();
  expect(spreadIfKnown([1, 2])).toEqual(spreadOf([1, 2]));
  expect(() => spreadIfKnown([])).toThrow("no measurement");
});

describe("a ratio", () => {
  test("is that of what was measured together, and not of the medians", () => {
    // The machine was three times as slow in the second round.
    const [fast, slow] = [spreadOf([90, 30, 80]), spreadOf([30, 10, 40])];
    expect(ratioOf(fast, slow)).toEqual({ median: 3, least: 2, most: 3, values: [3, 3, 2] });
  });

  test("needs pairs", () => {
    expect(() => ratioOf(spreadOf([1, 2]), spreadOf([1]))).toThrow("form pairs");
    expect(() => ratioOf(spreadOf([1]), spreadOf([0]))).toThrow("no measurement");
  });
});
