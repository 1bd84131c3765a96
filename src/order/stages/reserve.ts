import { defineStage } from "../stage.ts";

/** Reserves stock for all lines or none. */
export const reserve = defineStage({
  name: "reserve",
  to: "RESERVED",
  stock: "reserve",

  run: async () => ({}),

  async undo(order, { ports, undoKey, signal }) {
    await ports.inventory.release({ key: undoKey, orderId: order.id, lines: order.lines, signal });
    return {};
  },
});
