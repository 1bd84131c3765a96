import { z } from "zod";
import { API_LIMITS } from "./limits.ts";
import * as schemas from "./schemas.ts";
import * as webhooks from "./webhook-schemas.ts";

/** A media type's content in terms of a named schema. */
function content(schema: z.ZodType, type = "application/json") {
  const id = schema.meta()?.id;
  if (id === undefined) throw new Error("only schemas with an id can stand in the document");
  return { [type]: { schema: { $ref: `#/components/schemas/${id}` } } };
}

const PROBLEMS = {
  400: "The request is malformed, or a parameter is invalid",
  401: "The API key is missing or unknown",
  404: "Not found",
  409: "Not possible in the current state. Nothing was changed",
  413: `The body exceeds ${API_LIMITS.bodyBytes} bytes`,
  415: "The body is not JSON",
  422: "The body is invalid, with every fault listed by path, or the `Idempotency-Key` was used with another body. Nothing was changed",
  503: "MySQL is unavailable. Try again after `Retry-After` seconds. For a request that changes something, `detail` says whether nothing was done or the outcome is unknown",
} as const;

const NOT_PROCESSED =
  "MySQL is unavailable. Try again after `Retry-After` seconds. `detail` says whether nothing was done or the outcome is unknown. If it is unknown, repeat the request with the same `Idempotency-Key`; an order without a key is cancelled once MySQL answers, if it exists, unless the API dies first or is alone cut off from MySQL for longer than `SWEEP_AFTER_MS`. With `PROCESSING=sync`, also `not-processed`: a stage failed, and the order is cancelled, or will be once everything can be undone";

/** How an operation may fail: with these statuses, and with others that need no explanation. */
function problems(...statuses: (keyof typeof PROBLEMS)[]) {
  return {
    ...Object.fromEntries(statuses.map((status) => [status, failure(PROBLEMS[status])])),
    default: failure("Any other failure"),
  };
}

function failure(description: string) {
  return { description, content: content(schemas.problem, "application/problem+json") };
}

function answer(status: number, description: string, schema: z.ZodType, headers?: object) {
  return { [status]: { description, content: content(schema), ...(headers && { headers }) } };
}

function requestBody(schema: z.ZodType) {
  return { required: true, content: content(schema) };
}

function queryParameters(query: z.ZodObject) {
  return Object.entries(query.shape).map(([name, schema]) => ({
    name,
    in: "query",
    required: false,
    schema: jsonSchema(schema),
  }));
}

function pathParameter(name: string, schema: z.ZodType) {
  return { name, in: "path", required: true, schema: jsonSchema(schema) };
}

const REPLAYED = {
  "Idempotent-Replayed": {
    description: "`true` if this is the answer of an earlier request with the same key",
    schema: { type: "string" },
  },
};
/** Headers of the answer to a new order. */
const PLACED = {
  Location: { description: "URL of the order", schema: { type: "string" } },
  ...REPLAYED,
};
const keyHeader = {
  name: "Idempotency-Key",
  in: "header",
  required: false,
  schema: jsonSchema(schemas.idempotencyKey),
};
/** Of operations that need no key. */
const REPEATABLE = "Safe to repeat, so it takes no `Idempotency-Key`";
const SETS_TOTAL =
  "Sets the total, and does not add to it, so it takes no `Idempotency-Key`. A repeated request sets the same total again: " +
  "if goods have left in the meantime, they count as on hand again. Look at the level before you repeat it.";
const orderId = pathParameter("id", z.uuid());
const sku = pathParameter("sku", schemas.stockPath.shape.sku);
const endpointId = pathParameter("id", z.uuid());
const deliveryId = pathParameter("id", webhooks.webhookDeliveryId);
const open = { security: [] };

/** Browsers log in, since they can't send a key along. */
const listening = { security: [{ key: [] }, { login: [] }] };
const LIVE =
  "Server-sent events, each with the event's id and a CloudEvent as `data`. After an interruption, `Last-Event-ID` " +
  "resumes the stream without gaps or duplicates, however long ago it was. Without it, the stream starts now.";
