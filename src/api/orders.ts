import { hash } from "node:crypto";
import { Router, type Request, type Response } from "express";
import { validate as isUuid } from "uuid";
import type { Database } from "../../db/database.ts";
import { afterwards } from "../platform/storage-error.ts";
import { listEvents, type OrderEvent } from "../../db/order-events.ts";
import { findOrders, listOrders } from "../../db/orders.ts";
import type { CreatedOrder } from "../engine/ports.ts";
import { placed } from "../order/change.ts";
import { CANCELLED } from "../order/lifecycle.ts";
import { totalOf, type Idempotency, type NewOrder, type StoredOrder } from "../order/order.ts";
import { actorOf } from "./auth.ts";
import { keyOf, tellRepeated } from "./idempotency.ts";
import { newOrderId } from "./order-id.ts";
import { methodNotAllowed, Problem } from "./problem.ts";
import {
  cancelRequest,
  orderQuery,
  orderRequest,
  type OrderBody,
  type OrderEventBody,
  type OrderRequestBody,
} from "./schemas.ts";
import { parseBody, parseParameters } from "./validate.ts";

/** Seconds after which a service that made an order fail may be back. */
const ORDER_AGAIN_AFTER_S = 5;

export interface OrderRoutes {
  readonly database: Database;
  /** Writes the order down for good, and sees to it that it is worked on. */
  readonly accept: (order: NewOrder) => Promise<CreatedOrder>;
  /**
   * Carries the order on while the client waits, as far as it goes; absent where workers do that in the background.
   *
   * @param created the order, if it was just written down.
   */
  readonly process?: ((orderId: string, created?: StoredOrder) => Promise<Processed>) | undefined;
  /** Notes that an order is to be cancelled, unless it is too late; undefined when there is no such order. */
  readonly cancel: (
    orderId: string,
    reason: string,
    actor: string | null,
  ) => Promise<{ readonly accepted: boolean; readonly order: StoredOrder } | undefined>;
}

/** How an order came out of being carried on. */
interface Processed {
  /** Accepted: it goes on later. Failed: it is cancelled for the reason, or will be. */
  readonly outcome: "processed" | "accepted" | "failed";
  readonly reason?: string;
  readonly order: StoredOrder;
}

/** `/orders`: taking orders, and telling where they stand. */
export function orderRoutes({ database, accept, process, cancel }: OrderRoutes): Router {
  const router = Router();

  router
    .route("/orders")
    .post(async (request, response) => {
      const content = parseBody(orderRequest, request);
      const order = newOrder(content, idempotencyOf(request, response, content));
      const { id, createdAt, requestHash, repeated } = await accept(order);
      if (repeated && requestHash !== order.idempotency?.requestHash) throw keyReused(id);
      // The same content made the same order: only what was given to it differs.
      const created = placed({ ...order, id, createdAt });
      // It is written down, and goes on whatever becomes of this request.
      const processed = process && (await afterwards(() => process(id, repeated ? undefined : created)));
      if (processed?.outcome === "failed") throw notProcessed(processed);
      response.status(processed?.outcome === "processed" ? 201 : 202).location(`/orders/${id}`);
      tellRepeated(response, repeated);
      response.json(body(processed?.order ?? created));
    })
    .get(async (request, response) => {
      const { limit, cursor, failed, ...filter } = parseParameters(orderQuery, request.query);
      const { items, next } = await listOrders(
        database,
        { ...filter, failed: failed === undefined ? undefined : failed === "true" },
        { limit, before: cursor === undefined ? undefined : fromCursor(cursor) },
      );
      response.json({ items: items.map(body), nextCursor: next === null ? null : toCursor(next) });
    })
    .all(methodNotAllowed("GET", "POST"));

  router
    .route("/orders/:id")
    .get(async (request, response) => {
      response.json(body(await find(database, request.params.id)));
    })
    .all(methodNotAllowed("GET"));

  router
    .route("/orders/:id/cancel")
    .post(async (request, response) => {
      const { reason } = parseBody(cancelRequest, request);
      const { id } = request.params;
      const cancellation = isUuid(id) ? await cancel(id.toLowerCase(), reason, actorOf(response)) : undefined;
      if (cancellation === undefined) throw noSuchOrder(id);
      if (!cancellation.accepted) throw tooLate(cancellation.order.status);
      response.status(202).location(`/orders/${cancellation.order.id}`).json(body(cancellation.order));
    })
    .all(methodNotAllowed("POST"));

  router
    .route("/orders/:id/events")
    .get(async (request, response) => {
      const { id } = await find(database, request.params.id);
      response.json({ items: (await listEvents(database, id)).map(eventBody) });
    })
    .all(methodNotAllowed("GET"));

  return router;
}

