import { defineStage } from "../stage.ts";

/** Books the parcel, then takes the goods out of stock: from here on the order can no longer be cancelled. */
export const ship = defineStage({
  name: "ship",
  to: "SHIPPED",
  pointOfNoReturn: true,

  async run(order, { ports, runKey, signal }) {
    const { trackingNumber } = await ports.carrier.createLabel({ key: runKey, orderId: order.id, signal });
    await ports.inventory.ship({ orderId: order.id, lines: order.lines, signal });
    return { trackingNumber };
  },

  async undo(order, { ports, runKey, undoKey, signal }) {
    // What left the stock is put back by the release of the reservation.
    await ports.carrier.voidLabel({ key: undoKey, labelKey: runKey, orderId: order.id, signal });
    return {};
  },
});
