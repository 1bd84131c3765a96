import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { offTheClock, settleWithin, untilAborted, withinTime } from "../../src/platform/time-limit.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** Work that has so many milliseconds, and ends when it is told to. */
function limited(milliseconds: number, calledOff?: AbortSignal) {
  let signal = new AbortController().signal;
  let end: () => void = () => undefined;
  const done = withinTime(milliseconds, calledOff, (given) => {
    signal = given;
    return new Promise<void>((resolve) => (end = resolve));
  });
  return {
    end: async () => {
      end();
      await done;
    },
    isOver: () => signal.aborted,
    reason: (): unknown => signal.reason,
    /** Waits for something until the function that it gives is called. */
    pause: () => {
      let goOn: () => void = () => undefined;
      const waited = offTheClock(signal, () => new Promise<void>((resolve) => (goOn = resolve)));
      return async () => {
        goOn();
        await waited;
      };
    },
  };
}

describe("a process that stood still", () => {
  beforeEach(() => void jest.useRealTimers());

  /** Holds up all timers and answers of this process. */
  const standStill = (ms: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

  test("reads the answers that came meanwhile before it gives up on them", async () => {
    const answered = await withinTime(100, undefined, (signal) =>
      untilAborted(signal, async () => {
        const answer = readFile(__filename, "utf8");
        standStill(500);
        return answer;
      }),
    );
    expect(answered).toContain("stood still");
  });

  test("gives up all the same on what is not answered", async () => {
    const given = withinTime(50, undefined, (signal) =>
      untilAborted(signal, async () => {
        standStill(400);
        return new Promise(() => undefined);
      }),
    );
    await expect(given).rejects.toMatchObject({ name: "TimeoutError" });
  });
});

describe("the time limit of work", () => {
  test("aborts its signal when the time is up, and not before", async () => {
    const work = limited(1_000);
    jest.advanceTimersByTime(999);
    expect(work.isOver()).toBe(false);
    jest.advanceTimersByTime(1);
    expect(work.reason()).toMatchObject({ name: "TimeoutError" });
    await work.end();
  });

  test("pauses while the work waits for something with its own limit", async () => {
    const work = limited(1_000);
    jest.advanceTimersByTime(900);
    const goOn = work.pause();
    jest.advanceTimersByTime(60_000);
    expect(work.isOver()).toBe(false);
    await goOn();
    jest.advanceTimersByTime(99);
    expect(work.isOver()).toBe(false);
    jest.advanceTimersByTime(1);
    expect(work.isOver()).toBe(true);
    await work.end();
  });

  test("leaves out all such waits, and overlapping ones only once", async () => {
    const work = limited(1_000);
    for (let wait = 0; wait < 5; wait++) {
      const [one, other] = [work.pause(), work.pause()];
      jest.advanceTimersByTime(300);
      await one();
      jest.advanceTimersByTime(300);
      await other();
      jest.advanceTimersByTime(100);
    }
    jest.advanceTimersByTime(499);
    expect(work.isOver()).toBe(false);
    jest.advanceTimersByTime(1);
    expect(work.isOver()).toBe(true);
    await work.end();
  });

  test("lets the caller abort paused work", async () => {
    const calledOff = new AbortController();
    const work = limited(1_000, calledOff.signal);
    const goOn = work.pause();
    calledOff.abort("the worker is shutting down");
    expect(work.reason()).toBe("the worker is shutting down");
    await goOn();
    await work.end();
  });

  test("leaves no timer behind, even if the work ends during a pause", async () => {
    const work = limited(1_000);
    const goOn = work.pause();
    jest.advanceTimersByTime(2_000);
    await work.end();
    await goOn();
    expect(jest.getTimerCount()).toBe(0);
  });
});

const never = new Promise<string>(() => undefined);

describe("waiting until a signal aborts", () => {
  test("passes on the result or error of the work", async () => {
    const { signal } = new AbortController();
    expect(await untilAborted(signal, async () => "done")).toBe("done");
    await expect(untilAborted(signal, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  });

  test("throws the signal's reason, and does not start work after it", async () => {
    const controller = new AbortController();
    const waiting = untilAborted(controller.signal, () => never);
    controller.abort(new Error("stop"));
    await expect(waiting).rejects.toThrow("stop");
    const work = jest.fn(() => never);
    await expect(untilAborted(controller.signal, work)).rejects.toThrow("stop");
    expect(work).not.toHaveBeenCalled();
  });
});

describe("waiting for a promise with a timeout", () => {
  const late = () => "late";

  /** Settles with the timeout when its time is up. */
  const timedOut = async (milliseconds: number, pending: Promise<string>, onTimeout: () => string) => {
    const waiting = settleWithin(milliseconds, pending, onTimeout);
    jest.advanceTimersByTime(Math.max(0, milliseconds));
    return waiting;
  };

  test("passes on a result or error that comes in time", async () => {
    expect(await settleWithin(60_000, Promise.resolve("in time"), late)).toBe("in time");
    await expect(settleWithin(60_000, Promise.reject(new Error("no")), late)).rejects.toThrow("no");
    expect(jest.getTimerCount()).toBe(0);
  });

  test("gives another result after the timeout, or throws", async () => {
    expect(await timedOut(5, never, late)).toBe("late");
    expect(await timedOut(-5, never, late)).toBe("late");
    const refuse = () => {
      throw new Error("too late");
    };
    await expect(timedOut(5, never, refuse)).rejects.toThrow("too late");
  });

  test("ignores an error that comes after the timeout", async () => {
    jest.useRealTimers();
    let fail: (error: Error) => void = () => undefined;
    const failing = new Promise<string>((_resolve, reject) => (fail = reject));
    expect(await settleWithin(5, failing, late)).toBe("late");
    fail(new Error("unheard"));
    await new Promise(setImmediate);
  });
});
