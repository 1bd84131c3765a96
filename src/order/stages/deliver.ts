import { defineStage, snooze } from "../stage.ts";
import { ship } from "./ship.ts";

/** Waits for the carrier to hand the parcel over. */
export const deliver = defineStage({
  name: "deliver",
  to: "DELIVERED",

  async run(order, { ports, signal }) {
    const trackingNumber = order.records[ship.name]?.["trackingNumber"];
    if (typeof trackingNumber !== "string") throw new Error("the ship stage left no tracking number");
    const tracking = await ports.carrier.track({ trackingNumber, signal });
    if (!tracking.delivered) return snooze(tracking.askAgainIn);
    return { deliveredAt: tracking.at.toISOString() };
  },
});
