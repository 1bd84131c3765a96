import { describe, expect, test } from "@jest/globals";
import { CURRENCIES } from "../../../src/order/money.ts";
import { faultOfAmount, fromStripe, toStripe } from "../../../src/providers/stripe-amounts.ts";

test.each<[number, string, "payment" | "refund", string | undefined]>([
  [49, "EUR", "payment", "Stripe takes no payments of less than EUR 0.50, and this is EUR 0.49"],
  [50, "EUR", "payment", undefined],
  [1, "EUR", "refund", undefined],
  [29, "GBP", "payment", "Stripe takes no payments of less than GBP 0.30, and this is GBP 0.29"],
  [30, "GBP", "payment", undefined],
  [49, "JPY", "payment", "Stripe takes no payments of less than JPY 50, and this is JPY 49"],
  [17_499, "HUF", "payment", "Stripe takes no payments of less than HUF 175.00, and this is HUF 174.99"],
  [17_500, "HUF", "payment", undefined],
  // Of which Stripe tells no least amount.
  [1, "ISK", "payment", undefined],
  [150, "MGA", "refund", "Stripe takes MGA in multiples of 100 minor units only, and this is MGA 1.50"],
  [1_005, "KWD", "payment", "Stripe takes KWD in multiples of 10 minor units only, and this is KWD 1.005"],
  [999_999_999_999, "IDR", "payment", undefined],
  [
    1_000_000_000_000,
    "EUR",
    "payment",
    "Stripe takes no more than EUR 9,999,999,999.99, and this is EUR 10,000,000,000.00",
  ],
  [
    10_000_000_000,
    "ISK",
    "payment",
    "Stripe takes no more than ISK 9,999,999,999, and this is ISK 10,000,000,000",
  ],
  [
    10_000_000_000,
    "ISK",
    "refund",
    "Stripe takes no more than ISK 9,999,999,999, and this is ISK 10,000,000,000",
  ],
])("%d %s as a %s: %s", (amount, currency, what, fault) => {
  expect(faultOfAmount(amount, currency, what)).toBe(fault);
});

describe("what Stripe can move", () => {
  test.each([...CURRENCIES.keys()])("of %s comes back from it as it was", (currency) => {
    const amounts = Array.from({ length: 2_000 }, (_, index) => index * 100);
    const sent = amounts.map((amount) => toStripe(amount, currency));
    expect(sent.every(Number.isInteger)).toBe(true);
    expect(sent.map((amount) => fromStripe(amount, currency))).toEqual(amounts);
  });

  test("is nothing else", () => {
    expect(() => toStripe(150, "MGA")).toThrow("in multiples of 100");
    expect(() => toStripe(1_005, "KWD")).toThrow("in multiples of 10");
  });
});
