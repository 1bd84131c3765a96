import { describe, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import {
  InvalidPipelineError,
  Lifecycle,
  lifecycle,
  UnknownStatusError,
} from "../../../src/order/lifecycle.ts";
import type { Stage } from "../../../src/order/stage.ts";

/** A domain of its own: baking bread. */
function stage(name: string, to: string, more: Partial<Stage> = {}): Stage {
  return { name, to, run: async () => ({}), ...more };
}
const undo = async () => undefined;
const knead = stage("knead", "KNEADED", { undo });
const proof = stage("proof", "PROOFED");
const bake = stage("bake", "BAKED", { undo, pointOfNoReturn: true });
const sell = stage("sell", "SOLD");
const bakery = new Lifecycle([knead, proof, bake, sell]);

const names = (stages: readonly Stage[]) => stages.map((each) => each.name);

describe("a lifecycle", () => {
  test("derives its statuses from the stages", () => {
    expect(bakery.statuses).toEqual(["CREATED", "KNEADED", "PROOFED", "BAKED", "SOLD", "CANCELLED"]);
  });

  test.each([
    ["CREATED", "knead"],
    ["KNEADED", "proof"],
    ["PROOFED", "bake"],
    ["BAKED", "sell"],
    ["SOLD", undefined],
    ["CANCELLED", undefined],
  ])("knows what is due at %s: %s", (status, due) => {
    expect(bakery.due(status)?.step.name).toBe(due);
    expect(bakery.hasEnded(status)).toBe(due === undefined);
  });

  test("names the transition that is due", () => {
    expect(bakery.due("KNEADED")).toEqual({ step: proof, from: "KNEADED", to: "PROOFED" });
    expect(bakery.statusBefore(proof)).toBe("KNEADED");
    expect(() => bakery.statusBefore({ name: "slice" })).toThrow("no stage slice");
  });

  test.each([
    ["CREATED", true],
    ["KNEADED", true],
    ["PROOFED", true],
    ["BAKED", false],
    ["SOLD", false],
    ["CANCELLED", false],
  ])("says whether %s can be cancelled: %s", (status, can) => {
    expect(bakery.canCancel(status)).toBe(can);
  });

  test.each([
    ["CREATED", ["knead"]],
    ["KNEADED", ["knead"]],
    ["PROOFED", ["bake", "knead"]],
  ])("undoes at %s in reverse, and the stage first that may have been started", (status, undone) => {
    expect(names(bakery.toUndo(status))).toEqual(undone);
  });

  test.each(["", "created", "SLICED", "constructor", "__proto__"])(
    "refuses the status %p instead of starting over",
    (status) => {
      expect(() => bakery.due(status)).toThrow(UnknownStatusError);
      expect(() => bakery.hasEnded(status)).toThrow(UnknownStatusError);
      expect(() => bakery.canCancel(status)).toThrow(UnknownStatusError);
      expect(bakery.unknown([status, "BAKED"])).toEqual([status]);
    },
  );

  test("sends what is to be cancelled to be undone, from wherever that is possible", () => {
    const undone = { step: { name: "cancel" }, from: "KNEADED", to: "CANCELLED" };
    expect(bakery.next({ status: "KNEADED", cancelled: true })).toEqual(undone);
    expect(bakery.next({ status: "KNEADED", cancelled: false })).toBe(bakery.due("KNEADED"));
    for (const status of ["SOLD", "CANCELLED"]) {
      expect(bakery.next({ status, cancelled: true })).toBeUndefined();
    }
  });

  test("gives orders in flight a stage that is put in between", () => {
    const longer = new Lifecycle([knead, stage("rest", "RESTED"), proof, bake, sell]);
    expect(longer.due("KNEADED")?.step.name).toBe("rest");
    expect(longer.due("RESTED")).toEqual({ step: proof, from: "RESTED", to: "PROOFED" });
  });

  test("leads every order through every stage to the end", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), (count) => {
        const stages = Array.from({ length: count }, (_, index) => stage(`s${index}`, `S${index}`));
        const line = new Lifecycle(stages);
        const taken: string[] = [];
        let status = "CREATED";
        for (let due = line.due(status); due; due = line.due(status)) {
          expect(due.from).toBe(status);
          taken.push(due.step.name);
          status = due.to;
        }
        expect(taken).toEqual(names(stages));
      }),
    );
  });
});

