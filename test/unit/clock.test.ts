import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, jest, test } from "@jest/globals";
import { clockSkewMs, isClockInDoubt, noteServerTime, nowMs, timestamp } from "../../src/platform/clock.ts";
import { clockInWords, ClockWatch } from "../../src/platform/clock-watch.ts";
import { createLogger } from "../../src/platform/log.ts";
import { waitFor } from "../support/wait-for.ts";

const HOUR_MS = 3_600_000;

/** A reading, just now, of a server whose clock is so far ahead. */
function read(aheadMs: number, tookMs = 0): void {
  noteServerTime(Date.now() + aheadMs - tookMs / 2, performance.now() - tookMs);
}

afterEach(() => {
  jest.restoreAllMocks();
  read(0);
});

describe("the time", () => {
  test("is this process's own as long as that is within a second of MySQL's", () => {
    read(900);
    expect(Math.abs(nowMs() - Date.now())).toBeLessThan(50);
  });

  test.each([-25 * HOUR_MS, -1_500, 1_500, HOUR_MS])("is MySQL's if its clock is %i ms ahead", (aheadMs) => {
    read(aheadMs);
    expect(Math.abs(nowMs() - (Date.now() + aheadMs))).toBeLessThan(50);
    expect(Math.abs(timestamp().getTime() - nowMs())).toBeLessThan(50);
    expect(Math.abs((clockSkewMs() ?? 0) + aheadMs)).toBeLessThan(50);
  });

  test("goes on when this process's clock jumps, without another reading", () => {
    read(0);
    const before = Date.now();
    jest.spyOn(Date, "now").mockReturnValue(before - HOUR_MS);
    expect(Math.abs(nowMs() - before)).toBeLessThan(100);
    expect(Math.abs((clockSkewMs() ?? 0) + HOUR_MS)).toBeLessThan(100);
  });

  test("is not taken from a reading that took long", () => {
    read(0);
    read(1_400, 3_000);
    expect(Math.abs(nowMs() - Date.now())).toBeLessThan(50);
    expect(isClockInDoubt()).toBe(false);
  });

  test("is taken from a reading that took long if that contradicts the one before, however long it took", () => {
    read(0);
    read(HOUR_MS, 3_000);
    expect(Math.abs(nowMs() - (Date.now() + HOUR_MS))).toBeLessThan(50);
    read(2 * HOUR_MS, 4_000);
    expect(Math.abs(nowMs() - (Date.now() + 2 * HOUR_MS))).toBeLessThan(50);
  });

  test("is taken from a reading that took long if none is better, as far as that is certain", () => {
    read(0);
    // After this nothing is known.
    const ownClock = Date.now;
    jest.spyOn(Date, "now").mockImplementation(() => ownClock() + 25 * HOUR_MS);
    expect(isClockInDoubt()).toBe(true);
    // It may have been read at any moment of six seconds.
    read(2_500, 6_000);
    expect(Math.abs(nowMs() - Date.now())).toBeLessThan(50);
    expect(clockSkewMs()).toBe(0);
    read(HOUR_MS, 4_000);
    expect(Math.abs(nowMs() - (Date.now() + HOUR_MS))).toBeLessThan(50);
    expect(isClockInDoubt()).toBe(true);
    read(0);
    expect(isClockInDoubt()).toBe(false);
  });

  test("is MySQL's again as soon as it was read after the machine has slept, however long that took", async () => {
    read(0);
    const reads: number[] = [];
    const watch = new ClockWatch(
      async () => {
        reads.push(Date.now());
        read(0, 2_000);
      },
      createLogger({ name: "test", level: "silent" }),
    );
    watch.start();
    await waitFor("the first reading", () => reads.length === 1);
    // The clock of the machine goes on while it sleeps; performance.now() does not.
    const before = performance.now.bind(performance);
    jest.spyOn(performance, "now").mockImplementation(() => before() - HOUR_MS);
    nowMs();
    // At once, and not at the next look.
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(reads).toHaveLength(2);
    expect(Math.abs(nowMs() - Date.now())).toBeLessThan(50);
    await watch.stop();
  });
});

test("a clock that is off, and one that is right again, is logged once each", async () => {
  const logged: string[] = [];
  const log = createLogger({ name: "test", level: "silent" });
  jest.spyOn(log, "warn").mockImplementation((...parts: unknown[]) => void logged.push(String(parts.at(-1))));
  jest.spyOn(log, "info").mockImplementation((...parts: unknown[]) => void logged.push(String(parts.at(-1))));
  let aheadMs = HOUR_MS;
  let reads = 0;
  const watch = new ClockWatch(async () => {
    reads++;
    // As slow as that, so that the next look reads again.
    read(aheadMs, 2_000);
  }, log);
  watch.start();
  try {
    await waitFor("a look after the first one", () => reads >= 3);
    aheadMs = 0;
    const before = reads;
    await waitFor("a look after it was right again", () => reads >= before + 2);
    expect(logged).toEqual([
      "this machine's clock is 60 minutes behind MySQL's: MySQL's counts",
      "this machine's clock is right again",
    ]);
  } finally {
    await watch.stop();
  }
});

test.each([
  [1_200, "a second ahead of MySQL's"],
  [-2_600, "3 seconds behind MySQL's"],
  [25 * HOUR_MS + 17, "25 hours ahead of MySQL's"],
])("a clock that is %i ms ahead is told in words", (skewMs, words) => {
  expect(clockInWords(skewMs)).toBe(words);
});

test("nobody in the product asks the process's own clock, but the clock, and where BullMQ does", () => {
  const EXCEPT = new Map([
    ["src/platform/clock.ts", 4],
    ["workers/stage-worker.ts", 1],
  ]);
  const root = path.resolve(import.meta.dirname, "../..");
  const files = ["src", "db", "queues", "workers"].flatMap((folder) =>
    readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .map((file) => `${folder}/${file}`),
  );
  const asked = files.flatMap((file) => {
    const text = readFileSync(path.join(root, file), "utf8");
    const count = text.match(/Date\.now\(\)|new Date\(\)/g)?.length ?? 0;
    return count === (EXCEPT.get(file) ?? 0) ? [] : [`${file}: ${count}`];
  });
  expect(files.length).toBeGreaterThan(100);
  expect(asked).toEqual([]);
});
