import { defineStage, wait } from "../stage.ts";
import { pay } from "./pay.ts";

/** How long an order that can't be paid waits before the stage looks again. Milliseconds. */
const WAIT_MS = 24 * 60 * 60 * 1_000;

/** Books the parcel and takes the goods out of stock. After this the order can no longer be cancelled. */
export const ship = defineStage({
  name: "ship",
  to: "SHIPPED",
  pointOfNoReturn: true,
  stock: "ship",

  async run(order, { ports, runKey, attempt, now, signal }) {
    // Before the first label is bought: what can't be paid is not shipped.
    if (order.records[pay.name]?.["authorized"] === true) {
      const taken = await ports.payments.capture({ order, attempt, signal });
      if (taken !== "captured")
        return wait({ for: taken.waitsFor, until: new Date(now.getTime() + WAIT_MS) });
    }
    const { trackingNumber } = await ports.carrier.createLabel({ key: runKey, orderId: order.id, signal });
    return { trackingNumber };
  },

  async undo(order, { ports, runKey, undoKey, signal }) {
    // Undoing `reserve` puts shipped stock back.
    await ports.carrier.voidLabel({ key: undoKey, labelKey: runKey, orderId: order.id, signal });
    return {};
  },
});
