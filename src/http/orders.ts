import { Router } from "express";
import { v7 as uuidv7, validate as isUuid } from "uuid";
import type { Database } from "../../db/database.ts";
import { listEvents, type OrderEvent } from "../../db/order-events.ts";
import { findOrders, listOrders } from "../../db/orders.ts";
import { CREATED } from "../order/lifecycle.ts";
import { totalOf, type NewOrder, type StoredOrder } from "../order/order.ts";
import { methodNotAllowed, Problem } from "./problem.ts";
import {
  orderQuery,
  orderRequest,
  type OrderBody,
  type OrderEventBody,
  type OrderRequestBody,
} from "./schemas.ts";
import { parseBody, parseParameters } from "./validate.ts";

export interface OrderRoutes {
  readonly database: Database;
  /** Writes the order down for good, and sees to it that it is worked on. */
  readonly accept: (order: NewOrder) => Promise<void>;
}

/** `/orders`: taking orders, and telling where they stand. */
export function orderRoutes({ database, accept }: OrderRoutes): Router {
  const router = Router();

  router
    .route("/orders")
    .post(async (request, response) => {
      const order = newOrder(parseBody(orderRequest, request));
      await accept(order);
      response
        .status(202)
        .location(`/orders/${order.id}`)
        .json(body(asCreated(order)));
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
    .route("/orders/:id/events")
    .get(async (request, response) => {
      const { id } = await find(database, request.params.id);
      response.json({ items: (await listEvents(database, id)).map(eventBody) });
    })
    .all(methodNotAllowed("GET"));

  return router;
}

function newOrder(request: OrderRequestBody): NewOrder {
  const createdAt = new Date();
  const total = totalOf(request.lines);
  if (total === undefined) throw new Error("the schema lets through no total that does not fit");
  return {
    id: uuidv7({ msecs: createdAt.getTime() }),
    customerId: request.customerId,
    reference: request.reference ?? null,
    currency: request.currency,
    total,
    lines: request.lines,
    paymentToken: request.paymentToken ?? null,
    shipTo: request.shipTo ?? null,
    createdAt,
  };
}

function asCreated(order: NewOrder): StoredOrder {
  return {
    ...order,
    records: {},
    status: CREATED,
    failed: null,
    cancellation: null,
    updatedAt: order.createdAt,
  };
}

async function find(database: Database, id: string): Promise<StoredOrder> {
  const [order] = isUuid(id) ? await findOrders(database, [id.toLowerCase()]) : [];
  if (order === undefined) throw new Problem(404, "not-found", { detail: `there is no order ${id}` });
  return order;
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
  return { ...event, at: event.at.toISOString() };
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
