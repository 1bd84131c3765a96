import { describe, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { quantitiesBySku, stockedLines, sumsOf, totalOf } from "../../../src/order/order.ts";
import { DEFAULT_SETTINGS, settingsOf } from "../../../src/order/stage.ts";

const line = (sku: string, quantity: number, unitPrice: number) => ({ sku, quantity, unitPrice });

describe("the total of an order", () => {
  test("is the sum of quantity times price, in minor units", () => {
    expect(totalOf([line("a", 2, 1250), line("b", 1, 99)])).toBe(2599);
    expect(totalOf([line("a", 3, 0)])).toBe(0);
  });

  test("is exact up to the largest integer that is kept exactly, and refused above", () => {
    expect(totalOf([line("a", 1, Number.MAX_SAFE_INTEGER)])).toBe(Number.MAX_SAFE_INTEGER);
    expect(totalOf([line("a", 1, Number.MAX_SAFE_INTEGER), line("b", 1, 1)])).toBeUndefined();
    // Sums up, in floating point, to a number that looks right.
    expect(totalOf([line("a", 1_000_000, 10_000_000_000), line("b", 1, 1)])).toBeUndefined();
  });
});

describe("the sums of an order", () => {
  const lines = [line("a", 2, 1250)];

  test("add its adjustments to its lines, apart from taxes that the prices contain", () => {
    const adjustments = [
      { amount: 499 },
      { amount: -1000 },
      { amount: 399, included: true },
      { amount: -1, included: false },
    ];
    expect(sumsOf({ lines, adjustments })).toEqual({ lines: 2500, adjustments: -502, total: 1998 });
    expect(sumsOf({ lines })).toEqual({ lines: 2500, adjustments: 0, total: 2500 });
  });

  test("are refused where they are not exact", () => {
    const largest = [line("a", 1, Number.MAX_SAFE_INTEGER)];
    expect(sumsOf({ lines: largest, adjustments: [{ amount: 1 }] })).toBeUndefined();
    expect(sumsOf({ lines: largest, adjustments: [{ amount: 1 }, { amount: -1 }] })?.total).toBe(
      Number.MAX_SAFE_INTEGER,
    );
  });
});

test("only lines that do not say otherwise are stocked", () => {
  const gift = { ...line("GIFT", 1, 5000), stocked: false };
  const mug = { ...line("MUG", 1, 100), stocked: true };
  expect(stockedLines([gift, line("a", 1, 1), mug])).toEqual([line("a", 1, 1), mug]);
});

describe("the pieces of an order", () => {
  test("are counted by SKU over all lines, in order of SKU", () => {
    const pieces = quantitiesBySku([line("b", 1, 1), line("a", 2, 1), line("b", 3, 2)]);
    expect([...pieces]).toEqual([
      ["a", 2],
      ["b", 4],
    ]);
  });

  test("come in the same order however the lines stand, so that two orders lock stock alike", () => {
    const lines = fc.array(fc.record({ sku: fc.string(), quantity: fc.nat(9), unitPrice: fc.nat() }));
    fc.assert(
      fc.property(lines, (given) => {
        expect([...quantitiesBySku(given)]).toEqual([...quantitiesBySku(given.toReversed())]);
      }),
    );
  });
});

test("a stage's settings stand over the defaults, and an operator's over both", () => {
  const stage = { name: "x", to: "X", run: async () => ({}), settings: { attempts: 3, timeout: 50 } };
  expect(settingsOf(stage)).toEqual({ ...DEFAULT_SETTINGS, attempts: 3, timeout: 50 });
  expect(settingsOf(stage, { attempts: 9 })).toEqual({ ...DEFAULT_SETTINGS, attempts: 9, timeout: 50 });
});
