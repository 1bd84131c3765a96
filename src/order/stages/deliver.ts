import { defineStage, snooze } from "../stage.ts";
import { ship } from "./ship.ts";

/** Waits until the carrier has delivered the parcel. */
export const deliver = defineStage({
  name: "deliver",
  to: "DELIVERED",

  async run(order, { ports, runKey, signal }) {
    const trackingNumber = order.records[ship.name]?.["trackingNumber"];
    if (typeof trackingNumber !== "string") throw new Error("the ship stage recorded no tracking number");
    const tracking = await ports.carrier.track({ key: runKey, orderId: order.id, trackingNumber, signal });
    if (!tracking.delivered) return snooze(tracking.askAgainIn);
    return { deliveredAt: tracking.at.toISOString() };
  },
});
