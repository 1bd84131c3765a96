import { expect, test } from "@jest/globals";
import { bounded, counted, duration, number } from "../../../src/api/console/format.ts";

test.each([
  [0, "0 ms"],
  [-5, "0 ms"],
  [340.4, "340 ms"],
  [999.6, "1 s"],
  [4_210, "4.2 s"],
  [60_000, "1 min"],
  [200_000, "3 min 20 s"],
  [3_600_000, "1 h"],
  [187_200_000, "2 d 4 h"],
])("%d milliseconds are %s", (milliseconds, text) => {
  expect(duration(milliseconds)).toBe(text);
});

test("numbers are written as people read them", () => {
  expect(number(1_234_567)).toBe("1,234,567");
  expect(number(1.26)).toBe("1.3");
  expect(bounded({ count: 1_000, more: true })).toBe("1,000+");
  expect([counted(1, "order"), counted(2, "order"), counted(0, "order")]).toEqual([
    "1 order",
    "2 orders",
    "0 orders",
  ]);
});
