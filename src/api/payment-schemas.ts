import { z } from "zod";
import { LIMITS } from "../order/limits.ts";
import { DISPUTE_STATES, PAYMENT_STATES, REFUND_STATES } from "../order/payment.ts";
import { statesOf } from "../order/states.ts";
import { optional, sku, text, timestamp, withoutNulls } from "./schemas.ts";

/* The payments and refunds of an order, as the API tells them. */

const minorUnits = z.int().meta({ description: "In the currency's minor unit", examples: [2500] });
const quantity = z.int().min(1).max(LIMITS.quantity);

export const payment = z
  .object({
    state: z.enum(statesOf(PAYMENT_STATES)),
    provider: z.string().meta({ examples: ["stripe"] }),
    providerId: z.string().nullable().meta({ description: "The provider's id, as soon as there is one" }),
    amount: minorUnits,
    currency: z.string().meta({ examples: ["EUR"] }),
    captured: minorUnits.meta({ description: "How much was taken, in the currency's minor unit" }),
    refunded: minorUnits.meta({ description: "How much is paid back, or about to be" }),
    declined: z
      .object({ reason: z.string(), code: z.string().nullable() })
      .optional()
      .meta({ description: "Present if it was declined. While it is PENDING, the customer may try again" }),
    action: z.record(z.string(), z.string()).optional().meta({
      description:
        "Present while the customer has to act: what the client needs for that, such as a `clientSecret` for Stripe.js or a `redirectUrl`. Not for logs",
    }),
    expiresAt: timestamp.optional().meta({ description: "When the authorization runs out" }),
    dispute: z.enum(statesOf(DISPUTE_STATES)).optional().meta({
      description:
        "Present once the customer's bank has asked the money back, or has asked about the payment (INQUIRY), which moves no money",
    }),
    disputed: minorUnits
      .optional()
      .meta({ description: "How much of it is disputed, or asked about, in the currency's minor unit" }),
    createdAt: timestamp,
    updatedAt: timestamp,
  })
  .meta({ id: "Payment" });

export const refund = z
  .object({
    id: z.uuid(),
    state: z.enum(statesOf(REFUND_STATES)),
    amount: minorUnits,
    currency: z.string(),
    reason: z.string(),
    worth: minorUnits
      .optional()
      .meta({ description: "What the pieces are worth. Present if so much was not left to be paid back" }),
    lines: z
      .array(
        z.object({
          sku,
          quantity: z.int(),
          amount: minorUnits
            .optional()
            .meta({ description: "What the pieces are worth, with their share of discounts and taxes" }),
          notShipped: z
            .int()
            .optional()
            .meta({ description: "How many of them were in no parcel yet: they are not shipped" }),
        }),
      )
      .optional(),
    restock: z.boolean(),
    providerId: z.string().nullable(),
    failure: z
      .string()
      .optional()
      .meta({ description: "Why the provider could not pay it back, the last time" }),
    createdAt: timestamp,
    updatedAt: timestamp,
  })
  .meta({ id: "Refund" });

export const orderPayments = z
  .object({ payments: z.array(payment), refunds: z.array(refund) })
  .meta({ id: "OrderPayments" });

export const refundRequest = z
  .strictObject({
    amount: optional(z.int().min(1).max(Number.MAX_SAFE_INTEGER)).meta({
      description: "In the currency's minor unit. Without `amount` and `lines`, all that is left",
    }),
    lines: optional(z.array(z.strictObject({ sku, quantity })).min(1).max(LIMITS.lines)).meta({
      description:
        "Pieces that come back: price times pieces, with their share of the order's discounts and taxes; less if less is left. Shipping and fees are refunded by amount",
    }),
    reason: text(LIMITS.reason).meta({ description: "For customer service", examples: ["arrived broken"] }),
    restock: optional(z.boolean()).meta({
      description:
        "Whether the pieces of `lines` go back into stock. Not those that are in a parcel before the order has shipped",
    }),
  })
  .transform((given) => withoutNulls(given))
  .refine(({ amount, lines }) => amount === undefined || lines === undefined, {
    path: ["amount"],
    error: "must not be given together with lines, which say the amount",
  })
  .refine(({ restock, lines }) => restock !== true || lines !== undefined, {
    path: ["restock"],
    error: "must not be true without lines, which say what goes back into stock",
  })
  .meta({ id: "RefundRequest" });

export type PaymentBody = z.output<typeof payment>;
export type RefundBody = z.output<typeof refund>;
