import { defineStage, done, snooze, wait } from "../stage.ts";

/** Waits until all parcels have arrived. */
export const deliver = defineStage({
  name: "deliver",
  to: "DELIVERED",

  async run(order, { ports, attempt, waited, signal }) {
    const delivered = await ports.carrier.deliver({ order, attempt, waited, signal });
    if ("waitFor" in delivered) return wait({ for: delivered.waitFor, until: delivered.until });
    if ("snooze" in delivered) return snooze(delivered.snooze);
    const { at, change } = delivered;
    return done(at === null ? {} : { deliveredAt: at.toISOString() }, { shipment: change });
  },
});
