import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { EventNotifier } from "../../../src/events/notifier.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

test("the first notification is sent at once, and many within an interval as one at its end", () => {
  const send = jest.fn();
  const notifier = new EventNotifier(send, { intervalMs: 200 });
  notifier.notify();
  expect(send).toHaveBeenCalledTimes(1);
  for (let count = 0; count < 1_000; count++) notifier.notify();
  jest.advanceTimersByTime(199);
  expect(send).toHaveBeenCalledTimes(1);
  jest.advanceTimersByTime(1);
  expect(send).toHaveBeenCalledTimes(2);
  jest.advanceTimersByTime(1_000);
  expect(send).toHaveBeenCalledTimes(2);
  notifier.notify();
  expect(send).toHaveBeenCalledTimes(3);
});

test("nothing is sent after it is stopped", () => {
  const send = jest.fn();
  const notifier = new EventNotifier(send);
  notifier.notify();
  notifier.notify();
  notifier.stop();
  jest.advanceTimersByTime(1_000);
  expect(send).toHaveBeenCalledTimes(1);
});
