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
  400: "The request cannot be read, or a parameter is not valid",
  401: "No key, or one that is not known",
  404: "There is no such thing",
  409: "Not possible as things stand: nothing was changed",
  413: `The body exceeds ${API_LIMITS.bodyBytes} bytes`,
  415: "The body is not JSON",
  422: "The body is not valid: every fault is listed by path; or its `Idempotency-Key` stands for another body. Nothing was changed",
  503: "MySQL does not do what is asked of it: try again after `Retry-After` seconds. Of a request that changes something, `detail` says whether nothing was done, or whether that is unknown",
} as const;

const NOT_PROCESSED =
  "MySQL does not do what is asked of it: try again after `Retry-After` seconds. `detail` says whether nothing was done, or whether that is unknown: then repeat the request under its `Idempotency-Key`. An order without a key of which it is unknown is cancelled as soon as MySQL answers, if it is there. Or, with `PROCESSING=sync` and told as `not-processed`: a stage failed, and the order is cancelled, or will be once all can be undone";

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
    description: "`true` when an earlier request under the same key had done it",
    schema: { type: "string" },
  },
};
/** Headers of the answer to a new order. */
const PLACED = {
  Location: { description: "Where the order can be followed", schema: { type: "string" } },
  ...REPLAYED,
};
const keyHeader = {
  name: "Idempotency-Key",
  in: "header",
  required: false,
  schema: jsonSchema(schemas.idempotencyKey),
};
/** Of operations that need no key. */
const REPEATABLE = "Harmless to repeat, and so takes no `Idempotency-Key`";
const orderId = pathParameter("id", z.uuid());
const sku = pathParameter("sku", schemas.stockPath.shape.sku);
const endpointId = pathParameter("id", z.uuid());
const deliveryId = pathParameter("id", webhooks.webhookDeliveryId);
const open = { security: [] };

/** Browsers log in, since they can't send a key along. */
const listening = { security: [{ key: [] }, { login: [] }] };
const LIVE =
  "Server-sent events, each with the event's id and a CloudEvent as `data`. After an interruption `Last-Event-ID` " +
  "brings what was missed, however long ago, without a gap or a repetition; without it the stream begins now.";
const lastEventId = {
  name: "Last-Event-ID",
  in: "header",
  required: false,
  description: "The id of the last event that was received",
  schema: jsonSchema(schemas.eventId),
};
const stream = {
  200: {
    description: "The events, for as long as the client likes",
    content: { "text/event-stream": { schema: { type: "string" } } },
  },
};

