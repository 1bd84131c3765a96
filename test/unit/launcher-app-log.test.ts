import { describe, expect, test } from "@jest/globals";
import { createLogDigest } from "../../tools/launcher/app-log.ts";

function entry(level: string, msg: string, more: object = {}): string {
  return JSON.stringify({ level, time: "2026-03-01T12:34:56.789Z", name: "api", pid: 1, ...more, msg });
}

describe("what the terminal shows of a log", () => {
  test.each([
    ["a warning", entry("warn", "slow"), "12:34:56 api warn slow"],
    [
      "an error with its cause",
      entry("error", "failed", { err: { message: "no\n  luck" } }),
      "12:34:56 api error failed: no luck",
    ],
    [
      "an error as text",
      entry("fatal", "gone", { error: "Error: why" }),
      "12:34:56 api fatal gone: Error: why",
    ],
    [
      "a complaint of a process that can't start",
      "PORT must be a number",
      expect.stringMatching(/api warn PORT must be a number$/),
    ],
    ["a broken JSON line", '{"level":"error", oh', expect.stringContaining("oh")],
  ])("%s", (_name, line, shown) => {
    expect(createLogDigest("api")(line)).toEqual(shown);
  });

  test.each([
    ["what is merely informative", entry("info", "listening")],
    ["stack frames", "    at main (src/main.ts:1:1)"],
    ["empty lines", ""],
  ])("not %s", (_name, line) => {
    expect(createLogDigest("api")(line)).toBeUndefined();
  });

  test("the same message only now and then, with a count", () => {
    let time = 0;
    const digest = createLogDigest("worker", () => time);
    const line = entry("warn", "Redis does not answer");
    expect(digest(line)).toBeDefined();
    time = 5000;
    expect([digest(line), digest(line)]).toEqual([undefined, undefined]);
    expect(digest(entry("warn", "something else"))).toBeDefined();
    time = 11_000;
    expect(digest(line)).toBe("12:34:56 worker warn Redis does not answer (and 2 more like it)");
  });
});
