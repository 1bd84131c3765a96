import { expect, test } from "@jest/globals";
import { checkOutcome, checkUndone } from "../../../src/engine/outcome.ts";
import { reject, Snooze, Wait, type Outcome } from "../../../src/order/stage.ts";

/** What a stage in JavaScript may return. */
// oxlint-disable-next-line no-unsafe-type-assertion -- what others return has no type
const untyped = (value: unknown) => value as Outcome;
const SOON = new Date("2026-11-28T12:00:00.000Z");

test.each<[string, Outcome]>([
  ["a record", { chargeId: "ch_1", amount: 1250, express: false, note: null, name: "Käse 😀 \\ud83d" }],
  ["a rejection", reject("no")],
  ["a snooze", new Snooze(0)],
  ["a wait", new Wait({ for: "the bank", until: SOON })],
  ["a wait that only somebody outside ends", new Wait({ for: "😀".repeat(500), until: null })],
])("%s is passed on", (_name, outcome) => {
  expect(checkOutcome(outcome, "pay")).toBe(outcome);
});

test.each<[string, Outcome, string]>([
  ["half a character", { chargeId: "ch_\ud83d" }, "half a character in chargeId"],
  ["half a character in a name", { "a\udc00": 1 }, "a name with half a character"],
  ["a number that JSON has not", { amount: Infinity }, "amount is no finite number"],
  ["more than any row takes", { label: "x".repeat(70_000) }, "more than 65536 bytes"],
  ["a snooze of no time", new Snooze(NaN), "a snooze that is no time"],
  ["a snooze into the past", new Snooze(-1), "a snooze that is no time"],
  [
    "a wait for half a character",
    new Wait({ for: "\ud83d", until: SOON }),
    "a wait for a text with half a character",
  ],
  ["a wait until no time", new Wait({ for: "x", until: new Date(NaN) }), "a wait until no time"],
  ["a wait until what MySQL has not", new Wait({ for: "x", until: new Date(8e15) }), "a wait until no time"],
  ["a wait for nothing", new Wait({ for: " ", until: SOON }), "a wait for nothing"],
  [
    "a long wait",
    new Wait({ for: "x".repeat(501), until: SOON }),
    "a wait for a text of more than 500 characters",
  ],
  ["a snooze for ever", new Snooze(Infinity), "a snooze of more than a year"],
  ["a rejection of nothing", reject(""), "a rejection without a reason"],
  ["a list in a record", untyped({ labels: ["1"] }), "labels is no text, number, boolean or null"],
  ["a number that JSON has not", untyped({ amount: 1n }), "amount is no text, number, boolean or null"],
  ["nothing", untyped(undefined), "something else than a record"],
  ["a text", untyped("done"), "something else than a record"],
  ["a list", untyped([]), "something else than a record"],
  ["a date", untyped(SOON), "something else than a record"],
])("%s is refused when it comes", (_name, outcome, fault) => {
  expect(() => checkOutcome(outcome, "pay")).toThrow(`stage pay returned what can't be stored: ${fault}`);
});

test("an undo may leave nothing, but nothing that can't be stored", () => {
  expect(checkUndone(undefined, "pay")).toBeUndefined();
  expect(checkUndone({ refundId: "re_1" }, "pay")).toEqual({ refundId: "re_1" });
  expect(() => checkUndone({ refundId: "\ud83d" }, "pay")).toThrow("half a character in refundId");
});