const lastEventId = {
  name: "Last-Event-ID",
  in: "header",
  required: false,
  description: "ID of the last event received",
  schema: jsonSchema(schemas.eventId),
};
const stream = {
  200: {
    description: "The events, until the client disconnects",
    content: { "text/event-stream": { schema: { type: "string" } } },
  },
};

const PATHS = {
  "/orders": {
    post: {
      summary: "Create an order",
      description:
        "Answers once the order is stored durably. Its stages then run in the background; follow it at the URL in " +
        "`Location`. Repeating the request with the same `Idempotency-Key` returns the first answer; without a key, each " +
        "request creates an order. With `PROCESSING=sync`, the service runs the stages first and answers with the " +
        "resulting order; a repeated request continues the same order, or returns it as it stands.",
      tags: ["Orders"],
      parameters: [keyHeader],
      requestBody: requestBody(schemas.orderRequest),
      responses: {
        ...answer(
          201,
          "Processed, with `PROCESSING=sync`: the order as it stands, usually finished",
          schemas.order,
          PLACED,
        ),
        ...answer(202, "Accepted: the order will be DELIVERED or CANCELLED", schemas.order, PLACED),
        ...problems(400, 401, 413, 415, 422),
        503: failure(NOT_PROCESSED),
      },
    },
    get: {
      summary: "List orders, newest first",
      description: "Pages are stable while orders arrive. Follow `nextCursor` with the same filters.",
      tags: ["Orders"],
      parameters: queryParameters(schemas.orderQuery),
      responses: { ...answer(200, "One page", schemas.orderPage), ...problems(400, 401, 503) },
    },
  },
  "/orders/resume": {
    post: {
      summary: "Resume failed orders",
      description:
        "Resumes all failed orders, or those that match a stage, a reason or a time. They get all their attempts again, " +
        `and are queued page by page. ${REPEATABLE}: a repeated request also resumes orders that have failed again since ` +
        "the first one, unless `before` excludes them.",
      tags: ["Orders"],
      requestBody: requestBody(schemas.resumeRequest),
      responses: {
        ...answer(202, "Number of orders resumed", schemas.resumed),
        ...problems(400, 401, 413, 415, 422, 503),
      },
    },
  },
  "/orders/{id}": {
    get: {
      summary: "Get an order",
      tags: ["Orders"],
      parameters: [orderId],
      responses: { ...answer(200, "The order", schemas.order), ...problems(401, 404, 503) },
    },
  },
  "/orders/{id}/cancel": {
    post: {
      summary: "Cancel an order",
      description:
        "Possible until the parcel is handed over. Finished stages are undone: the charge is refunded, the stock released. " +
        `The order is CANCELLED when that is done. ${REPEATABLE}: the first request and its reason are kept.`,
      tags: ["Orders"],
      parameters: [orderId],
      requestBody: requestBody(schemas.cancelRequest),
      responses: {
        ...answer(202, "The order will be CANCELLED, or is", schemas.order),
        ...problems(400, 401, 404, 409, 413, 415, 422, 503),
      },
    },
  },
  "/orders/{id}/events": {
    get: {
      summary: "List the events of an order, oldest first",
      tags: ["Orders"],
      parameters: [orderId],
      responses: { ...answer(200, "The events", schemas.orderEvents), ...problems(401, 404, 503) },
    },
  },
  "/events": {
    get: {
      summary: "List the events of all orders, from any point on",
      description:
        "In the order of the log, which never changes: a reader that continues after `next` misses no event and sees " +
        "none twice. The newest events may be held back for some seconds, until no other event can precede them. Each " +
        "event is a CloudEvent, the same as in the Redis Stream and in live updates.",
      tags: ["Events"],
      parameters: queryParameters(schemas.eventQuery),
      responses: { ...answer(200, "One page", schemas.eventPage), ...problems(400, 401, 503) },
    },
  },
  "/events/stream": {
    get: {
      summary: "Stream the events of all orders",
      description: `${LIVE} A stream costs the service next to nothing.`,
      tags: ["Events"],
      ...listening,
      parameters: [lastEventId],
      responses: { ...stream, ...problems(400, 401, 503) },
    },
  },
  "/orders/{id}/stream": {
    get: {
      summary: "Stream the events of an order",
      description: LIVE,
      tags: ["Events"],
      ...listening,
      parameters: [orderId, lastEventId],
      responses: { ...stream, ...problems(400, 401, 404, 503) },
    },
  },
  "/webhook-endpoints": {
    get: {
      summary: "List webhook endpoints",
      tags: ["Webhooks"],
      responses: { ...answer(200, "All endpoints", webhooks.webhookEndpointList), ...problems(401, 503) },
    },
    post: {
      summary: "Create a webhook endpoint",
      description:
        "Sends each event from now on as the CloudEvent that `/events` has, signed as in Standard Webhooks. The secret is " +
        "in this answer only. Events of one order are sent in order. A message that is not answered with 2xx is retried " +
        "eight times over a bit more than a day. Repeating the request with the same `Idempotency-Key` returns the first " +
        "answer, with the secret, for a day and until the secret is replaced, then 409. Without a key, each request " +
        "creates an endpoint.",
      tags: ["Webhooks"],
      parameters: [keyHeader],
      requestBody: requestBody(webhooks.webhookEndpointRequest),
      responses: {
        ...answer(201, "The endpoint, with its secret", webhooks.webhookEndpointWithSecret, {
          Location: { description: "URL of the endpoint", schema: { type: "string" } },
          ...REPLAYED,
        }),
        ...problems(400, 401, 409, 413, 415, 422, 503),
      },
    },
  },
  "/webhook-endpoints/{id}": {
    get: {
      summary: "Get a webhook endpoint",
      tags: ["Webhooks"],
      parameters: [endpointId],
      responses: { ...answer(200, "The endpoint", webhooks.webhookEndpoint), ...problems(401, 404, 503) },
    },
    patch: {
      summary: "Update, enable or disable a webhook endpoint",
      description: `Messages that wait when an endpoint is disabled are sent when it is enabled again. ${REPEATABLE}.`,
      tags: ["Webhooks"],
      parameters: [endpointId],
      requestBody: requestBody(webhooks.webhookEndpointChange),
      responses: {
        ...answer(200, "The updated endpoint", webhooks.webhookEndpoint),
        ...problems(400, 401, 404, 413, 415, 422, 503),
      },
    },
    delete: {
      summary: "Delete a webhook endpoint",
      description: `${REPEATABLE}: a repeated request answers 404.`,
      tags: ["Webhooks"],
      parameters: [endpointId],
      responses: { 204: { description: "Deleted" }, ...problems(401, 404, 503) },
    },
  },
  "/webhook-endpoints/{id}/rotate-secret": {
    post: {
      summary: "Rotate the secret of a webhook endpoint",
      description:
        "For a day, messages are signed with both secrets, so that none is refused meanwhile. Repeating the request with " +
        "the same `Idempotency-Key` returns the first answer for a day and until the secret is replaced again, then 409. " +
        "Without a key, each request replaces the secret.",
      tags: ["Webhooks"],
      parameters: [endpointId, keyHeader],
      responses: {
        ...answer(200, "The endpoint, with its new secret", webhooks.webhookEndpointWithSecret, REPLAYED),
        ...problems(400, 401, 404, 409, 503),
      },
    },
  },
  "/webhook-endpoints/{id}/test": {
    post: {
      summary: "Send a test message to a webhook endpoint",
      description: `Its type is \`conveyor.webhook.test.v1\`. Get the delivery to see its outcome. ${REPEATABLE}: each request sends a message.`,
      tags: ["Webhooks"],
      parameters: [endpointId],
      responses: {
        ...answer(202, "The delivery", webhooks.webhookDelivery),
        ...problems(401, 404, 409, 503),
      },
    },
  },
  "/webhook-endpoints/{id}/deliveries": {
    get: {
      summary: "List the deliveries of a webhook endpoint, newest first",
      tags: ["Webhooks"],
      parameters: [endpointId, ...queryParameters(webhooks.webhookDeliveryQuery)],
      responses: {
        ...answer(200, "One page", webhooks.webhookDeliveryPage),
        ...problems(400, 401, 404, 503),
      },
    },
  },
  "/webhook-deliveries/{id}": {
    get: {
      summary: "Get a delivery, with its message and responses",
      tags: ["Webhooks"],
      parameters: [deliveryId],
      responses: {
        ...answer(200, "The delivery", webhooks.webhookDeliveryDetails),
        ...problems(401, 404, 503),
      },
    },
  },
  "/webhook-deliveries/{id}/resend": {
    post: {
      summary: "Resend a delivery",
      description: `Keeps the \`webhook-id\`, and gets all its attempts again. ${REPEATABLE}: receivers skip what they already had.`,
      tags: ["Webhooks"],
      parameters: [deliveryId],
      responses: { ...answer(202, "The delivery", webhooks.webhookDelivery), ...problems(401, 404, 503) },
    },
  },
  "/stock": {
    post: {
      summary: "Set the stock on hand of many SKUs, all or none",
      description: SETS_TOTAL,
      tags: ["Stock"],
      requestBody: requestBody(schemas.stockLevels),
      responses: {
        ...answer(200, "The levels now", schemas.stockList),
        ...problems(400, 401, 409, 413, 415, 422, 503),
      },
    },
  },
  "/stock/{sku}": {
    get: {
      summary: "Get the stock of a SKU",
      tags: ["Stock"],
      parameters: [sku],
      responses: { ...answer(200, "The level", schemas.stock), ...problems(400, 401, 404, 503) },
    },
    put: {
      summary: "Set the stock on hand of a SKU",
      description: SETS_TOTAL,
      tags: ["Stock"],
      parameters: [sku],
      requestBody: requestBody(schemas.stockLevel),
      responses: {
        ...answer(200, "The level now", schemas.stock),
        ...problems(400, 401, 409, 413, 415, 422, 503),
      },
    },
  },
  "/health/live": {
    get: {
      summary: "Check that the process is alive",
      tags: ["Health"],
      ...open,
      responses: { ...answer(200, "Alive", schemas.liveness), ...problems() },
    },
  },
  "/health/ready": {
    get: {
      summary: "Check that the process is ready, and what it lacks",
      tags: ["Health"],
      ...open,
      responses: {
        ...answer(200, "Ready", schemas.readiness),
        ...answer(503, "Not ready", schemas.readiness),
        ...problems(),
      },
    },
  },
};