const PATHS = {
  "/orders": {
    post: {
      summary: "Take an order",
      description:
        "Answers as soon as the order is written down for good. It is then carried through its stages; follow it at " +
        "the address in `Location`. Repeated under the same `Idempotency-Key`, it gives the first answer again; without " +
        "a key each request is an order. A " +
        "service that runs with `PROCESSING=sync` carries the order through its stages first, and answers with the " +
        "order as it stands then; repeated, the request goes on with the same order, or tells where it stands.",
      tags: ["Orders"],
      parameters: [keyHeader],
      requestBody: requestBody(schemas.orderRequest),
      responses: {
        ...answer(
          201,
          "Processed, with `PROCESSING=sync`: the order as it stands, mostly at its end",
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
      description: "Pages are stable while orders arrive: follow `nextCursor` with the same filters.",
      tags: ["Orders"],
      parameters: queryParameters(schemas.orderQuery),
      responses: { ...answer(200, "One page", schemas.orderPage), ...problems(400, 401, 503) },
    },
  },
  "/orders/resume": {
    post: {
      summary: "Put failed orders back to work",
      description:
        "All that failed, or those of a stage, with a reason, or from before a time. They get all their attempts again, " +
        `and are queued page by page. ${REPEATABLE}: it resumes what has failed by then, also what has failed again since ` +
        "the first request, unless `before` says up to when.",
      tags: ["Orders"],
      requestBody: requestBody(schemas.resumeRequest),
      responses: {
        ...answer(202, "How many go on", schemas.resumed),
        ...problems(400, 401, 413, 415, 422, 503),
      },
    },
  },
  "/orders/{id}": {
    get: {
      summary: "One order",
      tags: ["Orders"],
      parameters: [orderId],
      responses: { ...answer(200, "The order", schemas.order), ...problems(401, 404, 503) },
    },
  },
  "/orders/{id}/cancel": {
    post: {
      summary: "Cancel an order",
      description:
        "Possible until the parcel is handed over. What was done is undone: the charge is refunded, the stock released. " +
        `The order is CANCELLED when that is done. ${REPEATABLE}: the first request and its reason stand.`,
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
      summary: "Everything that happened to an order, oldest first",
      tags: ["Orders"],
      parameters: [orderId],
      responses: { ...answer(200, "The events", schemas.orderEvents), ...problems(401, 404, 503) },
    },
  },
  "/events": {
    get: {
      summary: "What happened to all orders, from any point on",
      description:
        "In the order of the log, which never changes: whoever goes on after `next` misses no event, and sees none twice. " +
        "The newest events may be held back for some seconds, until it is sure that none can come before them. Each is a " +
        "CloudEvent, the same that the Redis Stream and live updates bring.",
      tags: ["Events"],
      parameters: queryParameters(schemas.eventQuery),
      responses: { ...answer(200, "One page", schemas.eventPage), ...problems(400, 401, 503) },
    },
  },
  "/events/stream": {
    get: {
      summary: "What happens to all orders, as it happens",
      description: `${LIVE} It costs the service nothing to speak of.`,
      tags: ["Events"],
      ...listening,
      parameters: [lastEventId],
      responses: { ...stream, ...problems(400, 401, 503) },
    },
  },
  "/orders/{id}/stream": {
    get: {
      summary: "What happens to one order, as it happens",
      description: LIVE,
      tags: ["Events"],
      ...listening,
      parameters: [orderId, lastEventId],
      responses: { ...stream, ...problems(400, 401, 404, 503) },
    },
  },
  "/webhook-endpoints": {
    get: {
      summary: "Where events are sent to",
      tags: ["Webhooks"],
      responses: { ...answer(200, "All endpoints", webhooks.webhookEndpointList), ...problems(401, 503) },
    },
    post: {
      summary: "Have events sent to an address, from now on",
      description:
        "Each event is posted as the CloudEvent that `/events` has, signed as Standard Webhooks says with the secret " +
        "that is told in the answer, and never again. Events of one order come in their order; what is not answered " +
        "with 2xx is tried again, eight times in a bit more than a day. Repeated under the same `Idempotency-Key`, it " +
        "gives the first answer again, with the secret: for a day, and until the secret is replaced, then 409. Without a " +
        "key each request makes an endpoint.",
      tags: ["Webhooks"],
      parameters: [keyHeader],
      requestBody: requestBody(webhooks.webhookEndpointRequest),
      responses: {
        ...answer(201, "The endpoint, with its secret", webhooks.webhookEndpointWithSecret, {
          Location: { description: "Where the endpoint is found", schema: { type: "string" } },
          ...REPLAYED,
        }),
        ...problems(400, 401, 409, 413, 415, 422, 503),
      },
    },
  },
  "/webhook-endpoints/{id}": {
    get: {
      summary: "One endpoint",
      tags: ["Webhooks"],
      parameters: [endpointId],
      responses: { ...answer(200, "The endpoint", webhooks.webhookEndpoint), ...problems(401, 404, 503) },
    },
    patch: {
      summary: "Change an endpoint, enable or disable it",
      description: `What waits for one that is disabled is sent when it is enabled again. ${REPEATABLE}.`,
      tags: ["Webhooks"],
      parameters: [endpointId],
      requestBody: requestBody(webhooks.webhookEndpointChange),
      responses: {
        ...answer(200, "The endpoint now", webhooks.webhookEndpoint),
        ...problems(400, 401, 404, 413, 415, 422, 503),
      },
    },
    delete: {
      summary: "Send nothing to it any more, and forget it",
      description: `${REPEATABLE}: then it answers 404.`,
      tags: ["Webhooks"],
      parameters: [endpointId],
      responses: { 204: { description: "It is gone" }, ...problems(401, 404, 503) },
    },
  },
  "/webhook-endpoints/{id}/rotate-secret": {
    post: {
      summary: "Give it another secret",
      description:
        "For a day messages are signed with both, so that nothing is refused meanwhile. Repeated under the same " +
        "`Idempotency-Key`, it gives the first answer again: for a day, and until the secret is replaced once more, then " +
        "409. Without a key each request replaces the secret.",
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
      summary: "Send it a test message",
      description: `Of the type \`conveyor.webhook.test.v1\`. Ask for the delivery to see what became of it. ${REPEATABLE}: each request sends a message.`,
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
      summary: "What was sent to an endpoint, or is to be, newest first",
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
      summary: "One delivery, with what was sent and what was answered",
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
      summary: "Send it again",
      description: `Under the same \`webhook-id\`, with all its attempts. ${REPEATABLE}: receivers leave out what they had.`,
      tags: ["Webhooks"],
      parameters: [deliveryId],
      responses: { ...answer(202, "The delivery", webhooks.webhookDelivery), ...problems(401, 404, 503) },
    },
  },
  "/stock": {
    post: {
      summary: "Set what is on hand of many SKUs, all or none",
      description: `${REPEATABLE}: it says how many there are, not how many more.`,
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
      summary: "What is there of one SKU",
      tags: ["Stock"],
      parameters: [sku],
      responses: { ...answer(200, "The level", schemas.stock), ...problems(400, 401, 404, 503) },
    },
    put: {
      summary: "Set what is on hand of one SKU",
      description: `${REPEATABLE}: it says how many there are, not how many more.`,
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
      summary: "Whether the process lives",
      tags: ["Health"],
      ...open,
      responses: { ...answer(200, "It does", schemas.liveness), ...problems() },
    },
  },
  "/health/ready": {
    get: {
      summary: "Whether the process can do its work, and which part keeps it from that",
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
  login: { type: "http", scheme: "basic", description: "Any name, and a key as password" },
};

/** The API's description in OpenAPI 3.1, made from the schemas that validate it. */
export function openApiDocument(version: string) {
  return {
    openapi: "3.1.0",
    info: {
      title: "Conveyor",
      version,
      description:
        "Takes orders in milliseconds and carries each to DELIVERED or CANCELLED. Operations that do not name the header " +
        "`Idempotency-Key` pay no regard to it.",
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
