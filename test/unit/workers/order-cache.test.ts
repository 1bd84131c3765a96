import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { OrderTransition } from "../../../src/engine/ports.ts";
import type { StoredOrder } from "../../../src/order/order.ts";
import { OrderCache } from "../../../src/engine/order-cache.ts";
import { NOTHING_MORE } from "../../support/orders.ts";

const LINE = { sku: "MUG-BLUE", quantity: 1, unitPrice: 995 };
const BEFORE = new Date("2026-01-01T10:00:00Z");
const AT = new Date("2026-01-01T10:00:01Z");

function order(given: Partial<StoredOrder> = {}): StoredOrder {
  return {
    ...NOTHING_MORE,
    holds: [],
    changedAt: null,
    id: "one",
    status: "RESERVED",
    customerId: "c",
    reference: null,
    currency: "EUR",
    total: 995,
    lines: [LINE],
    paymentToken: null,
    shipTo: { name: "N", line1: "L", city: "C", postalCode: "P", country: "DE" },
    records: { reserve: { shelf: "A" } },
    createdAt: BEFORE,
    updatedAt: BEFORE,
    failed: null,
    waiting: null,
    wokenAt: null,
    cancellation: null,
    ...given,
  };
}

function change(given: Partial<OrderTransition> = {}): OrderTransition {
  return {
    orderId: "one",
    from: "RESERVED",
    to: "PAID",
    stage: "pay",
    reason: null,
    record: { charge: "ch_1" },
    unlessCancelled: false,
    at: AT,
    ...given,
  };
}

let cache: OrderCache;
beforeEach(() => {
  jest.useFakeTimers();
  cache = new OrderCache();
});
afterEach(() => {
  jest.useRealTimers();
});

describe("an order that was moved just now", () => {
  test("is known with what its stage left, and no longer failed", () => {
    cache.note(order({ failed: { stage: "pay", reason: "no", at: BEFORE } }));
    cache.noteTransition(change());
    expect(cache.takeFresh("one")).toEqual(
      order({
        status: "PAID",
        records: { reserve: { shelf: "A" }, pay: { charge: "ch_1" } },
        updatedAt: AT,
      }),
    );
  });

  test("is taken for it once: who comes again has to ask", () => {
    cache.note(order());
    cache.noteTransition(change());
    expect(cache.takeFresh("one")).toBeDefined();
    expect(cache.takeFresh("one")).toBeUndefined();
    expect(cache.get("one")).toMatchObject({ status: "PAID" });
  });

  test("is taken for it only for a moment", () => {
    cache.note(order());
    cache.noteTransition(change());
    jest.advanceTimersByTime(201);
    expect(cache.takeFresh("one")).toBeUndefined();
  });
});

describe("an order is not taken for fresh", () => {
  test("when it was only read", () => {
    cache.note(order());
    expect(cache.takeFresh("one")).toBeUndefined();
  });

  test("when it was read after it was moved", () => {
    cache.note(order());
    cache.noteTransition(change());
    cache.note(order({ status: "PAID" }));
    expect(cache.takeFresh("one")).toBeUndefined();
  });

  test("when it was known in another status than it was moved from", () => {
    cache.note(order({ status: "CREATED" }));
    cache.noteTransition(change());
    expect(cache.takeFresh("one")).toBeUndefined();
  });

  test("when somebody has changed it otherwise", () => {
    cache.note(order());
    cache.noteTransition(change());
    cache.forget("one");
    expect(cache.takeFresh("one")).toBeUndefined();
  });

  test("when it has ended, and nobody will ask for it", () => {
    cache = new OrderCache({ hasEnded: (status) => status === "PAID" });
    cache.note(order());
    cache.noteTransition(change());
    expect(cache.get("one")).toBeUndefined();
  });

  test("when it was never seen", () => {
    cache.noteTransition(change());
    expect(cache.takeFresh("one")).toBeUndefined();
  });
});

test("large orders are not kept, and of many the oldest are forgotten", () => {
  cache.note(order({ id: "large", lines: Array.from({ length: 101 }, () => LINE) }));
  for (let index = 0; index <= 5_000; index++) cache.note(order({ id: String(index) }));
  expect(cache.get("large")).toBeUndefined();
  expect(cache.get("0")).toBeUndefined();
  expect(cache.get("1")).toBeDefined();
});
