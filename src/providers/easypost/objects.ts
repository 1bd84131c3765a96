import { z } from "zod";
import { ServiceUnavailableError } from "../../order/ports.ts";

/** What is read of EasyPost's objects. Whatever else they have may change. */
const rate = z.object({
  id: z.string(),
  carrier: z.string(),
  service: z.string(),
  rate: z.string().regex(/^\d+(\.\d+)?$/),
  currency: z.string().regex(/^[A-Z]{3}$/),
  delivery_days: z.number().nullish(),
  created_at: z.string().nullish(),
});
export const tracker = z.object({
  status: z.string(),
  status_detail: z.string().nullish(),
  est_delivery_date: z.string().nullish(),
  updated_at: z.string(),
  tracking_details: z.array(z.object({ datetime: z.string().nullish() })).nullish(),
  public_url: z.string().nullish(),
});
const verification = z.object({
  success: z.boolean(),
  errors: z.array(z.object({ message: z.string() })).nullish(),
});
export const shipment = z.object({
  id: z.string().min(1).max(200),
  created_at: z.string().nullish(),
  rates: z.array(rate),
  messages: z.array(z.object({ message: z.unknown() })).nullish(),
  tracking_code: z.string().nullish(),
  selected_rate: rate.nullish(),
  postage_label: z.object({ label_url: z.string().nullish() }).nullish(),
  refund_status: z.string().nullish(),
  tracker: tracker.nullish(),
  to_address: z.object({
    name: z.string().nullish(),
    street1: z.string().nullish(),
    street2: z.string().nullish(),
    city: z.string().nullish(),
    state: z.string().nullish(),
    zip: z.string().nullish(),
    country: z.string().nullish(),
    verifications: z.object({ delivery: verification.nullish() }).nullish(),
  }),
});
export type EasyPostShipment = z.output<typeof shipment>;
export type EasyPostRate = z.output<typeof rate>;

/** @throws {ServiceUnavailableError} if EasyPost answers what is not its own. */
export function read<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join(".") ?? "";
  throw new ServiceUnavailableError(
    "carrier",
    `EasyPost answered unexpectedly: ${where} ${issue?.message ?? ""}`,
  );
}
