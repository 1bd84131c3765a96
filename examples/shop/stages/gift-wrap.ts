import { defineStage, reject } from "conveyor";

/** Wraps what fits into one sheet of paper. */
export const giftWrap = defineStage({
  name: "gift-wrap",
  to: "WRAPPED",
  run: async ({ lines }) => (lines.length > 1 ? reject("too many to wrap") : { paper: "red" }),
});
export default giftWrap;
