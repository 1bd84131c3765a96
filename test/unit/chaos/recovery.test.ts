import { expect, test } from "@jest/globals";
import { recoveryOf } from "../../../tools/chaos/recovery.ts";
import { percentile } from "../../../tools/shared/percentile.ts";

let id = 0;
function event(orderId: string, to: string, at: number) {
  return { id: ++id, orderId, from: null, to, at };
}

const EVENTS = [
  event("ended", "CREATED", 10),
  event("quick", "CREATED", 20),
  event("slow", "CREATED", 30),
  event("ended", "DELIVERED", 90),
  event("quick", "RESERVED", 150),
  event("later", "CREATED", 160),
  event("quick", "PAID", 900),
  event("slow", "CANCELLED", 400),
];

function fault(startedAt: number, endedAt: number) {
  return { startedAt, endedAt };
}

test("a recovery lasts until every order in flight has taken its next step", () => {
  const recovery = { inFlight: 2, tookMs: 300, unbrokenMs: 300, slowest: "slow" };
  expect(recoveryOf(fault(50, 100), [fault(50, 100)], EVENTS)).toEqual(recovery);
});

test("a recovery also tells what of it nothing else was broken in", () => {
  const faults = [fault(50, 100), fault(90, 120), fault(110, 200), fault(300, 1_000)];
  // From 100 to 400, less 100 to 200 and 300 to 400.
  expect(recoveryOf(fault(50, 100), faults, EVENTS)).toMatchObject({ tookMs: 300, unbrokenMs: 100 });
});

test("a recovery never ends when an order in flight takes no further step", () => {
  const recovery = { inFlight: 3, tookMs: undefined, unbrokenMs: undefined, slowest: "later" };
  expect(recoveryOf(fault(50, 200), [fault(50, 200)], EVENTS)).toEqual(recovery);
});

test("with nothing in flight there is nothing to recover", () => {
  const recovery = { inFlight: 0, tookMs: 0, unbrokenMs: 0, slowest: undefined };
  expect(recoveryOf(fault(0, 5), [fault(0, 5)], EVENTS)).toEqual(recovery);
});

test("a percentile is the smallest value that so many do not exceed", () => {
  const values = Array.from({ length: 200 }, (_, index) => index + 1);
  expect([percentile(values, 0.5), percentile(values, 0.99), percentile([7], 0.99)]).toEqual([100, 198, 7]);
});
