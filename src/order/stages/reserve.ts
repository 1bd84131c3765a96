import { defineStage, reject } from "../stage.ts";

/** Reserves stock for all lines or none. */
export const reserve = defineStage({
  name: "reserve",
  to: "RESERVED",

  async run(order, { ports, signal }) {
    const reservation = await ports.inventory.reserve({ orderId: order.id, lines: order.lines, signal });
    return reservation.ok ? {} : reject(`sold out: ${listed(reservation.soldOut)}`);
  },

  async undo(order, { ports, signal }) {
    await ports.inventory.release({ orderId: order.id, lines: order.lines, signal });
    return {};
  },
});

/** Lists the first few SKUs: an order may have thousands. */
function listed(skus: readonly string[]): string {
  const shown = skus.slice(0, 5).join(", ");
  return skus.length > 5 ? `${shown} and ${skus.length - 5} more` : shown;
}
