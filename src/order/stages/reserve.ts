import { stockedLines } from "../order.ts";
import { defineStage } from "../stage.ts";

/** Reserves stock for all lines or none, apart from lines that are not stocked. */
export const reserve = defineStage({
  name: "reserve",
  to: "RESERVED",
  stock: "reserve",

  run: async () => ({}),

  async undo(order, { ports, undoKey, signal }) {
    const lines = stockedLines(order.lines);
    if (lines.length > 0) await ports.inventory.release({ key: undoKey, orderId: order.id, lines, signal });
    return {};
  },
});
