import { expect, test } from "@jest/globals";
import { auditStage } from "../../../tools/chaos/scenarios/http-stage.ts";
import type { StageBooks } from "../../../tools/chaos/unreliable-stage.ts";

const ROW = { total: 100, currency: "EUR", idempotencyKey: null, failed: null, cancelReason: null };
const ORDERS = [
  { ...ROW, id: "delivered", status: "DELIVERED" },
  { ...ROW, id: "undone", status: "CANCELLED" },
  { ...ROW, id: "forbidden", status: "CANCELLED" },
  { ...ROW, id: "never-asked", status: "CANCELLED" },
];
const EFFECTS: StageBooks["effects"] = [
  ["delivered", "run"],
  ["undone", "run"],
  ["undone", "undo"],
  ["forbidden", "undo"],
  ["forbidden", "refused"],
];

function breaches(effects: StageBooks["effects"], callbacks: number[] = []): string[] {
  return auditStage({ orders: ORDERS }, { effects, callbacks }).flatMap((check) => check.breaches);
}

test("what an HTTP stage did once, and undid for cancelled orders, is no breach", () => {
  expect(breaches(EFFECTS, [204, 204, 410, 503, 0])).toEqual([]);
});

test.each<[string, StageBooks["effects"], string]>([
  ["run twice", [...EFFECTS, ["delivered", "run"]], "delivered is DELIVERED: run 2 times, undone 0 times"],
  ["never run", EFFECTS.slice(1), "delivered is DELIVERED: run 0 times, undone 0 times"],
  [
    "undone although delivered",
    [...EFFECTS, ["delivered", "undo"]],
    "delivered is DELIVERED: run 1 times, undone 1 times",
  ],
  [
    "not undone",
    [...EFFECTS, ["never-asked", "run"]],
    "never-asked is CANCELLED: run 1 times, undone 0 times",
  ],
  ["run after its undo", [...EFFECTS, ["forbidden", "run"]], "forbidden was run after it was undone"],
])("an HTTP stage that was %s is a breach", (_, effects, breach) => {
  expect(breaches(effects)).toEqual([breach]);
});

test.each([404, 409, 422, 500])("a callback that is answered %d is a breach", (status) => {
  expect(breaches(EFFECTS, [204, status])).toEqual([`answered ${status}`]);
});