describe("a pipeline that contradicts itself", () => {
  test.each([
    ["has no stage", [], "there are no stages"],
    ["takes the name of the undoing", [stage("cancel", "X")], "the stage name cancel is already used"],
    ["uses a name twice", [knead, stage("knead", "X")], "the stage name knead is already used"],
    ["uses a status twice", [knead, stage("x", "KNEADED")], "the status KNEADED of stage x is already used"],
    ["leads back to CREATED", [stage("x", "CREATED")], "the status CREATED of stage x is already used"],
    ["leads to CANCELLED", [stage("x", "CANCELLED")], "the status CANCELLED of stage x is already used"],
    ["has a name that no queue can have", [stage("a:b", "X")], 'the stage name "a:b"'],
    ["has a status in lower case", [stage("x", "done")], 'the status "done"'],
    [
      "has a deadline that comes when nothing can be cancelled any more",
      [
        { ...knead, pointOfNoReturn: true as const },
        { ...stage("x", "X"), settings: { deadline: 1 } },
      ],
      "the deadline of stage x has no effect: orders can no longer be cancelled by then",
    ],
  ])("is refused when it %s", (_, stages, message) => {
    expect(() => new Lifecycle(stages)).toThrow(InvalidPipelineError);
    expect(() => new Lifecycle(stages)).toThrow(message);
  });

  test("is refused with all its faults at once", () => {
    expect(() => new Lifecycle([stage("A", "a"), stage("A", "a")])).toThrow(
      /stage name "A".*status "a".*the stage name A is already used.*status a of stage A is already used/,
    );
  });
});

describe("an order has to meet the deadline", () => {
  const by = (name: string, to: string, deadline?: number): Stage => ({
    ...stage(name, to),
    ...(deadline !== undefined && { settings: { deadline } }),
  });
  const deadlinesOf = (stages: readonly Stage[], overrides = {}) =>
    [...new Lifecycle(stages).deadlines(overrides)].map(
      ([status, deadline]) => `${status}: ${deadline.stage.name} ${deadline.milliseconds}`,
    );

  test("of the next stage that has one, until that is done", () => {
    expect(deadlinesOf([by("a", "A"), by("b", "B", 50), by("c", "C")]).toSorted()).toEqual([
      "A: b 50",
      "CREATED: b 50",
    ]);
  });

  test("that ends first, and of two at once the stage's that comes first", () => {
    expect(deadlinesOf([by("a", "A", 30), by("b", "B", 20), by("c", "C", 20)]).toSorted()).toEqual([
      "A: b 20",
      "B: c 20",
      "CREATED: b 20",
    ]);
    expect(deadlinesOf([by("a", "A", 10), by("b", "B", 20)]).toSorted()).toEqual([
      "A: b 20",
      "CREATED: a 10",
    ]);
  });

  test("that an operator sets, instead of the stage's own", () => {
    expect(deadlinesOf([by("a", "A", 30), by("b", "B")], { a: 5 })).toEqual(["CREATED: a 5"]);
    expect(deadlinesOf([by("a", "A", 30)], { a: undefined, z: 1 })).toEqual(["CREATED: a 30"]);
  });
});

test("the order's lifecycle is the one that is promised, whatever stages are put in between", () => {
  const { statuses } = lifecycle;
  const promised = ["CREATED", "RESERVED", "PAID", "SHIPPED", "DELIVERED", "CANCELLED"];
  expect(statuses.filter((status) => promised.includes(status))).toEqual(promised);
  const before = (status: string) => statuses.slice(0, statuses.indexOf(status));
  expect(statuses.filter((status) => lifecycle.canCancel(status))).toEqual(before("SHIPPED"));
  const undone = names(lifecycle.toUndo(lifecycle.statusBefore({ name: "ship" })));
  expect(undone.filter((name) => ["reserve", "pay", "ship"].includes(name))).toEqual([
    "ship",
    "pay",
    "reserve",
  ]);
  expect([...lifecycle.deadlines().keys()].toSorted()).toEqual(before("PAID").toSorted());
});
