import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { shared, sharedInTurn } from "../../src/platform/shared.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

test("callers share a run while it is under way, however long it takes", async () => {
  let finish: (value: string) => void = () => undefined;
  const work = jest.fn(() => new Promise<string>((resolve) => (finish = resolve)));
  const ask = shared(0, work);
  const first = ask();
  jest.advanceTimersByTime(60_000);
  const second = ask();
  finish("answer");
  expect(await Promise.all([first, second])).toEqual(["answer", "answer"]);
  expect(work).toHaveBeenCalledTimes(1);
  void ask();
  expect(work).toHaveBeenCalledTimes(2);
});

test("a result is kept for so long from the start of its run", async () => {
  const work = jest.fn(async () => "answer");
  const ask = shared(1_000, work);
  await ask();
  jest.advanceTimersByTime(999);
  await ask();
  expect(work).toHaveBeenCalledTimes(1);
  jest.advanceTimersByTime(1);
  await ask();
  expect(work).toHaveBeenCalledTimes(2);
});

test("a failure is not kept", async () => {
  const work = jest.fn<() => Promise<string>>().mockRejectedValueOnce(new Error("away"));
  const ask = shared(1_000, work.mockResolvedValue("answer"));
  await expect(ask()).rejects.toThrow("away");
  expect(await ask()).toBe("answer");
});

test("callers in the same turn share a run that starts after all of them have called, and later ones get the next", async () => {
  jest.useRealTimers();
  let runs = 0;
  const ask = sharedInTurn(async () => ++runs);
  const first = [ask(), Promise.resolve().then(ask)];
  expect(runs).toBe(0);
  expect(await Promise.all(first)).toEqual([1, 1]);
  const failing = sharedInTurn(async () => Promise.reject(new Error(`run ${++runs}`)));
  await expect(failing()).rejects.toThrow("run 2");
  await expect(failing()).rejects.toThrow("run 3");
});
