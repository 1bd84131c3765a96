import type { Database } from "../../db/database.ts";
import { listDeliveries, type ListedDelivery } from "../../db/webhook-deliveries.ts";
import { listEndpoints, type WebhookEndpoint } from "../../db/webhook-endpoints.ts";
import { EVENT_TYPES, type EventType } from "../order/event.ts";
import { messageType } from "../events/message.ts";
import { actorOf } from "./auth.ts";
import { idempotencyHeaders, keyOf, REPEATABLE, REPLAYED, tellRepeated } from "./idempotency.ts";
import { deliveryOf, endpointOf } from "./lookup.ts";
import { addressOf } from "./public-address.ts";
import { route, type Route } from "./route.ts";
import { idPath, numberPath } from "./schemas.ts";
import {
  webhookDelivery,
  webhookDeliveryDetails,
  webhookDeliveryPage,
  webhookDeliveryQuery,
  webhookEndpoint,
  webhookEndpointChange,
  webhookEndpointList,
  webhookEndpointRequest,
  webhookEndpointWithSecret,
  type WebhookDeliveryBody,
  type WebhookDeliveryDetailsBody,
  type WebhookEndpointBody,
} from "./webhook-schemas.ts";

const WEBHOOKS = { scope: "key", tag: "Webhooks" } as const;
/** For paths of one endpoint or delivery. */
const ONE_ENDPOINT = { ...WEBHOOKS, names: "webhook endpoint" } as const;
const ONE_DELIVERY = { ...WEBHOOKS, names: "delivery" } as const;

/** `/webhook-endpoints` and `/webhook-deliveries`: where events are sent, and the results. */
export const webhookRoutes: readonly Route[] = [
  route({
    ...WEBHOOKS,
    method: "GET",
    path: "/webhook-endpoints",
    summary: "List webhook endpoints",
    answers: { 200: { description: "All endpoints", schema: webhookEndpointList } },
    handler: async ({ response }, { database }) => {
      response.json({ items: (await listEndpoints(database)).map(endpointBody) });
    },
  }),
  route({
    ...WEBHOOKS,
    method: "POST",
    path: "/webhook-endpoints",
    summary: "Create a webhook endpoint",
    description:
      "Sends each event from now on as the CloudEvent that `/events` has, signed as in Standard Webhooks. The secret is " +
      "in this answer only. Events of one order are sent in order. A message that is not answered with 2xx is retried " +
      "eight times over a bit more than a day. Repeating the request with the same `Idempotency-Key` returns the first " +
      "answer, with the secret, for a day and until the secret is replaced, then 409. Without a key, each request " +
      "creates an endpoint.",
    request: { body: webhookEndpointRequest, headers: idempotencyHeaders },
    answers: {
      201: {
        description: "The endpoint, with its secret",
        schema: webhookEndpointWithSecret,
        headers: {
          Location: { description: "URL of the endpoint", schema: { type: "string" } },
          ...REPLAYED,
        },
      },
    },
    failures: [409],
    handler: async ({ body, headers, response }, { webhooks }) => {
      const { url, description = null, eventTypes } = body;
      const settings = { url, description, eventTypes: shortTypes(eventTypes ?? null) };
      const key = keyOf(headers, response);
      const { endpoint, repeated } = await webhooks.create(settings, actorOf(response), key);
      tellRepeated(response, repeated);
      response
        .status(201)
        .location(addressOf(response, `/webhook-endpoints/${endpoint.id}`))
        .json({ ...endpointBody(endpoint), secret: endpoint.secret });
    },
  }),
  route({
    ...ONE_ENDPOINT,
    method: "GET",
    path: "/webhook-endpoints/:id",
    summary: "Get a webhook endpoint",
    request: { params: idPath },
    answers: { 200: { description: "The endpoint", schema: webhookEndpoint } },
    handler: async ({ params, response }, { database }) => {
      response.json(endpointBody(await endpointOf(database, params.id)));
    },
  }),
  route({
    ...ONE_ENDPOINT,
    method: "PATCH",
    path: "/webhook-endpoints/:id",
    summary: "Update, enable or disable a webhook endpoint",
    description: `Messages that wait when an endpoint is disabled are sent when it is enabled again. ${REPEATABLE}.`,
    request: { params: idPath, body: webhookEndpointChange },
    answers: { 200: { description: "The updated endpoint", schema: webhookEndpoint } },
    handler: async ({ params: { id }, body, response }, { webhooks }) => {
      const { eventTypes, url, description, enabled } = body;
      const change = {
        ...(url === undefined ? {} : { url }),
        ...(description === undefined ? {} : { description }),
        ...(eventTypes === undefined ? {} : { eventTypes: shortTypes(eventTypes) }),
        enabled,
      };
      response.json(endpointBody(await webhooks.change(id, change, actorOf(response))));
    },
  }),
  route({
    ...ONE_ENDPOINT,
    method: "DELETE",
    path: "/webhook-endpoints/:id",
    summary: "Delete a webhook endpoint",
    description: `${REPEATABLE}: a repeated request answers 404.`,
    request: { params: idPath },
    answers: { 204: { description: "Deleted" } },
    handler: async ({ params, response }, { webhooks }) => {
      await webhooks.remove(params.id, actorOf(response));
      response.status(204).end();
    },
  }),
  route({
    ...ONE_ENDPOINT,
    method: "POST",
    path: "/webhook-endpoints/:id/rotate-secret",
    summary: "Rotate the secret of a webhook endpoint",
    description:
      "For a day, messages are also signed with the last two secrets before, so that none is refused. Repeating the request with " +
      "the same `Idempotency-Key` returns the first answer for a day and until the secret is replaced again, then 409. " +
      "Without a key, each request replaces the secret.",
    request: { params: idPath, headers: idempotencyHeaders },
    answers: {
      200: {
        description: "The endpoint, with its new secret",
        schema: webhookEndpointWithSecret,
        headers: REPLAYED,
      },
    },
    failures: [409],
    handler: async ({ params, headers, response }, { webhooks }) => {
      const key = keyOf(headers, response);
      const { endpoint, repeated } = await webhooks.rotate(params.id, actorOf(response), key);
      tellRepeated(response, repeated);
      response.json({ ...endpointBody(endpoint), secret: endpoint.secret });
    },
  }),
  route({
    ...ONE_ENDPOINT,
    method: "POST",
    path: "/webhook-endpoints/:id/test",
    summary: "Send a test message to a webhook endpoint",
    description: `Its type is \`conveyor.webhook.test.v1\`. Get the delivery to see its outcome. ${REPEATABLE}: each request sends a message.`,
    request: { params: idPath },
    answers: { 202: { description: "The delivery", schema: webhookDelivery } },
    failures: [409],
    handler: async ({ params, response }, { webhooks }) => {
      const delivery = await webhooks.test(params.id, actorOf(response));
      response.status(202).json(deliveryBody(delivery));
    },
  }),
  route({
    ...ONE_ENDPOINT,
    method: "GET",
    path: "/webhook-endpoints/:id/deliveries",
    summary: "List the deliveries of a webhook endpoint, newest first",
    request: { params: idPath, query: webhookDeliveryQuery },
    answers: { 200: { description: "One page", schema: webhookDeliveryPage } },
    handler: async ({ params, query: { state, limit, cursor }, response }, { database, reads }) => {
      const { id } = await endpointOf(database, params.id);
      const before = cursor === undefined ? undefined : Number(cursor);
      const { items, older } = await listDeliveries(reads, id, { state, limit, before });
      response.json({
        items: items.map(deliveryBody),
        nextCursor: older === null ? null : String(older),
      });
    },
  }),
  route({
    ...ONE_DELIVERY,
    method: "GET",
    path: "/webhook-deliveries/:id",
    summary: "Get a delivery, with its message and responses",
    request: { params: numberPath },
    answers: { 200: { description: "The delivery", schema: webhookDeliveryDetails } },
    handler: async ({ params, response }, { database }) => {
      response.json(await deliveryDetails(database, Number(params.id)));
    },
  }),
  route({
    ...ONE_DELIVERY,
    method: "POST",
    path: "/webhook-deliveries/:id/resend",
    summary: "Resend a delivery",
    description: `Keeps the \`webhook-id\`, and gets all its attempts again. ${REPEATABLE}: receivers skip what they already had.`,
    request: { params: numberPath },
    answers: { 202: { description: "The delivery", schema: webhookDelivery } },
    handler: async ({ params, response }, { webhooks }) => {
      const delivery = await webhooks.resend(Number(params.id), actorOf(response));
      response.status(202).json(deliveryBody(delivery));
    },
  }),
];

