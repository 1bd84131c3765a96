import { expect, test } from "@jest/globals";
import { settleWithin } from "../../src/platform/settle-within.ts";

const never = new Promise<string>(() => undefined);
const late = () => "late";

test("gives what comes in time, be it an error", async () => {
  expect(await settleWithin(60_000, Promise.resolve("in time"), late)).toBe("in time");
  await expect(settleWithin(60_000, Promise.reject(new Error("no")), late)).rejects.toThrow("no");
});

test("gives something else when the time is up, or throws", async () => {
  expect(await settleWithin(5, never, late)).toBe("late");
  expect(await settleWithin(-5, never, late)).toBe("late");
  const refuse = () => {
    throw new Error("too late");
  };
  await expect(settleWithin(5, never, refuse)).rejects.toThrow("too late");
});

test("does not hear of an error that comes later", async () => {
  let fail: (error: Error) => void = () => undefined;
  const failing = new Promise<string>((_resolve, reject) => (fail = reject));
  expect(await settleWithin(5, failing, late)).toBe("late");
  fail(new Error("unheard"));
  await new Promise(setImmediate);
});
