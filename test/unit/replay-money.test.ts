import { describe, expect, it } from "@jest/globals";
import * as fc from "fast-check";
import { penceOf, pounds } from "../../tools/cli/replay/money.ts";

describe("penceOf", () => {
  it.each([
    ["0", 0],
    ["0.00", 0],
    ["-0", 0],
    ["7", 700],
    ["2.1", 210],
    ["2.10", 210],
    ["3.390", 339],
    ["0.07", 7],
    ["-11062.06", -1_106_206],
    ["007.50", 750],
    ["1.0050000000", undefined],
    ["90071992547409.91", Number.MAX_SAFE_INTEGER],
  ])("reads %s", (text, pence) => {
    expect(penceOf(text)).toEqual(
      pence === undefined ? { ok: false, why: "not whole pence" } : { ok: true, pence },
    );
  });

  it.each([
    ["9.949999999999999", 995],
    ["8.470000000000001", 847],
    ["0.8100000000000001", 81],
    ["85.79000000000001", 8579],
    ["0.9999999999999999", 100],
    ["-0.06999999999999999", -7],
  ])("takes %s for what it was before a float", (text, pence) => {
    expect(penceOf(text)).toEqual({ ok: true, pence });
  });

  it.each(["0.001", "2.555", "1.999", "0.0000001"])("refuses to round %s", (text) => {
    expect(penceOf(text)).toEqual({ ok: false, why: "not whole pence" });
  });

  it.each(["", " ", "abc", "1,50", "1.234.5", "£3", "1e3", ".5", "5.", "+1", "--1", "NaN", "Infinity", "١"])(
    "does not take %j for a number",
    (text) => {
      expect(penceOf(text)).toEqual({ ok: false, why: "not a number" });
    },
  );

  it("refuses what a number can't hold exactly", () => {
    expect(penceOf("90071992547409.92")).toEqual({ ok: false, why: "too large" });
  });

  it("reads every amount back, with any number of zeros behind it", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), fc.nat(5), (pence, zeros) => {
        const digits = String(Math.abs(pence)).padStart(3, "0");
        const text = `${pence < 0 ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}${"0".repeat(zeros)}`;
        expect(penceOf(text)).toEqual({ ok: true, pence: pence === 0 ? 0 : pence });
      }),
    );
  });

  it("reads what a float makes of an amount as that amount", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000_000 }),
        fc.integer({ min: 1, max: 9 }),
        (pence, factor) => {
          const text = String((pence / 100 / factor) * factor);
          fc.pre(!text.includes("e"));
          expect(penceOf(text)).toEqual({ ok: true, pence });
        },
      ),
    );
  });
});

describe("pounds", () => {
  it.each([
    [0n, "£0.00"],
    [7n, "£0.07"],
    [-5n, "-£0.05"],
    [123_456_789n, "£1,234,567.89"],
    [10n ** 20n, "£1,000,000,000,000,000,000.00"],
  ])("writes %s pence", (pence, text) => {
    expect(pounds(pence)).toBe(text);
  });
});
