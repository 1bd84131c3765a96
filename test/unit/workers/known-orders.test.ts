import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import type { StatusChange } from "../../../db/transitions.ts";
import type { StoredOrder } from "../../../src/order/order.ts";
import { KnownOrders } from "../../../src/engine/order-cache.ts";

const LINE = { sku: "MUG-BLUE", quantity: 1, unitPrice: 995 };
const BEFORE = new Date("2026-01-01T10:00:00Z");
const AT = new Date("2026-01-01T10:00:01Z");

function order(given: Partial<StoredOrder> = {}): StoredOrder {
  return {
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
    cancellation: null,
    ...given,
  };
}

function change(given: Partial<StatusChange> = {}): StatusChange {
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

let known: KnownOrders;
beforeEach(() => {
  jest.useFakeTimers();
  known = new KnownOrders();
});
afterEach(() => {
  jest.useRealTimers();
});

describe("an order that was moved just now", () => {
  test("is known with what its stage left, and no longer failed", () => {
    known.note(order({ failed: { stage: "pay", reason: "no", at: BEFORE } }));
    known.noteChange(change());
    expect(known.takeFresh("one")).toEqual(
      order({
        status: "PAID",
        records: { reserve: { shelf: "A" }, pay: { charge: "ch_1" } },
        updatedAt: AT,
      }),
    );
  });

  test("is taken for it once: who comes again has to ask", () => {
    known.note(order());
    known.noteChange(change());
    expect(known.takeFresh("one")).toBeDefined();
    expect(known.takeFresh("one")).toBeUndefined();
    expect(known.get("one")).toMatchObject({ status: "PAID" });
  });

  test("is taken for it only for a moment", () => {
    known.note(order());
    known.noteChange(change());
    jest.advanceTimersByTime(201);
    expect(known.takeFresh("one")).toBeUndefined();
  });
});

describe("an order is not taken for fresh", () => {
  test("when it was only read", () => {
    known.note(order());
    expect(known.takeFresh("one")).toBeUndefined();
  });

  test("when it was read after it was moved", () => {
    known.note(order());
    known.noteChange(change());
    known.note(order({ status: "PAID" }));
    expect(known.takeFresh("one")).toBeUndefined();
  });

  test("when it was known in another status than it was moved from", () => {
    known.note(order({ status: "CREATED" }));
    known.noteChange(change());
    expect(known.takeFresh("one")).toBeUndefined();
  });

  test("when somebody has changed it otherwise", () => {
    known.note(order());
    known.noteChange(change());
    known.forget("one");
    expect(known.takeFresh("one")).toBeUndefined();
  });

  test("when it was never seen", () => {
    known.noteChange(change());
    expect(known.takeFresh("one")).toBeUndefined();
  });
});

test("large orders are not kept, and of many the oldest are forgotten", () => {
  known.note(order({ id: "large", lines: Array.from({ length: 101 }, () => LINE) }));
  for (let index = 0; index <= 5_000; index++) known.note(order({ id: String(index) }));
  expect(known.get("large")).toBeUndefined();
  expect(known.get("0")).toBeUndefined();
  expect(known.get("1")).toBeDefined();
});
