import { describe, expect, test } from "@jest/globals";
import { GOODS, makeOrders } from "../../../tools/bench/workload.ts";
import { orderRequest } from "../../../src/api/schemas.ts";

const ORDERS = makeOrders(4_000, 7);
const LINES = ORDERS.flatMap(({ lines }) => lines);

describe("the orders", () => {
  test("are taken by the API, and are ASCII: their length is that of their text", () => {
    for (const order of ORDERS.slice(0, 100)) {
      expect(orderRequest.safeParse(order)).toMatchObject({ success: true });
      expect(Buffer.byteLength(JSON.stringify(order))).toBe(JSON.stringify(order).length);
    }
  });

  test("are the same for the same seed, and others for another", () => {
    expect(makeOrders(20, 7)).toEqual(ORDERS.slice(0, 20));
    expect(makeOrders(20, 8)).not.toEqual(ORDERS.slice(0, 20));
  });

  test("have 1 to 8 lines, each for a SKU of its own that is in stock", () => {
    expect(new Set(ORDERS.map(({ lines }) => lines.length))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8]));
    const known = new Set(GOODS.map(({ sku }) => sku));
    expect(known.size).toBe(1_000);
    const repeats = ORDERS.filter(({ lines }) => new Set(lines.map(({ sku }) => sku)).size < lines.length);
    expect(repeats).toEqual([]);
    expect(LINES.filter(({ sku }) => !known.has(sku))).toEqual([]);
  });

  test("want one SKU on a twentieth of their lines, four more on another, and the rest now and then", () => {
    const shares = new Map<string, number>();
    for (const { sku } of LINES) shares.set(sku, (shares.get(sku) ?? 0) + 1 / LINES.length);
    const [hot, ...others] = [...shares].toSorted(([, a], [, b]) => b - a).map(([, share]) => share);
    // An order that has it on one line does not take it for another: a little less than one in twenty.
    expect(hot).toBeGreaterThan(0.04);
    expect(hot).toBeLessThan(0.055);
    for (const share of others.slice(0, 4)) {
      expect(share).toBeGreaterThan(0.008);
      expect(share).toBeLessThan(0.017);
    }
    for (const share of others.slice(4)) expect(share).toBeLessThan(0.005);
  });
});
