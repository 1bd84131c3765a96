import { z } from "zod";
import { Parcel, type Fate } from "./parcels.ts";
import { isJson, TRACKER_STATUSES, type Address, type Json, type Rate } from "./shapes.ts";

const json = z.custom<Json>(isJson);
const address = z.custom<Address>(isJson);
const rate = z.custom<Rate>(isJson);
const date = z.coerce.date();
const parcel = z
  .object({
    trackerId: z.string(),
    code: z.string(),
    shipmentId: z.string().nullable(),
    bought: date,
    fate: z.enum(["delivered", "lost", "returned"] satisfies Fate[]),
    said: z.array(z.object({ status: z.enum(TRACKER_STATUSES), detail: z.string(), at: date })),
  })
  .transform((given) => new Parcel(given));

/** A shipment, as the simulated EasyPost keeps it, also in a file. */
export const shipmentSchema = z.object({
  id: z.string(),
  created: date,
  reference: z.string().nullable(),
  options: json,
  from: address,
  to: address,
  parcel: json,
  customs: json.nullable(),
  rates: z.array(rate),
  messages: z.array(json),
  purchase: z.object({ at: date, rate, label: json, parcel }).optional(),
  refund: z.object({ at: date, rejected: z.boolean(), decidedAt: date, isTold: z.boolean() }).optional(),
});
export type Shipment = z.output<typeof shipmentSchema>;
