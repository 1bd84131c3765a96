import { describe, expect, test } from "@jest/globals";
import { closing, inRounds } from "../../../tools/bench/context.ts";
import { SIZES } from "../../../tools/bench/sizes.ts";

describe("rounds", () => {
  const sizes = { ...SIZES.smoke, repeats: 3 };

  test("measure everything once each, every other one backwards", async () => {
    const order: string[] = [];
    const { signal } = new AbortController();
    const measured = await inRounds({ sizes, signal }, ["a", "b", "c"], async (item, round) => {
      order.push(item);
      return round;
    });
    expect(order.join("")).toBe("abccbaabc");
    expect(measured).toEqual(["a", "b", "c"].map((item) => ({ item, taken: [1, 2, 3] })));
  });

  test("end when aborted", async () => {
    const stop = new AbortController();
    const order: string[] = [];
    const measuring = inRounds({ sizes, signal: stop.signal }, ["a", "b"], async (item) => {
      order.push(item);
      stop.abort();
    });
    await expect(measuring).rejects.toThrow("aborted");
    expect(order).toEqual(["a"]);
  });
});

test("what was opened is closed in reverse, also after a failure", async () => {
  const closed: number[] = [];
  const work = closing(async (closers) => {
    for (const each of [1, 2]) closers.add(each, async () => void closed.push(each));
    throw new Error("measuring failed");
  });
  await expect(work).rejects.toThrow("measuring failed");
  expect(closed).toEqual([2, 1]);
});