const SECURITY = {
  key: { type: "http", scheme: "bearer" },
  login: { type: "http", scheme: "basic", description: "Any user name, with an API key as the password" },
};

/** The API's description in OpenAPI 3.1, made from the schemas that validate it. */
export function openApiDocument(version: string) {
  return {
    openapi: "3.1.0",
    info: {
      title: "Conveyor",
      version,
      description:
        "Accepts orders in milliseconds and carries each to DELIVERED or CANCELLED. Operations that do not list the " +
        "`Idempotency-Key` header ignore it.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    security: [{ key: [] }],
    tags: [
      { name: "Orders" },
      { name: "Events" },
      { name: "Webhooks" },
      { name: "Stock" },
      { name: "Health" },
    ],
    paths: PATHS,
    components: { schemas: namedSchemas(), securitySchemes: SECURITY },
  };
}

function namedSchemas() {
  const { schemas: named } = z.toJSONSchema(z.globalRegistry, {
    io: "input",
    uri: (id) => `#/components/schemas/${id}`,
  });
  return Object.fromEntries(Object.entries(named).map(([id, schema]) => [id, embedded(schema)]));
}

function jsonSchema(schema: z.ZodType) {
  return embedded(z.toJSONSchema(schema, { io: "input" }));
}

/** Within a document the dialect and the identity are the document's. */
function embedded({ $schema, $id, id, ...schema }: Record<string, unknown>) {
  return schema;
}
