import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { offTheClock, withinTime } from "../../src/platform/time-limit.ts";

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

describe("the time limit of work", () => {
  test("ends it by its signal, and not before", async () => {
    const work = limited(1_000);
    jest.advanceTimersByTime(999);
    expect(work.isOver()).toBe(false);
    jest.advanceTimersByTime(1);
    expect(work.reason()).toMatchObject({ name: "TimeoutError" });
    await work.end();
  });

  test("stands still while the work waits for what has a limit of its own, however long that is", async () => {
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

  test("leaves out every wait of that kind, and once those at the same moment", async () => {
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

  test("does not keep work from being called off meanwhile", async () => {
    const calledOff = new AbortController();
    const work = limited(1_000, calledOff.signal);
    const goOn = work.pause();
    calledOff.abort("the worker is shutting down");
    expect(work.reason()).toBe("the worker is shutting down");
    await goOn();
    await work.end();
  });

  test("leaves no timer behind, also when the work ends before what it waited for", async () => {
    const work = limited(1_000);
    const goOn = work.pause();
    jest.advanceTimersByTime(2_000);
    await work.end();
    await goOn();
    expect(jest.getTimerCount()).toBe(0);
  });
});
