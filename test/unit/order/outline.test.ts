import { describe, expect, test } from "@jest/globals";
import { differingSteps, movedStages, outlineOf } from "../../../src/order/outline.ts";
import type { Stage } from "../../../src/order/stage.ts";

/** Stages written as `knead:KNEADED bake:BAKED`. */
const stages = (text: string): Stage[] =>
  text.split(" ").map((each) => {
    const [name = "", to = ""] = each.split(":");
    return { name, to, run: async () => ({}) };
  });
const outline = (text: string) => outlineOf(stages(text));

const BAKERY = "knead:KNEADED proof:PROOFED bake:BAKED sell:SOLD";

describe("a pipeline that follows another one", () => {
  test.each([
    ["is the same", BAKERY],
    ["has one more", "knead:KNEADED proof:PROOFED glaze:GLAZED bake:BAKED sell:SOLD"],
    ["has one more at the end", `${BAKERY} clean:CLEANED`],
    ["has one less", "knead:KNEADED bake:BAKED sell:SOLD"],
    ["has one of another name", "knead:KNEADED rise:PROOFED bake:BAKED sell:SOLD"],
    ["has nothing of the other one", "a:A b:B"],
    ["has stages in another sequence, and other statuses", "proof:RISEN knead:FORMED bake:DONE"],
  ])("skips nothing if it %s", (_what, text) => {
    expect(movedStages(outline(BAKERY), outline(text))).toBeUndefined();
  });

  test.each([
    [
      "swaps two stages with their statuses",
      "proof:PROOFED knead:KNEADED bake:BAKED sell:SOLD",
      { skipped: ["proof"], repeated: ["knead"], statuses: ["CREATED", "KNEADED", "PROOFED"] },
    ],
    [
      "swaps where two stages lead",
      "proof:KNEADED knead:PROOFED bake:BAKED sell:SOLD",
      { skipped: ["proof"], repeated: ["knead"], statuses: ["CREATED", "KNEADED"] },
    ],
    [
      "puts the first stage last",
      "proof:PROOFED bake:BAKED sell:SOLD knead:KNEADED",
      {
        skipped: ["proof", "bake", "sell"],
        repeated: ["knead"],
        statuses: ["CREATED", "KNEADED", "PROOFED", "BAKED", "SOLD"],
      },
    ],
    [
      "puts a stage behind the status that was another's",
      "knead:KNEADED bake:PROOFED sell:SOLD",
      { skipped: ["bake"], repeated: [], statuses: ["CREATED", "KNEADED", "PROOFED"] },
    ],
    [
      "has a moved stage behind a new one",
      "bake:BAKED glaze:GLAZED knead:KNEADED proof:PROOFED sell:SOLD",
      {
        skipped: ["bake"],
        repeated: ["knead", "proof"],
        statuses: ["CREATED", "KNEADED", "PROOFED", "BAKED"],
      },
    ],
  ])("skips stages if it %s", (_what, text, moved) => {
    expect(movedStages(outline(BAKERY), outline(text))).toEqual(moved);
  });
});

test("a process leaves the steps of which the pipeline in force makes something else", () => {
  const left = (text: string) => differingSteps(stages(BAKERY), outline(text)).map(({ name }) => name);
  expect(left(BAKERY)).toEqual([]);
  expect(left("knead:KNEADED proof:PROOFED glaze:GLAZED bake:BAKED sell:SOLD")).toEqual(["bake", "cancel"]);
  expect(left("proof:PROOFED knead:KNEADED bake:BAKED sell:SOLD")).toEqual([
    "knead",
    "proof",
    "bake",
    "cancel",
  ]);
});
