import { defineStage, done, wait } from "../stage.ts";
import { pay } from "./pay.ts";

/** How long an order that can't be paid waits before the stage looks again. Milliseconds. */
const WAIT_MS = 24 * 60 * 60 * 1_000;

/**
 * Books the parcels, with which the goods leave the stock. Waits while the warehouse packs, if it does
 * (`FULFILMENT=manual`). After this the order can no longer be cancelled.
 */
export const ship = defineStage({
  name: "ship",
  to: "SHIPPED",
  pointOfNoReturn: true,
  stock: "ship",

  async run(order, { ports, attempt, now, waited, signal }) {
    // What can't be paid is not shipped.
    const beforeBuying = async () => {
      if (order.records[pay.name]?.["authorized"] !== true) return undefined;
      const taken = await ports.payments.capture({ order, attempt, signal });
      if (taken === "captured") return undefined;
      return { waitFor: taken.waitsFor, until: new Date(now.getTime() + WAIT_MS) };
    };
    const shipped = await ports.carrier.ship({ order, attempt, waited, signal, beforeBuying });
    if ("waitFor" in shipped) return wait({ for: shipped.waitFor, until: shipped.until });
    const { shipments, change, stock } = shipped;
    const trackingNumber = (shipments.length === 1 && shipments[0]?.trackingNumber) || null;
    return done(
      { shipments: shipments.length, ...(trackingNumber !== null && { trackingNumber }) },
      { shipment: change, stock },
    );
  },

  async undo(order, { ports, attempt, signal }) {
    // Undoing `reserve` puts the goods back.
    await ports.carrier.undo({ order, attempt, signal });
    return {};
  },

  // Its payment is not paid back for a parcel that may be on its way.
  stands: (order, { ports, signal }) => ports.carrier.hasLabels({ order, signal }),
});
