import { expect, test } from "@jest/globals";
import { recoveryOf } from "../../../chaos/recovery.ts";
import { percentile } from "../../../chaos/scenarios/frozen-redis.ts";

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

test("a recovery lasts until every order in flight has taken its next step", () => {
  expect(recoveryOf({ endedAt: 100 }, EVENTS)).toEqual({ inFlight: 2, tookMs: 300, slowest: "slow" });
});

test("a recovery never ends when an order in flight takes no further step", () => {
  expect(recoveryOf({ endedAt: 200 }, EVENTS)).toEqual({ inFlight: 3, tookMs: undefined, slowest: "later" });
});

test("with nothing in flight there is nothing to recover", () => {
  expect(recoveryOf({ endedAt: 5 }, EVENTS)).toEqual({ inFlight: 0, tookMs: 0, slowest: undefined });
});

test("a percentile is the smallest value that so many do not exceed", () => {
  const values = Array.from({ length: 200 }, (_, index) => index + 1);
  expect([percentile(values, 0.5), percentile(values, 0.99), percentile([7], 0.99)]).toEqual([100, 198, 7]);
});
