import { describe, expect, test } from "@jest/globals";
import { durationInWords, parseDuration } from "../../src/platform/duration.ts";

describe("a duration", () => {
  test.each([
    ["30s", 30_000],
    ["90m", 5_400_000],
    ["24h", 86_400_000],
    ["2d", 172_800_000],
    ["0s", 0],
  ])("%s is %d milliseconds", (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  test.each(["", "24", "h", "24 h", "24H", "-1h", "1.5h", "1h30m", "24hours", "9999999999s", "١s"])(
    '"%s" is none',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );

  test.each([
    [86_400_000, "24 hours"],
    [172_800_000, "2 days"],
    [5_400_000, "90 minutes"],
    [3_600_000, "60 minutes"],
    [2_000, "2 seconds"],
    [1_000, "1000 milliseconds"],
    [2_500, "2500 milliseconds"],
  ])("of %d milliseconds reads %s", (milliseconds, words) => {
    expect(durationInWords(milliseconds)).toBe(words);
  });
});
