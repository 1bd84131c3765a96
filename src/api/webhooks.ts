import { Router, type Response } from "express";
import { validate as isUuid } from "uuid";
import type { Database } from "../../db/database.ts";
import {
  findDelivery,
  findEvents,
  listDeliveries,
  type ListedDelivery,
} from "../../db/webhook-deliveries.ts";
import { findEndpoint, listEndpoints, type WebhookEndpoint } from "../../db/webhook-endpoints.ts";
import { EVENT_TYPES, type EventType } from "../order/event.ts";
import { webhookMessage } from "../events/webhooks/message.ts";
import { WebhookError, type WebhookEndpoints } from "../events/webhooks/endpoints.ts";
import { actorOf } from "./auth.ts";
import { keyOf, tellRepeated } from "./idempotency.ts";
import { methodNotAllowed, Problem } from "./problem.ts";
import { parseBody, parseParameters } from "./validate.ts";
import {
  webhookDeliveryId,
  webhookDeliveryQuery,
  webhookEndpointChange,
  webhookEndpointRequest,
  type WebhookDeliveryBody,
  type WebhookDeliveryDetailsBody,
  type WebhookEndpointBody,
} from "./webhook-schemas.ts";

/** `/webhook-endpoints` and `/webhook-deliveries`: where events are sent to, and what became of that. */
export function webhookRoutes(database: Database, endpoints: WebhookEndpoints): Router {
  const router = Router();

  router
    .route("/webhook-endpoints")
    .get(async (_request, response) => {
      response.json({ items: (await listEndpoints(database)).map(endpointBody) });
    })
    .post(async (request, response) => {
      const { url, description = null, eventTypes } = parseBody(webhookEndpointRequest, request);
      const settings = { url, description, eventTypes: shortTypes(eventTypes ?? null) };
      const key = keyOf(request, response);
      const { endpoint, repeated } = await told(endpoints.create(settings, actor(response), key));
      tellRepeated(response, repeated);
      response
        .status(201)
        .location(`/webhook-endpoints/${endpoint.id}`)
        .json({ ...endpointBody(endpoint), secret: endpoint.secret });
    })
    .all(methodNotAllowed("GET", "POST"));

  router
    .route("/webhook-endpoints/:id")
    .get(async (request, response) => {
      response.json(endpointBody(await endpointOf(database, request.params.id)));
    })
    .patch(async (request, response) => {
      const id = endpointId(request.params.id);
      const { eventTypes, url, description, enabled } = parseBody(webhookEndpointChange, request);
      const change = {
        ...(url === undefined ? {} : { url }),
        ...(description === undefined ? {} : { description }),
        ...(eventTypes === undefined ? {} : { eventTypes: shortTypes(eventTypes) }),
        enabled,
      };
      response.json(endpointBody(await told(endpoints.change(id, change, actor(response)))));
    })
    .delete(async (request, response) => {
      await told(endpoints.remove(endpointId(request.params.id), actor(response)));
      response.status(204).end();
    })
    .all(methodNotAllowed("GET", "PATCH", "DELETE"));

  router
    .route("/webhook-endpoints/:id/rotate-secret")
    .post(async (request, response) => {
      const id = endpointId(request.params.id);
      const key = keyOf(request, response);
      const { endpoint, repeated } = await told(endpoints.rotate(id, actor(response), key));
      tellRepeated(response, repeated);
      response.json({ ...endpointBody(endpoint), secret: endpoint.secret });
    })
    .all(methodNotAllowed("POST"));

  router
    .route("/webhook-endpoints/:id/test")
    .post(async (request, response) => {
      const delivery = await told(endpoints.test(endpointId(request.params.id), actor(response)));
      response.status(202).json(deliveryBody(delivery));
    })
    .all(methodNotAllowed("POST"));

  router
    .route("/webhook-endpoints/:id/deliveries")
    .get(async (request, response) => {
      const { state, limit, cursor } = parseParameters(webhookDeliveryQuery, request.query);
      const { id } = await endpointOf(database, request.params.id);
      const before = cursor === undefined ? undefined : Number(cursor);
      const { items, older } = await listDeliveries(database, id, { state, limit, before });
      response.json({
        items: items.map(deliveryBody),
        nextCursor: older === null ? null : String(older),
      });
    })
    .all(methodNotAllowed("GET"));

  router
    .route("/webhook-deliveries/:id")
    .get(async (request, response) => {
      response.json(await deliveryDetails(database, deliveryId(request.params.id)));
    })
    .all(methodNotAllowed("GET"));

  router
    .route("/webhook-deliveries/:id/resend")
    .post(async (request, response) => {
      const delivery = await told(endpoints.resend(deliveryId(request.params.id), actor(response)));
      response.status(202).json(deliveryBody(delivery));
    })
    .all(methodNotAllowed("POST"));

  return router;
}

