import { describe, expect, test } from "@jest/globals";
import { makeGoods, makeOrders, makeRush, type ChaosOrder } from "../../../tools/chaos/orders.ts";
import { orderRequest } from "../../../src/api/schemas.ts";
import { totalOf } from "../../../src/order/order.ts";

const COUNT = 5_000;
const GOODS = makeGoods(COUNT);
const ORDERS = makeOrders({ count: COUNT, seed: 7, goods: GOODS });

function share(holds: (order: ChaosOrder) => boolean): number {
  return ORDERS.filter(holds).length / ORDERS.length;
}

function asked(orders: readonly ChaosOrder[]): Map<string, number> {
  const pieces = new Map<string, number>();
  for (const { request } of orders)
    for (const { sku, quantity } of request.lines) pieces.set(sku, (pieces.get(sku) ?? 0) + quantity);
  return pieces;
}

describe("made-up orders", () => {
  test("are the same for the same seed, and others for another", () => {
    const made = (seed: number) => JSON.stringify(makeOrders({ count: COUNT, seed, goods: GOODS }));
    expect(made(7) === JSON.stringify(ORDERS)).toBe(true);
    expect(made(8) === JSON.stringify(ORDERS)).toBe(false);
  });

  test("are such as the API takes, each under a key of its own", () => {
    expect(ORDERS.filter(({ request }) => !orderRequest.safeParse(request).success)).toEqual([]);
    expect(new Set(ORDERS.map(({ key }) => key)).size).toBe(COUNT);
  });

  test("have one to eight lines of different SKUs", () => {
    const counts = new Set(ORDERS.map(({ request }) => request.lines.length));
    expect([...counts].toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const repeats = ORDERS.filter(
      ({ request: { lines } }) => new Set(lines.map(({ sku }) => sku)).size < lines.length,
    );
    expect(repeats).toEqual([]);
  });

  test.each<[string, number, number, (order: ChaosOrder) => boolean]>([
    ["declined", 0.02, 0.06, ({ request }) => request.paymentToken === "tok_declined"],
    ["stumbling", 0.02, 0.06, ({ request }) => request.paymentToken === "tok_stumbles_2"],
    ["free", 0.015, 0.05, ({ request }) => totalOf(request.lines) === 0],
    ["cancelled by their customers", 0.04, 0.08, ({ cancelAfter }) => cancelAfter !== undefined],
    ["sent twice at once", 0.015, 0.05, ({ isTwice }) => isTwice],
  ])("are %s now and then", (_what, least, most, holds) => {
    expect(share(holds)).toBeGreaterThan(least);
    expect(share(holds)).toBeLessThan(most);
  });

  test("ask for a few SKUs far more often, for some more than there is, and for no other", () => {
    const pieces = asked(ORDERS);
    const most = [...pieces.values()].toSorted((a, b) => b - a);
    expect(most[4]).toBeGreaterThan(10 * (most[5] ?? 0));
    const short = GOODS.filter(({ sku, onHand }) => (pieces.get(sku) ?? 0) > onHand);
    expect(short).toHaveLength(10);
    for (const { sku, onHand } of short) expect(onHand).toBeGreaterThan((pieces.get(sku) ?? 0) / 3);
  });

  test("of a rush are for one piece each", () => {
    const rush = makeRush({ count: 100, seed: 1, sku: "HOT" });
    expect(asked(rush)).toEqual(new Map([["HOT", 100]]));
    for (const { request } of rush) expect(orderRequest.safeParse(request).error).toBeUndefined();
  });
});
