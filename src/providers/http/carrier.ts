import { z } from "zod";
import type { Carrier } from "../../order/ports.ts";
import { ServiceClient, type ServiceAddress } from "./service-client.ts";

/** A carrier may say when to ask again; it cannot have an order asked for all the time, or forgotten. */
const SOONEST_MS = 100;
const LATEST_MS = 24 * 60 * 60 * 1000;

/** It becomes part of a path: dots alone would lead elsewhere. */
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

/** A carrier, or an adapter in front of one, that is asked as docs/providers.md says. */
export function httpCarrier(address: ServiceAddress): Carrier {
  const client = new ServiceClient("carrier", address);
  return {
    ping: (signal) => client.ping(signal),

    async createLabel({ key, orderId, signal }) {
      const answer = await client.call({ method: "POST", path: "/labels", key, body: { orderId }, signal });
      if (answer.status !== 200) throw answer.unforeseen();
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
      if (answer.status !== 204) throw answer.unforeseen();
    },

    async track({ trackingNumber, signal }) {
      const path = `/parcels/${encodeURIComponent(trackingNumber)}`;
      const answer = await client.call({ method: "GET", path, signal });
      if (answer.status !== 200) throw answer.unforeseen();
      const found = answer.read(tracking);
      return found.delivered
        ? { delivered: true, at: new Date(found.at) }
        : { delivered: false, askAgainIn: Math.min(Math.max(found.askAgainInMs, SOONEST_MS), LATEST_MS) };
    },
  };
}
