import { defineStage } from "../stage.ts";

/** Books the parcel and takes the goods out of stock. After this the order can no longer be cancelled. */
export const ship = defineStage({
  name: "ship",
  to: "SHIPPED",
  pointOfNoReturn: true,
  stock: "ship",

  async run(order, { ports, runKey, signal }) {
    const { trackingNumber } = await ports.carrier.createLabel({ key: runKey, orderId: order.id, signal });
    return { trackingNumber };
  },

  async undo(order, { ports, runKey, undoKey, signal }) {
    // Undoing `reserve` puts shipped stock back.
    await ports.carrier.voidLabel({ key: undoKey, labelKey: runKey, orderId: order.id, signal });
    return {};
  },
});
