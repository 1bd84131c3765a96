import { z } from "zod";
import { EVENT_TYPES } from "../order/event.ts";
import { API_LIMITS } from "./limits.ts";
import { COLUMN_LENGTHS } from "../../db/column-lengths.ts";
import { eventType, nextCursor, pageLimit, text, timestamp } from "./schemas.ts";

/** The webhooks' schemas; see schemas.ts for the rest. */

const url = text(COLUMN_LENGTHS.webhookUrl).meta({
  description: "URL that receives the events. Must be public, unless `WEBHOOK_ALLOWED_NETWORKS` allows it",
  examples: ["https://shop.example/hooks/orders"],
});
const description = text(COLUMN_LENGTHS.webhookDescription)
  .nullable()
  .meta({ description: "Your own name for it" });
const eventTypes = z
  .array(eventType)
  .min(1, { error: "must have at least one type; omit it for all" })
  .max(EVENT_TYPES.length);
const deliveryState = z.enum(["pending", "delivered", "failed"]);

export const webhookEndpointRequest = z
  .strictObject({
    url,
    description: description.optional(),
    eventTypes: eventTypes
      .nullable()
      .optional()
      .meta({ description: "Event types to send; null or absent for all" }),
  })
  .meta({ id: "WebhookEndpointRequest" });

export const webhookEndpointChange = z
  .strictObject({
    url: url.optional(),
    description: description.optional(),
    eventTypes: eventTypes.nullable().optional().meta({ description: "Null for all" }),
    enabled: z.boolean().optional().meta({
      description: "While false, nothing is sent, and events from that time are not sent later",
    }),
  })
  .meta({ id: "WebhookEndpointChange", description: "Absent fields stay unchanged" });

const endpointShape = {
  id: z.uuid(),
  url,
  description,
  eventTypes: eventTypes.nullable().meta({ description: "Null for all" }),
  enabled: z.boolean(),
  disabled: z
    .object({ reason: z.string(), at: timestamp })
    .optional()
    .meta({ description: "Present while the endpoint is disabled" }),
  failingSince: timestamp
    .nullable()
    .meta({ description: "Time since which every attempt has failed; null after a success" }),
  lastError: z
    .string()
    .nullable()
    .meta({ description: "Why an attempt has failed, while they do; null after a success" }),
  nextAttemptAt: timestamp.nullable().meta({
    description:
      "While it fails for order after order: when it is tried again with a few messages. All others wait until it accepts one",
  }),
  createdAt: timestamp,
  updatedAt: timestamp,
};

export const webhookEndpoint = z.object(endpointShape).meta({ id: "WebhookEndpoint" });

export const webhookEndpointWithSecret = z
  .object({
    ...endpointShape,
    secret: z.string().meta({
      description: "Signs the messages. Returned in this answer and its repetitions only",
      examples: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    }),
  })
  .meta({ id: "WebhookEndpointWithSecret" });

export const webhookEndpointList = z
  .object({ items: z.array(webhookEndpoint) })
  .meta({ id: "WebhookEndpointList" });

const deliveryShape = {
  id: z.int(),
  endpointId: z.uuid(),
  messageId: z.string().meta({ description: "ID of the event, sent as `webhook-id`", examples: ["4711"] }),
  orderId: z.string().nullable().meta({ description: "Null for a test message" }),
  type: z
    .string()
    .nullable()
    .meta({ examples: ["conveyor.order.status.v1"] }),
  state: deliveryState.meta({
    description: "`pending` until an attempt succeeds; `failed` when the last one did not",
  }),
  attempts: z.int().meta({ description: "Attempts since the delivery was created or last resent" }),
  nextAttemptAt: timestamp
    .nullable()
    .meta({ description: "While pending: the earliest time of the next attempt" }),
  lastStatus: z.int().nullable().meta({ description: "HTTP status of the last attempt" }),
  lastError: z.string().nullable().meta({ description: "Why the last attempt got no answer" }),
  createdAt: timestamp,
};

export const webhookDelivery = z.object(deliveryShape).meta({ id: "WebhookDelivery" });

export const webhookDeliveryPage = z
  .object({
    items: z.array(webhookDelivery),
    nextCursor,
  })
  .meta({ id: "WebhookDeliveryPage" });

export const webhookDeliveryDetails = z
  .object({
    ...deliveryShape,
    body: z.string().nullable().meta({ description: "Request body, byte for byte" }),
    history: z
      .array(
        z.object({
          at: timestamp,
          url: z.string(),
          durationMs: z.int(),
          status: z.int().nullable(),
          error: z.string().nullable(),
          response: z.string().nullable().meta({ description: "Beginning of the response body" }),
        }),
      )
      .meta({ description: "Attempts that are still kept, newest first" }),
  })
  .meta({ id: "WebhookDeliveryDetails" });

export const webhookDeliveryQuery = z.strictObject({
  state: deliveryState.optional(),
  limit: pageLimit(API_LIMITS.pageSize, 50),
  cursor: z
    .string()
    .regex(/^\d{1,15}$/, { error: "must be `nextCursor` of the previous page" })
    .optional()
    .meta({ description: "`nextCursor` of the previous page" }),
});

export type WebhookEndpointBody = z.output<typeof webhookEndpoint>;
export type WebhookDeliveryBody = z.output<typeof webhookDelivery>;
export type WebhookDeliveryDetailsBody = z.output<typeof webhookDeliveryDetails>;
