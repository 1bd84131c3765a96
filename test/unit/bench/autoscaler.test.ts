import { describe, expect, test } from "@jest/globals";
import { Autoscaler, readRules } from "../../../tools/bench/autoscaler/rules.ts";

const RULES = readRules();
const SECOND = 1_000;

/** What the autoscaler makes of numbers that it is told every fifteen seconds. */
function day(workers: number, numbers: readonly (Readonly<Record<string, number>> | undefined)[]): number[] {
  const autoscaler = new Autoscaler(RULES);
  return numbers.map((each, index) => {
    workers = autoscaler.decide(index * RULES.everyMs, workers, new Map(Object.entries(each ?? {})));
    return workers;
  });
}

const times = <T>(count: number, value: T) => Array.from({ length: count }, () => value);
const atHand = (orders: number, age = 0) => ({ age, orders });

describe("an autoscaler with the rules of deploy/kubernetes", () => {
  test("reads them", () => {
    expect(RULES).toMatchObject({ least: 2, most: 20, everyMs: 15 * SECOND, steadyMs: 300 * SECOND });
    expect(RULES.up).toEqual({ percent: 100, withinMs: 60 * SECOND });
    expect(RULES.down).toEqual({ percent: 50, withinMs: 60 * SECOND });
    expect(RULES.triggers.map(({ name, metricType, threshold }) => [name, metricType, threshold])).toEqual([
      ["age", "Value", 30],
      ["orders", "AverageValue", 100],
    ]);
  });

  test("has one worker for each hundred orders, no fewer than two, and no more than twenty", () => {
    expect(day(2, [atHand(0)])).toEqual([2]);
    expect(day(2, [atHand(201)])).toEqual([2]);
    expect(day(2, [atHand(301)])).toEqual([4]);
    expect(day(20, [atHand(5_000)])).toEqual([20]);
  });

  test("doubles where the oldest order is twice as old as it may be, but only once a minute", () => {
    expect(day(2, times(9, atHand(0, 300)))).toEqual([4, 4, 4, 4, 8, 8, 8, 8, 16]);
  });

  test("keeps workers for five minutes after they were last needed, and then lets half of them go each minute", () => {
    const night = day(16, [atHand(1_600), ...times(40, atHand(0))]);
    expect(night.slice(0, 20)).toEqual(times(20, 16));
    expect(night.slice(20)).toEqual([...times(4, 8), ...times(4, 4), ...times(13, 2)]);
  });

  test("starts workers, and stops none, on what it knows where it does not know all", () => {
    expect(day(4, [...times(30, undefined), { age: 120 }])).toEqual([...times(30, 4), 8]);
    expect(day(4, times(30, { orders: 0 }))).toEqual(times(30, 4));
  });

  test("leaves small differences alone", () => {
    expect(day(10, [atHand(1_090)])).toEqual([10]);
    expect(day(10, [atHand(1_110)])).toEqual([12]);
  });
});
