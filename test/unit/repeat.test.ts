import { describe, expect, jest, test } from "@jest/globals";
import { Repeat, type RepeatOptions } from "../../src/platform/repeat.ts";
import { waitFor } from "../support/wait-for.ts";

/** Runs that each last until they are told to end. */
function runs(options: Partial<RepeatOptions> = {}) {
  const ends: ((restMs?: number) => void)[] = [];
  let [underWay, most] = [0, 0];
  const errors: unknown[] = [];
  const repeat = new Repeat({
    everyMs: 60_000,
    onError: (error) => void errors.push(error),
    ...options,
    run: async () => {
      most = Math.max(most, ++underWay);
      const restMs = await new Promise<number | void>((resolve) => ends.push(resolve));
      underWay--;
      await options.run?.();
      return restMs;
    },
  });
  const begun = (count: number) => waitFor(`run ${count}`, () => ends.length === count);
  return { repeat, ends, errors, begun, most: () => most };
}

describe("repeated work", () => {
  test("runs again after its rest, or the one that the run asks for", async () => {
    const { repeat, ends, begun } = runs({ everyMs: 5 });
    repeat.start();
    for (const count of [1, 2, 3]) {
      await begun(count);
      ends.at(-1)?.();
    }
    await begun(4);
    ends.at(-1)?.(60_000);
    await waitFor("its rest", () => repeat.isResting);
    expect(ends).toHaveLength(4);
    await repeat.stop();
  });

  test("says when the first run has ended, or will never start", async () => {
    const { repeat, ends } = runs();
    repeat.start();
    let hasRun = false;
    const first = repeat.firstRun.then(() => (hasRun = true));
    await new Promise(setImmediate);
    expect(hasRun).toBe(false);
    ends[0]?.();
    await first;
    await repeat.stop();
    const { repeat: other } = runs();
    await other.stop();
    await other.firstRun;
  });

  test("waits before the first run if told to", async () => {
    const { repeat, ends, begun } = runs();
    repeat.start(60_000);
    expect(ends).toHaveLength(0);
    repeat.wake();
    await begun(1);
    ends[0]?.();
    await repeat.stop();
  });

  test("runs once more, and never twice at once, however often it is woken during a run", async () => {
    const { repeat, ends, begun, most } = runs({ everyMs: Infinity });
    repeat.start();
    await begun(1);
    for (let times = 0; times < 5; times++) repeat.wake();
    expect(repeat.isResting).toBe(false);
    ends[0]?.();
    await begun(2);
    ends[1]?.();
    await waitFor("its rest", () => repeat.isResting);
    expect(ends).toHaveLength(2);
    expect(most()).toBe(1);
    await repeat.stop();
  });

  test("runs again after an error, once it has rested", async () => {
    const run = jest.fn<() => Promise<void>>().mockRejectedValueOnce(new Error("no")).mockResolvedValue();
    const { repeat, ends, errors, begun } = runs({ everyMs: 5, run });
    repeat.start();
    await begun(1);
    ends[0]?.(60_000);
    await begun(2);
    expect(errors).toEqual([new Error("no")]);
    ends[1]?.();
    await repeat.stop();
  });

  test("yields to the event loop when its own run wakes it", async () => {
    const repeat: Repeat = new Repeat({
      run: async () => repeat.wake(),
      everyMs: 60_000,
      onError: () => undefined,
    });
    repeat.start();
    await new Promise(setImmediate);
    await repeat.stop();
  });

  test("stops after the run under way, and does not start again", async () => {
    const { repeat, ends, begun } = runs({ everyMs: 0 });
    repeat.start();
    await begun(1);
    repeat.wake();
    let hasStopped = false;
    const stopped = repeat.stop().then(() => (hasStopped = true));
    await new Promise(setImmediate);
    expect(hasStopped).toBe(false);
    ends[0]?.();
    await stopped;
    repeat.start();
    repeat.wake();
    await new Promise(setImmediate);
    expect(ends).toHaveLength(1);
  });

  test("that was never started stops at once", async () => {
    const { repeat, ends } = runs();
    await repeat.stop();
    repeat.start();
    expect(ends).toHaveLength(0);
  });
});