function newOrder(request: OrderRequestBody, idempotency: Idempotency | null): NewOrder {
  const createdAt = new Date();
  const total = totalOf(request.lines);
  if (total === undefined) throw new Error("the schema lets through no total that does not fit");
  return {
    id: newOrderId(createdAt),
    customerId: request.customerId,
    reference: request.reference ?? null,
    currency: request.currency,
    total,
    lines: request.lines,
    paymentToken: request.paymentToken ?? null,
    shipTo: request.shipTo ?? null,
    createdAt,
    idempotency,
  };
}

/** The request's `Idempotency-Key`, with whose it is and what for. @throws {Problem} 400 for a malformed one. */
function idempotencyOf(request: Request, response: Response, content: OrderRequestBody): Idempotency | null {
  const key = keyOf(request, response);
  if (key === undefined) return null;
  // The schema gives fields in its own order, so the same content has the same text.
  const requestHash = hash("sha256", JSON.stringify(content), "base64");
  return { ...key, requestHash };
}

function keyReused(orderId: string): Problem {
  const detail = `the key was used for order ${orderId}, with another body; use a new key for a new order`;
  return new Problem(422, "idempotency-key-reused", { detail });
}

/** Told once: who repeats the request is told where the order stands. */
function notProcessed({ reason, order: { id, status } }: Processed): Problem {
  const fate = status === CANCELLED ? "is cancelled" : "will be cancelled as soon as all can be undone";
  return new Problem(503, "not-processed", {
    detail: `order ${id} ${fate}: ${reason}; a new order needs a new Idempotency-Key`,
    orderId: id,
    orderStatus: status,
    headers: { "Retry-After": String(ORDER_AGAIN_AFTER_S), Location: `/orders/${id}` },
  });
}

async function find(database: Database, id: string): Promise<StoredOrder> {
  const [order] = isUuid(id) ? await findOrders(database, [id.toLowerCase()]) : [];
  if (order === undefined) throw noSuchOrder(id);
  return order;
}

function noSuchOrder(id: string): Problem {
  return new Problem(404, "not-found", { detail: `there is no order ${id}` });
}

function tooLate(status: string): Problem {
  const detail = `the order is ${status}, and can no longer be cancelled`;
  return new Problem(409, "too-late-to-cancel", { detail, orderStatus: status });
}

/** An order as the API tells it: without what only stages need, the payment token and the address. */
function body(order: StoredOrder): OrderBody {
  return {
    id: order.id,
    status: order.status,
    reference: order.reference,
    customerId: order.customerId,
    currency: order.currency,
    total: order.total,
    lines: order.lines.map(({ sku, quantity, unitPrice }) => ({ sku, quantity, unitPrice })),
    ...(order.failed && { failed: { ...order.failed, at: order.failed.at.toISOString() } }),
    ...(order.cancellation && {
      cancellation: {
        reason: order.cancellation.reason,
        requestedAt: order.cancellation.requestedAt.toISOString(),
      },
    }),
    createdAt: order.createdAt.toISOString(),
    updatedAt: order.updatedAt.toISOString(),
  };
}

function eventBody(event: OrderEvent): OrderEventBody {
  const { at, startedAt } = event;
  return { ...event, at: at.toISOString(), startedAt: startedAt?.toISOString() ?? null };
}

/** Opaque to clients, so that what is behind it may change. */
function toCursor(id: string): string {
  return Buffer.from(id).toString("base64url");
}

function fromCursor(cursor: string): string {
  const id = Buffer.from(cursor, "base64url").toString();
  if (isUuid(id) && toCursor(id) === cursor) return id;
  const message = "must be the nextCursor of a page of this listing";
  throw new Problem(400, "invalid-input", { errors: [{ path: "cursor", message }] });
}
