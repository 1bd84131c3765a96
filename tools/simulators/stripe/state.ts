import { z } from "zod";

/** A refund in the books of the simulated Stripe. Plain data: it is kept in the journal. */
export const refundState = z.object({
  id: z.string(),
  amount: z.number(),
  status: z.enum(["pending", "succeeded", "failed"]),
  reason: z.string().nullable(),
  metadata: z.record(z.string(), z.string()),
  /** Seconds since 1970. */
  created: z.number(),
});
export type RefundState = z.output<typeof refundState>;

/** A dispute. */
export const disputeState = z.object({
  id: z.string(),
  /** An inquiry's begin with `warning_`: the bank asks, and no money moves. */
  status: z.enum(["needs_response", "won", "lost", "warning_needs_response", "warning_closed"]),
  /** Null for all that was not paid back. */
  amount: z.number().nullable().default(null),
  created: z.number(),
});
export type DisputeState = z.output<typeof disputeState>;

/** A PaymentIntent with its charge, refunds and dispute. Plain data: it is kept in the journal. */
export const intentState = z.object({
  id: z.string(),
  chargeId: z.string(),
  clientSecret: z.string(),
  amount: z.number(),
  currency: z.string(),
  captureMethod: z.enum(["automatic", "manual"]),
  status: z.enum([
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "succeeded",
    "canceled",
  ]),
  /** Minor units that were authorized, captured and paid back. */
  authorized: z.number(),
  captured: z.number(),
  method: z.string().nullable(),
  description: z.string().nullable(),
  receiptEmail: z.string().nullable(),
  metadata: z.record(z.string(), z.string()),
  shipping: z
    .object({ name: z.string(), address: z.record(z.string(), z.string()) })
    .nullable()
    .default(null),
  lastError: z
    .object({ code: z.string(), declineCode: z.string().optional(), message: z.string() })
    .nullable(),
  /** How often it was confirmed. */
  confirmed: z.number(),
  created: z.number(),
  /** When the authorization runs out. Seconds since 1970. */
  captureBefore: z.number().nullable(),
  refunds: z.array(refundState),
  dispute: disputeState.nullable(),
});
export type IntentState = z.output<typeof intentState>;
