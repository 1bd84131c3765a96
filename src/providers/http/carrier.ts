import { z } from "zod";
import type { Carrier } from "../../order/ports.ts";
import { ServiceClient, type ServiceAddress } from "./service-client.ts";

/** Bounds for the carrier's `askAgainInMs`. */
const SOONEST_MS = 100;
const LATEST_MS = 24 * 60 * 60 * 1000;

/** The tracking number becomes a path segment, so it must not consist of dots. */
const label = z.object({
  trackingNumber: z
    .string()
    .regex(/^[\x20-\x7e]*[0-9A-Za-z][\x20-\x7e]*$/)
    .max(100),
});
const tracking = z.discriminatedUnion("delivered", [
  z.object({ delivered: z.literal(true), at: z.iso.datetime({ offset: true }) }),
  z.object({ delivered: z.literal(false), askAgainInMs: z.number().nonnegative() }),
]);

/** Client for a carrier, or an adapter in front of one, that implements docs/providers.md. */
export function httpCarrier(address: ServiceAddress): Carrier {
  const client = new ServiceClient("carrier", address);
  return {
    ping: (signal) => client.ping(signal),

    async createLabel({ key, orderId, signal }) {
      const answer = await client.call({ method: "POST", path: "/labels", key, body: { orderId }, signal });
      if (answer.status !== 200) throw answer.unexpected();
      return { trackingNumber: answer.read(label).trackingNumber };
    },

    async voidLabel({ key, labelKey, orderId, signal }) {
      const answer = await client.call({
        method: "POST",
        path: "/labels/void",
        key,
        body: { orderId, labelKey },
        signal,
      });
      if (answer.status !== 204) throw answer.unexpected();
    },

    async track({ trackingNumber, signal }) {
      const path = `/parcels/${encodeURIComponent(trackingNumber)}`;
      const answer = await client.call({ method: "GET", path, signal });
      if (answer.status !== 200) throw answer.unexpected();
      const found = answer.read(tracking);
      return found.delivered
        ? { delivered: true, at: new Date(found.at) }
        : { delivered: false, askAgainIn: Math.min(Math.max(found.askAgainInMs, SOONEST_MS), LATEST_MS) };
    },
  };
}
