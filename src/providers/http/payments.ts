import { z } from "zod";
import type { PaymentProvider, ProviderPayment, ProviderRefund } from "../../order/ports.ts";
import { rejected, ServiceClient, type ServiceAddress } from "./service-client.ts";

/** A provider's id: it is stored, shown, and asked for again. */
const id = z
  .string()
  .max(200)
  .regex(/^[^\p{Cc}\p{Cs}]+$/u);
const amount = z.int().nonnegative().optional();
/** What has become of a charge. Without a status, it is captured. */
const charge = z.union([
  z.object({ chargeId: id, amount, status: z.literal("captured").default("captured") }),
  z.object({
    chargeId: id,
    status: z.literal("authorized"),
    expiresAt: z.iso.datetime({ offset: true }).optional(),
  }),
  /** An action is for the customer's browser or app: a `redirectUrl`, a `clientSecret`. */
  z.object({
    chargeId: id,
    status: z.literal("pending"),
    action: z.record(z.string(), z.string()).optional(),
  }),
  z.object({ status: z.literal("cancelled") }),
]);
/** The answers to `charge`, `capture` and `find-charge`, to `refund` of a whole charge, and to that of a part. */
export const charged = z.union([z.strictObject({ done: charge }), rejected]);
export const cancelled = z.strictObject({ done: z.object({ refundId: id }) });
export const refunded = z.union([
  z.strictObject({
    done: z.object({ refundId: id, status: z.enum(["pending", "succeeded"]).default("succeeded") }),
  }),
  rejected,
]);

/** Client for a payment provider, or an adapter in front of one, that implements docs/providers.md. */
export function httpPayments(address: ServiceAddress): PaymentProvider {
  // It may have forgotten the key of a charge whose answer is lost.
  const client = new ServiceClient("payments", address, "look up");
  return {
    name: "http",
    ping: (signal) => client.ping(signal),

    async authorize({ key, reference, remember, ...request }) {
      const { orderId, currency, token, capture, description, customer, shipTo, metadata, signal } = request;
      const about = { capture: capture === "at once", description, customer, shipTo, metadata };
      const body = { operation: "charge", orderId, amount: request.amount, currency, token, ...about };
      const answer = await client.run({ id: key, body, secret: token, signal }, charged);
      return paymentOf(answer, request.amount);
    },

    async capture({ key, reference, id: chargeId, orderId, signal, ...request }) {
      const body = { operation: "capture", orderId, chargeKey: reference, chargeId, amount: request.amount };
      return paymentOf(await client.run({ id: key, body, signal }, charged), request.amount);
    },

    async cancel({ key, reference, orderId, signal }) {
      const body = { operation: "refund", orderId, chargeKey: reference };
      const answer = await client.undo({ id: key, body, signal }, cancelled);
      return { state: "cancelled", ...(answer && { refundId: answer.done.refundId }) };
    },

    async find({ reference, orderId, signal, ...request }) {
      const body = { operation: "find-charge", orderId, chargeKey: reference };
      const answer = await client.undo({ id: `${reference}:find`, body, signal }, charged);
      return answer && paymentOf(answer, request.amount);
    },

    async refund({ key, payment, orderId, signal, ...request }) {
      const about = { chargeKey: payment.reference, chargeId: payment.id, amount: request.amount };
      const body = { operation: "refund", orderId, ...about };
      return refundOf(await client.run({ id: key, body, signal }, refunded), request.reference);
    },

    async findRefund({ reference, orderId, signal }) {
      const body = { operation: "find-refund", orderId, refundKey: reference };
      const answer = await client.undo({ id: `${reference}:find`, body, signal }, refunded);
      return answer && refundOf(answer, reference);
    },
  };
}

/** @param asked the amount that was asked for. */
function paymentOf(answer: z.output<typeof charged>, asked: number): ProviderPayment {
  if ("reject" in answer) return { state: "declined", reason: answer.reject };
  const { done } = answer;
  switch (done.status) {
    case "captured":
      return { state: "captured", id: done.chargeId, amount: done.amount ?? asked };
    case "authorized": {
      const expiresAt = done.expiresAt === undefined ? undefined : new Date(done.expiresAt);
      return { state: "authorized", id: done.chargeId, expiresAt };
    }
    case "pending":
      return { state: "pending", id: done.chargeId, action: done.action };
    case "cancelled":
      return { state: "cancelled" };
  }
}

function refundOf(answer: z.output<typeof refunded>, reference: string): ProviderRefund {
  if ("reject" in answer) return { id: reference, state: "failed", reason: answer.reject };
  return { id: answer.done.refundId, state: answer.done.status };
}
