import { z } from "zod";
import type { Payments } from "../../order/ports.ts";
import { ServiceClient, type ServiceAddress } from "./service-client.ts";

/** Maximum length of a provider's id. */
const LONGEST_ID = 200;

const charged = z.object({ chargeId: z.string().min(1).max(LONGEST_ID) });
const declined = z.object({ reason: z.string().min(1) });
const refunded = z.object({ refundId: z.string().min(1).max(LONGEST_ID).nullable() });

/** Client for a payment provider, or an adapter in front of one, that implements docs/providers.md. */
export function httpPayments(address: ServiceAddress): Payments {
  const client = new ServiceClient("payments", address);
  return {
    ping: (signal) => client.ping(signal),

    async charge({ key, orderId, amount, currency, token, signal }) {
      const answer = await client.call({
        method: "POST",
        path: "/charges",
        key,
        body: { orderId, amount, currency, token },
        signal,
        secret: token,
      });
      switch (answer.status) {
        case 200:
          return { approved: true, chargeId: answer.read(charged).chargeId };
        case 402:
          return { approved: false, reason: answer.shorten(answer.read(declined).reason) };
        default:
          throw answer.unexpected();
      }
    },

    async refund({ key, chargeKey, orderId, signal }) {
      const answer = await client.call({
        method: "POST",
        path: "/refunds",
        key,
        body: { orderId, chargeKey },
        signal,
      });
      if (answer.status !== 200) throw answer.unexpected();
      const { refundId } = answer.read(refunded);
      return refundId === null ? undefined : { refundId };
    },
  };
}
