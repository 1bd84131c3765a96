import { z } from "zod";
import type { Payments } from "../../order/ports.ts";
import { rejected, ServiceClient, type ServiceAddress } from "./service-client.ts";

/** A provider's id: it is stored, shown, and asked for again. */
const id = z
  .string()
  .max(200)
  .regex(/^[^\p{Cc}\p{Cs}]+$/u);
const charged = z.union([z.strictObject({ done: z.object({ chargeId: id }) }), rejected]);
const refunded = z.strictObject({ done: z.object({ refundId: id }) });

/** Client for a payment provider, or an adapter in front of one, that implements docs/providers.md. */
export function httpPayments(address: ServiceAddress): Payments {
  const client = new ServiceClient("payments", address);
  return {
    ping: (signal) => client.ping(signal),

    async charge({ key, orderId, amount, currency, token, signal }) {
      const body = { operation: "charge", orderId, amount, currency, token };
      const answer = await client.run({ id: key, body, secret: token, signal }, charged);
      return "reject" in answer
        ? { approved: false, reason: answer.reject }
        : { approved: true, chargeId: answer.done.chargeId };
    },

    async refund({ key, chargeKey, orderId, signal }) {
      const body = { operation: "refund", orderId, chargeKey };
      return (await client.undo({ id: key, body, signal }, refunded))?.done;
    },
  };
}
