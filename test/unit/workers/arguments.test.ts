import { describe, expect, test } from "@jest/globals";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { UsageError } from "../../../src/platform/startup.ts";
import { parseWorkerArguments } from "../../../workers/arguments.ts";

const parse = (...args: string[]) => {
  const { steps, concurrency } = parseWorkerArguments(args, lifecycle.steps);
  return { stages: steps.map((step) => step.name), concurrency };
};

const STEPS = lifecycle.steps.map(({ name }) => name);

describe("the arguments of a worker", () => {
  test("are all steps with their own settings when there are none", () => {
    expect(parse()).toEqual({ stages: STEPS, concurrency: undefined });
  });

  test("choose stages, in the order of the pipeline, and a concurrency", () => {
    expect(parse("--stages", "ship, pay", "--concurrency", "50")).toEqual({
      stages: ["pay", "ship"],
      concurrency: 50,
    });
    expect(parse("--stages=pay,pay")).toEqual({ stages: ["pay"], concurrency: undefined });
  });

  test.each([
    [["--stages", "pay,fly"], `no stage is named "fly"; there are ${STEPS.join(", ")}`],
    [["--stages", ""], 'no stage is named ""'],
    [["--concurrency", "0"], 'must be a whole number from 1 to 10000, not "0"'],
    [["--concurrency", "many"], 'not "many"'],
    [["--concurrency", "10001"], 'not "10001"'],
    [["--concurrency", "1.5"], 'not "1.5"'],
    [["--stage", "pay"], "--stage"],
    [["pay"], "pay"],
    [["--stages"], "--stages"],
  ])("are refused when they are %p", (args, message) => {
    expect(() => parse(...args)).toThrow(UsageError);
    expect(() => parse(...args)).toThrow(message);
  });
});
