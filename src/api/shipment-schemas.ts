import { z } from "zod";
import { LIMITS } from "../order/limits.ts";
import type { ShipmentState } from "../order/shipment.ts";
import { COLUMN_LENGTHS } from "../../db/column-lengths.ts";

const time = z.iso.datetime();
const sku = z
  .string()
  .min(1)
  .max(LIMITS.identifier)
  .meta({ examples: ["MUG-BLUE"] });
const pieces = z.int().min(1).max(LIMITS.quantity);
const millimetres = z.int().min(1).max(100_000).optional().meta({ description: "In millimetres" });

const parcel = z.strictObject({
  weight: z.int().min(1).max(LIMITS.weight).optional().meta({ description: "In grams" }),
  length: millimetres,
  width: millimetres,
  height: millimetres,
});

export const shipmentRequest = z
  .strictObject({
    lines: z
      .array(z.strictObject({ sku, quantity: pieces }))
      .min(1)
      .max(LIMITS.lines)
      .optional()
      .meta({
        description:
          "Pieces by SKU, taken from the order's lines in their order; all that is left unless given",
      }),
    parcel: parcel
      .optional()
      .meta({ description: "What it weighs and measures; `DEFAULT_PARCEL` unless given" }),
    service: z.string().min(1).max(COLUMN_LENGTHS.service).optional().meta({
      description: "A service of the carrier, such as `USPS Priority`; `CARRIER_SERVICE` unless given",
    }),
  })
  .meta({ id: "ShipmentRequest" });

export const shipmentPath = z.object({
  id: z.uuid().toLowerCase(),
  number: z
    .string()
    .regex(/^[1-9]\d{0,5}$/)
    .transform(Number),
});

export const closeRequest = z
  .strictObject({
    reason: z
      .string()
      .trim()
      .min(1)
      .max(LIMITS.reason)
      .meta({
        description: "One line, without personal data",
        examples: ["refunded"],
      }),
  })
  .meta({ id: "CloseRequest" });

const state = z.enum([
  "PLANNED",
  "BOOKED",
  "IN_TRANSIT",
  "OUT_FOR_DELIVERY",
  "DELIVERED",
  "EXCEPTION",
  "RETURNED",
  "LOST",
  "VOIDED",
] satisfies ShipmentState[]);

export const shipment = z
  .object({
    number: z.int().meta({ description: "Counts an order's shipments, from 1" }),
    state,
    lines: z.array(z.object({ sku, quantity: pieces })),
    parcel: parcel.optional(),
    carrier: z.string(),
    service: z.string().optional(),
    cost: z.object({ amount: z.int(), currency: z.string() }).optional().meta({
      description: "What the carrier takes, in minor units",
    }),
    trackingNumber: z.string().optional(),
    trackingUrl: z.string().optional().meta({ description: "Where the customer can follow the parcel" }),
    expectedAt: time.optional(),
    booking: z
      .enum(["requested", "refused"])
      .optional()
      .meta({
        description:
          "Requested: the label is to be bought, as soon as the carrier can be reached. Refused: the carrier does not take " +
          "the parcel as it is planned, or its goods are sold out; `reason` tells",
      }),
    voiding: z.enum(["requested", "pending", "refused"]).optional().meta({
      description: "What a request to call the parcel off has come to; carriers decide some days later",
    }),
    reason: z.string().optional().meta({ description: "Why something went wrong" }),
    closedAt: time.optional().meta({ description: "When an operator settled what never arrives" }),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: "Shipment" });

export const shipments = z.object({ items: z.array(shipment) }).meta({ id: "Shipments" });

export const fulfilment = z
  .object({ shipped: z.int(), delivered: z.int(), of: z.int() })
  .meta({ id: "Fulfilment", description: "How many of the order's parcels were shipped, and have arrived" });

export type ShipmentBody = z.output<typeof shipment>;
