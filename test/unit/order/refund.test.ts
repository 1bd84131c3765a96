import { describe, expect, test } from "@jest/globals";
import { array, assert, constantFrom, infiniteStream, integer, pre, property, record } from "fast-check";
import {
  allocate,
  sumOfWorth,
  TooManyPiecesError,
  worthOf,
  worthOfLines,
  type Priced,
} from "../../../src/order/refund.ts";
import type { RefundLine } from "../../../src/order/payment.ts";

const refunded = (lines: readonly RefundLine[]) => ({ lines, state: "SUCCEEDED" as const });

describe("an amount that is divided", () => {
  test.each([
    [100, [1, 1, 1], [34, 33, 33]],
    [-100, [1, 1, 1], [-34, -33, -33]],
    [5, [0, 10, 0], [0, 5, 0]],
    [5, [0, 0], [0, 0]],
    [0, [3, 4], [0, 0]],
    [7, [2, 1, 1], [3, 2, 2]],
  ])("%p by %p is %p", (amount, weights, parts) => {
    expect(allocate(amount, weights)).toEqual(parts);
  });

  test("loses no unit, and gives nobody more than a unit more than its share", () => {
    const weights = array(integer({ min: 0, max: 1e12 }), { minLength: 1, maxLength: 20 });
    assert(
      property(integer({ min: -1e12, max: 1e12 }), weights, (amount, given) => {
        const total = given.reduce((sum, weight) => sum + weight, 0);
        pre(total > 0);
        const parts = allocate(amount, given);
        expect(parts.reduce((sum, part) => sum + part, 0)).toBe(amount);
        parts.forEach((part, index) =>
          expect(Math.abs(part - (amount * (given[index] ?? 0)) / total)).toBeLessThanOrEqual(1.01),
        );
      }),
    );
  });
});

const ORDER: Priced = {
  lines: [
    { sku: "A", quantity: 3, unitPrice: 1_000 },
    { sku: "B", quantity: 1, unitPrice: 999 },
    { sku: "A", quantity: 1, unitPrice: 500 },
  ],
  adjustments: [
    { kind: "discount", amount: -450 },
    { kind: "tax", amount: 770 },
    { kind: "tax", amount: 99, included: true },
    { kind: "shipping", amount: 490 },
  ],
};

describe("pieces that come back", () => {
  test("are worth their price and their share of discounts and taxes, not of shipping", () => {
    expect(worthOfLines(ORDER).reduce((sum, worth) => sum + worth, 0)).toBe(3_000 + 999 + 500 - 450 + 770);
    expect(worthOf(ORDER, [{ sku: "B", quantity: 1 }], [])).toEqual([
      { position: 1, sku: "B", quantity: 1, worth: 999 + Math.round((320 * 999) / 4_499) },
    ]);
  });

  test("are taken from the first line that has some left", () => {
    const first = worthOf(ORDER, [{ sku: "A", quantity: 2 }], []);
    expect(first).toMatchObject([{ position: 0, sku: "A", quantity: 2 }]);
    expect(worthOf(ORDER, [{ sku: "A", quantity: 2 }], [refunded(first)])).toMatchObject([
      { position: 0, sku: "A", quantity: 1 },
      { position: 2, sku: "A", quantity: 1 },
    ]);
  });

  test("are never more than were ordered", () => {
    const all = worthOf(ORDER, [{ sku: "A", quantity: 4 }], []);
    expect(() => worthOf(ORDER, [{ sku: "A", quantity: 1 }], [refunded(all)])).toThrow(TooManyPiecesError);
    expect(() => worthOf(ORDER, [{ sku: "C", quantity: 1 }], [])).toThrow("only 0 of 1 C are left to refund");
    expect(
      sumOfWorth(worthOf(ORDER, [{ sku: "A", quantity: 1 }], [{ ...refunded(all), state: "FAILED" }])),
    ).toBeGreaterThan(0);
  });

  test("are worth the same, to the unit, however many times they come back", () => {
    const line = record({
      sku: constantFrom("A", "B", "C"),
      quantity: integer({ min: 1, max: 9 }),
      unitPrice: integer({ min: 0, max: 100_000 }),
    });
    const order = record({
      lines: array(line, { minLength: 1, maxLength: 6 }),
      discount: integer({ min: -500, max: 0 }),
      tax: integer({ min: 0, max: 5_000 }),
    });
    assert(
      property(order, infiniteStream(integer({ min: 1, max: 3 })), ({ lines, discount, tax }, pieces) => {
        pre(lines.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0) > 1_000);
        const priced = {
          lines,
          adjustments: [
            { kind: "discount", amount: discount },
            { kind: "tax", amount: tax },
          ],
        };
        const left = new Map<string, number>();
        for (const { sku, quantity } of lines) left.set(sku, (left.get(sku) ?? 0) + quantity);
        const earlier: { lines: readonly RefundLine[]; state: "SUCCEEDED" }[] = [];
        let paid = 0;
        for (const [sku, count] of left)
          for (let rest = count; rest > 0;) {
            const quantity = Math.min(rest, Number(pieces.next().value));
            const worth = worthOf(priced, [{ sku, quantity }], earlier);
            expect(sumOfWorth(worth)).toBeGreaterThanOrEqual(0);
            paid += sumOfWorth(worth);
            earlier.push(refunded(worth));
            rest -= quantity;
          }
        expect(paid).toBe(worthOfLines(priced).reduce((sum, worth) => sum + worth, 0));
      }),
    );
  });
});
