import { timestamp } from "../../platform/clock.ts";
import { z } from "zod";
import type { CarrierProvider } from "../../order/ports.ts";
import { rejected, ServiceClient, snoozeWithin, type ServiceAddress } from "./service-client.ts";

/** Where a parcel can be followed, or a label fetched. */
const link = z
  .url({ protocol: /^https?$/ })
  .max(1_000)
  .nullish();
const time = z.iso.datetime({ offset: true });

/** What labels and forms can hold. */
export const TRACKING_NUMBER = /^(?=.{1,100}$)[\x20-\x7e]*[0-9A-Za-z][\x20-\x7e]*$/;

/** The answers to `create-label`, `void-label` and `track`. */
export const label = z.strictObject({
  done: z.object({
    trackingNumber: z.string().regex(TRACKING_NUMBER),
    service: z.string().max(64).nullish(),
    cost: z.object({ amount: z.int().nonnegative(), currency: z.string().regex(/^[A-Z]{3}$/) }).nullish(),
    trackingUrl: link,
    labelUrl: link,
  }),
});
export const voided = z.union([
  z.strictObject({ done: z.object({}) }),
  rejected,
  z.strictObject({ snooze: z.number().nonnegative() }),
]);
export const tracking = z.union([
  z.strictObject({ done: z.object({ deliveredAt: time }) }),
  z.strictObject({
    snooze: z.number().nonnegative().transform(snoozeWithin),
    state: z.enum(["BOOKED", "IN_TRANSIT", "OUT_FOR_DELIVERY", "EXCEPTION", "RETURNED", "LOST"]).optional(),
    reason: z.string().max(200).nullish(),
    expectedAt: time.nullish(),
  }),
]);

/** Client for a carrier, or an adapter in front of one, that implements docs/providers.md. */
export function httpCarrier(address: ServiceAddress): CarrierProvider {
  const client = new ServiceClient("carrier", address);
  return {
    name: "http",
    keepsKeys: true,
    ping: (signal) => client.ping(signal),

    // A label is bought under a key, which announces the parcel too.
    create: async ({ reference }) => ({ carrierId: reference, rates: null }),
    find: async () => undefined,

    async buy({ orderId, reference, to, parcel, items, currency, service, signal }) {
      const lines = items.map(({ sku, quantity, unitPrice }) => ({ sku, quantity, unitPrice }));
      const body = { operation: "create-label", orderId, shipTo: to, parcel, lines, currency, service };
      const { done } = await client.run({ id: reference, body, signal }, label);
      return {
        trackingNumber: done.trackingNumber,
        carrierId: null,
        service: done.service ?? service,
        cost: done.cost ?? null,
        trackingUrl: done.trackingUrl ?? null,
        labelUrl: done.labelUrl ?? null,
      };
    },

    async void({ orderId, reference, signal }) {
      const body = { operation: "void-label", orderId, labelKey: reference };
      const answer = await client.undo({ id: `${reference}:undo`, body, signal }, voided);
      if (answer !== undefined && "reject" in answer) return { outcome: "refused", reason: answer.reject };
      return { outcome: answer !== undefined && "snooze" in answer ? "pending" : "voided" };
    },

    async track({ orderId, reference, trackingNumber, signal }) {
      const body = { operation: "track", orderId, trackingNumber };
      const found = await client.run({ id: `${reference}:track`, body, signal }, tracking);
      if ("done" in found) {
        const at = new Date(found.done.deliveredAt);
        return { state: "DELIVERED", at, expectedAt: null, reason: null, askAgainIn: null };
      }
      return {
        state: found.state ?? "BOOKED",
        at: timestamp(),
        expectedAt: found.expectedAt ? new Date(found.expectedAt) : null,
        reason: found.reason ?? null,
        askAgainIn: found.snooze,
      };
    },
  };
}
