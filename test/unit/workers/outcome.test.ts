import { expect, test } from "@jest/globals";
import { checkOutcome } from "../../../src/engine/outcome.ts";
import { reject, Snooze, Wait, type Outcome } from "../../../src/order/stage.ts";

const SOON = new Date("2026-11-28T12:00:00.000Z");

test.each<[string, Outcome]>([
  ["a record", { chargeId: "ch_1", amount: 1250, express: false, note: null, name: "Käse 😀 \\ud83d" }],
  ["a rejection", reject("no")],
  ["a snooze", new Snooze(0)],
  ["a wait", new Wait({ for: "the bank", until: SOON })],
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
])("%s is refused when it comes", (_name, outcome, fault) => {
  expect(() => checkOutcome(outcome, "pay")).toThrow(`stage pay returned what can't be stored: ${fault}`);
});