/** A delivery with its message and responses. @throws {Problem} 404; {DatabaseError} */
async function deliveryDetails(database: Database, id: number): Promise<WebhookDeliveryDetailsBody> {
  const { delivery, attempts, message } = await deliveryOf(database, id);
  return {
    ...deliveryBody(delivery),
    body: message?.body ?? null,
    history: attempts.map(({ at, url, durationMs, status, error, response }) => ({
      at: at.toISOString(),
      url,
      durationMs,
      status,
      error,
      response,
    })),
  };
}

function shortTypes(types: readonly string[] | null): readonly EventType[] | null {
  return types && EVENT_TYPES.filter((type) => types.includes(messageType(type)));
}

/** An endpoint without its secrets. */
function endpointBody(endpoint: WebhookEndpoint): WebhookEndpointBody {
  const {
    id,
    url,
    description,
    eventTypes,
    state,
    disabledReason,
    disabledAt,
    failingSince,
    lastError,
    nextAttemptAt,
  } = endpoint;
  return {
    id,
    url,
    description,
    eventTypes: eventTypes && eventTypes.map(messageType),
    enabled: state === "enabled",
    ...(disabledReason === null || disabledAt === null
      ? {}
      : { disabled: { reason: disabledReason, at: disabledAt.toISOString() } }),
    failingSince: failingSince?.toISOString() ?? null,
    lastError,
    nextAttemptAt: nextAttemptAt?.toISOString() ?? null,
    createdAt: endpoint.createdAt.toISOString(),
    updatedAt: endpoint.updatedAt.toISOString(),
  };
}

function deliveryBody(delivery: ListedDelivery): WebhookDeliveryBody {
  const { id, endpointId: endpoint, eventId, orderId, eventType, state, attempts, dueAt } = delivery;
  return {
    id,
    endpointId: endpoint,
    messageId: eventId === null ? `test-${id}` : String(eventId),
    orderId: eventId === null ? null : orderId,
    type: eventId === null ? "conveyor.webhook.test.v1" : eventType && messageType(eventType),
    state,
    attempts,
    nextAttemptAt: state === "pending" ? dueAt.toISOString() : null,
    lastStatus: delivery.lastStatus,
    lastError: delivery.lastError,
    createdAt: delivery.createdAt.toISOString(),
  };
}