/** A delivery with what is sent and what was answered. @throws {Problem} 404; {DatabaseError} */
async function deliveryDetails(database: Database, id: number): Promise<WebhookDeliveryDetailsBody> {
  const found = await findDelivery(database, id);
  if (found === undefined) throw new Problem(404, "not-found", { detail: `there is no delivery ${id}` });
  const { delivery, attempts } = found;
  const { eventId } = delivery;
  const events = await findEvents(database, eventId === null ? [] : [eventId]);
  const message = webhookMessage(delivery, eventId === null ? undefined : events.get(eventId));
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

/** What can't be done, as it is told to clients. @throws {Problem} */
async function told<T>(deed: Promise<T>): Promise<T> {
  try {
    return await deed;
  } catch (error) {
    if (!(error instanceof WebhookError)) throw error;
    const detail = error.message;
    switch (error.kind) {
      case "bad address":
        throw new Problem(422, "invalid-input", { errors: [{ path: "url", message: detail }] });
      case "too many":
        throw new Problem(409, "too-many-endpoints", { detail });
      case "disabled":
        throw new Problem(409, "endpoint-disabled", { detail });
      case "another request":
        throw new Problem(422, "idempotency-key-reused", { detail });
      case "not told again":
        throw new Problem(409, "secret-not-told", { detail });
      case "no such endpoint":
      case "no such delivery":
        throw new Problem(404, "not-found", { detail });
    }
  }
}

function endpointId(id: string): string {
  if (!isUuid(id)) throw new Problem(404, "not-found", { detail: `there is no webhook endpoint ${id}` });
  return id.toLowerCase();
}

async function endpointOf(database: Database, id: string): Promise<WebhookEndpoint> {
  const endpoint = await findEndpoint(database, endpointId(id));
  if (endpoint === undefined)
    throw new Problem(404, "not-found", { detail: `there is no webhook endpoint ${id}` });
  return endpoint;
}

function deliveryId(id: string): number {
  if (!webhookDeliveryId.safeParse(id).success)
    throw new Problem(404, "not-found", { detail: `there is no delivery ${id}` });
  return Number(id);
}

function actor(response: Response): string {
  return actorOf(response) ?? "nobody";
}

function shortTypes(types: readonly string[] | null): readonly EventType[] | null {
  return types && EVENT_TYPES.filter((type) => types.includes(longType(type)));
}

function longType(type: EventType) {
  return `conveyor.order.${type}.v1` as const;
}

/** Without its secrets. */
function endpointBody(endpoint: WebhookEndpoint): WebhookEndpointBody {
  const { id, url, description, eventTypes, state, disabledReason, disabledAt, failingSince } = endpoint;
  return {
    id,
    url,
    description,
    eventTypes: eventTypes && eventTypes.map(longType),
    enabled: state === "enabled",
    ...(disabledReason === null || disabledAt === null
      ? {}
      : { disabled: { reason: disabledReason, at: disabledAt.toISOString() } }),
    failingSince: failingSince?.toISOString() ?? null,
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
    type: eventId === null ? "conveyor.webhook.test.v1" : eventType && longType(eventType),
    state,
    attempts,
    nextAttemptAt: state === "pending" ? dueAt.toISOString() : null,
    lastStatus: delivery.lastStatus,
    lastError: delivery.lastError,
    createdAt: delivery.createdAt.toISOString(),
  };
}
