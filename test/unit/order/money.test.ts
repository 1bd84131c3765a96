import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { CURRENCIES, minorUnitsOf, moneyText } from "../../../src/order/money.ts";

/** ISO 4217, List One, of 2026-09-17: every code with the digits of its minor unit. */
const LIST_ONE = readFileSync(path.join(import.meta.dirname, "../../support/iso-4217.csv"), "utf8")
  .trim()
  .split("\n")
  .map((line) => line.split(","));

test("every code has the digits that ISO 4217 gives it", () => {
  expect(LIST_ONE).toHaveLength(178);
  const digits = LIST_ONE.map(([code = ""]) => [code, CURRENCIES.get(code)]);
  expect(digits).toEqual(LIST_ONE.map(([code, given]) => [code, given === "N.A." ? 0 : Number(given)]));
});

test("no code is known that ISO 4217 does not have, apart from those withdrawn of late", () => {
  const known = new Set(LIST_ONE.map(([code]) => code));
  expect([...CURRENCIES.keys()].filter((code) => !known.has(code))).toEqual(["ANG", "BGN", "CUC"]);
});

describe("amounts are written in their currency", () => {
  test.each([
    [123_456, "EUR", "EUR 1,234.56"],
    [500, "JPY", "JPY 500"],
    [1_234, "KWD", "KWD 1.234"],
    [5, "EUR", "EUR 0.05"],
    [-5, "EUR", "-EUR 0.05"],
    [0, "CLF", "CLF 0.0000"],
    // By Intl, forints have no digits.
    [123_456, "HUF", "HUF 1,234.56"],
    [1, "VED", "VED 0.01"],
    // An order may be older than the table.
    [123, "DEM", "DEM 1.23"],
    [Number.MAX_SAFE_INTEGER, "EUR", "EUR 90,071,992,547,409.91"],
  ])("%d %s as %s", (amount, currency, text) => {
    expect(moneyText(amount, currency).replaceAll("\u00a0", " ")).toBe(text);
  });

  test("to the last unit, whatever the amount and the currency", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), fc.constantFrom(...CURRENCIES), (amount, [currency, digits]) => {
        const [, sign, number = ""] = /^(-?)[A-Z]{3}\u00a0([\d,.]+)$/.exec(moneyText(amount, currency)) ?? [];
        const [, decimals = ""] = number.split(".");
        expect(decimals).toHaveLength(digits);
        const units = BigInt(number.replaceAll(/[,.]/g, ""));
        expect(sign === "-" ? -units : units).toBe(BigInt(amount));
      }),
    );
  });
});

test.each([
  ["12", "EUR", 1_200],
  ["12.5", "EUR", 1_250],
  [" 0,05 ", "EUR", 5],
  ["12", "JPY", 12],
  ["1.234", "KWD", 1_234],
  ["1.2345", "CLF", 12_345],
  ["12.345", "EUR", undefined],
  ["1.0", "JPY", undefined],
  ["-1", "EUR", undefined],
  ["1e3", "EUR", undefined],
  ["1,000.00", "EUR", undefined],
  ["", "EUR", undefined],
  ["999999999999999", "EUR", undefined],
])("what people write as %j of %s is read as %j minor units", (text, currency, amount) => {
  expect(minorUnitsOf(text, currency)).toBe(amount);
});
