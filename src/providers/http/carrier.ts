import { z } from "zod";
import type { Carrier } from "../../order/ports.ts";
import { ServiceClient, snoozed, type ServiceAddress } from "./service-client.ts";

/** What labels and forms can hold. */
export const TRACKING_NUMBER = /^(?=.{1,100}$)[\x20-\x7e]*[0-9A-Za-z][\x20-\x7e]*$/;

const label = z.strictObject({ done: z.object({ trackingNumber: z.string().regex(TRACKING_NUMBER) }) });
const tracking = z.union([
  z.strictObject({ done: z.object({ deliveredAt: z.iso.datetime({ offset: true }) }) }),
  snoozed,
]);
const voided = z.strictObject({ done: z.object({}) });

/** Client for a carrier, or an adapter in front of one, that implements docs/providers.md. */
export function httpCarrier(address: ServiceAddress): Carrier {
  const client = new ServiceClient("carrier", address);
  return {
    ping: (signal) => client.ping(signal),

    async createLabel({ key, orderId, signal }) {
      const body = { operation: "create-label", orderId };
      return (await client.run({ id: key, body, signal }, label)).done;
    },

    async voidLabel({ key, labelKey, orderId, signal }) {
      await client.undo({ id: key, body: { operation: "void-label", orderId, labelKey }, signal }, voided);
    },

    async track({ key, orderId, trackingNumber, signal }) {
      const body = { operation: "track", orderId, trackingNumber };
      const found = await client.run({ id: key, body, signal }, tracking);
      return "snooze" in found
        ? { delivered: false, askAgainIn: found.snooze }
        : { delivered: true, at: new Date(found.done.deliveredAt) };
    },
  };
}
