import { expect, test } from "@jest/globals";
import {
  afterTransition,
  cancellationRequested,
  failedIn,
  placed,
  recovered,
  resumed,
} from "../../../src/order/change.ts";
import { newOrder } from "../../support/orders.ts";

const at = new Date("2026-01-02T03:04:05.678Z");

test("a transition keeps earlier stages' records, and clears the failure", () => {
  const order = placed(newOrder());
  const reserved = afterTransition(order, { to: "RESERVED", stage: "reserve", record: {}, at });
  const stuck = { ...reserved, ...failedIn({ stage: "pay", reason: "no answer", at }) };
  expect(stuck).toMatchObject({ status: "RESERVED", failed: { stage: "pay", reason: "no answer", at } });
  const paid = afterTransition(stuck, { to: "PAID", stage: "pay", record: { chargeId: "c" }, at });
  expect(paid).toEqual({
    ...order,
    status: "PAID",
    records: { reserve: {}, pay: { chargeId: "c" } },
    failed: null,
    updatedAt: at,
  });
});

test("a transition that no stage made leaves no record", () => {
  const order = placed(newOrder());
  const cancelled = { ...order, ...cancellationRequested({ reason: "changed my mind", at }) };
  const record = { "pay.refundId": "r" };
  expect(afterTransition(cancelled, { to: "CANCELLED", stage: null, record, at })).toEqual({
    ...cancelled,
    status: "CANCELLED",
    updatedAt: at,
  });
});

test("being resumed does not count as a change, recovering does", () => {
  expect(resumed()).toEqual({ failed: null });
  expect(recovered(at)).toEqual({ failed: null, waiting: null, updatedAt: at });
});
