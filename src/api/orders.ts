import { hash } from "node:crypto";
import type { Response } from "express";
import { validate as isUuid } from "uuid";
import { afterwards } from "../platform/storage-error.ts";
import { listEvents } from "../../db/order-events.ts";
import { listOrders } from "../../db/orders.ts";
import type { Processed } from "../engine/inline/processing.ts";
import { placed } from "../order/change.ts";
import { CANCELLED, lifecycle } from "../order/lifecycle.ts";
import type { Idempotency, NewOrder } from "../order/order.ts";
import type { PaymentProvider } from "../order/ports.ts";
import { pay } from "../order/stages/pay.ts";
import { actorOf } from "./auth.ts";
import { cursorOf, fromCursor } from "./cursor.ts";
import { idempotencyHeaders, keyOf, REPEATABLE, REPLAYED, tellRepeated } from "./idempotency.ts";
import { amendmentRoutes } from "./amendments.ts";
import { orderOf } from "./lookup.ts";
import { eventBody, orderBody } from "./order-body.ts";
import { newOrder } from "./new-order.ts";
import { Problem } from "./problem.ts";
import { addressOf } from "./public-address.ts";
import { resumeRoute } from "./resume.ts";
import { noSuch, problemAnswer, route, type Route } from "./route.ts";
import { sendJson } from "./send-json.ts";
import {
  cancelRequest,
  idPath,
  order as orderSchema,
  orderEvents,
  orderPage,
  orderQuery,
  orderRequest,
  type OrderRequestBody,
} from "./schemas.ts";

/** `Retry-After` for an order that failed, in seconds: the service may be back by then. */
const ORDER_AGAIN_AFTER_S = 5;

/** Headers of the answer to a new order. */
const PLACED = { Location: { description: "URL of the order", schema: { type: "string" } }, ...REPLAYED };

const NOT_PROCESSED =
  "MySQL is unavailable. Try again after `Retry-After` seconds. `detail` says whether nothing was done or the outcome is unknown. If it is unknown, repeat the request with the same `Idempotency-Key`; an order without a key is cancelled once MySQL answers, if it exists, unless the API dies first or is alone cut off from MySQL for longer than `SWEEP_AFTER_MS`. With `PROCESSING=sync`, also `not-processed`: a stage failed, and the order is cancelled, or will be once everything can be undone";

/** For paths of one order. */
const ONE_ORDER = { scope: "key", tag: "Orders", names: "order" } as const;

/** `/orders`: create, read and cancel orders. The most used come first. */
export const orderRoutes: readonly Route[] = [
  route({
    method: "POST",
    path: "/orders",
    scope: "key",
    tag: "Orders",
    summary: "Create an order",
    description:
      "Answers once the order is stored durably. Its stages then run in the background; follow it at the URL in " +
      "`Location`. Repeating the request with the same `Idempotency-Key` returns the first answer; without a key, each " +
      "request creates an order. With `PROCESSING=sync`, the service runs the stages first and answers with the " +
      "resulting order; a repeated request continues the same order, or returns it as it stands.",
    request: { body: orderRequest, headers: idempotencyHeaders },
    answers: {
      201: {
        description: "Processed, with `PROCESSING=sync`: the order as it stands, usually finished",
        schema: orderSchema,
        headers: PLACED,
      },
      202: {
        description: "Accepted: the order will be DELIVERED or CANCELLED",
        schema: orderSchema,
        headers: PLACED,
      },
      503: problemAnswer(NOT_PROCESSED),
    },
    handler: async ({ body: content, headers, response }, { accept, process, parcels, payments }) => {
      const order = newOrder(content, idempotencyOf(keyOf(headers, response), content));
      mustBePayable(order, payments);
      const { id, createdAt, requestHash, repeated } = await accept(order);
      if (repeated && requestHash !== order.idempotency?.requestHash) throw keyReused(id);
      // Same content, same order: only the id and time may come from an earlier request.
      const created = placed(repeated ? { ...order, id, createdAt } : order);
      // The order is stored, so it is processed even if this request fails.
      const processed = process && (await afterwards(() => process(id, repeated ? undefined : created)));
      if (processed?.outcome === "failed") throw notProcessed(processed, response);
      tellRepeated(response, repeated);
      const isProcessed = processed?.outcome === "processed";
      const status = isProcessed ? 201 : 202;
      const shipments = isProcessed ? await afterwards(() => parcels.list(processed.order)) : [];
      const body = orderBody(processed?.order ?? created, shipments);
      sendJson(response, status, body, { Location: addressOf(response, `/orders/${id}`) });
    },
  }),
  route({
    method: "GET",
    path: "/orders",
    scope: "key",
    tag: "Orders",
    summary: "List orders, newest first",
    description:
      "Pages are stable while orders arrive. Follow `nextCursor` with the same filters: a page of orders with many lines may have fewer than `limit`.",
    request: { query: orderQuery },
    answers: { 200: { description: "One page", schema: orderPage } },
    handler: async ({ query: { limit, cursor, failed, waiting, ...filter }, response }, { reads }) => {
      const { items, next } = await listOrders(
        reads,
        { ...filter, failed: isTrue(failed), waiting: isTrue(waiting) },
        { limit, before: fromCursor(cursor, uuidOf) },
      );
      response.json({ items: items.map((order) => orderBody(order)), nextCursor: cursorOf(next) });
    },
  }),
  resumeRoute,
  route({
    ...ONE_ORDER,
    method: "GET",
    path: "/orders/:id",
    summary: "Get an order",
    request: { params: idPath },
    answers: { 200: { description: "The order", schema: orderSchema } },
    handler: async ({ params, response }, { database, parcels }) => {
      const order = await orderOf(database, params.id);
      response.json(orderBody(order, await parcels.list(order)));
    },
  }),
  ...amendmentRoutes,
  route({
    ...ONE_ORDER,
    method: "POST",
    path: "/orders/:id/cancel",
    summary: "Cancel an order",
    description:
      "Possible until the parcel is handed over. Finished stages are undone: the charge is refunded, the stock released. " +
      `The order is CANCELLED when that is done. ${REPEATABLE}: the first request and its reason are kept.`,
    request: { params: idPath, body: cancelRequest },
    answers: { 202: { description: "The order will be CANCELLED, or is", schema: orderSchema } },
    failures: [404, 409],
    handler: async ({ params: { id }, body: { reason }, response }, { operations }) => {
      const cancellation = await operations.cancel(id, reason, actorOf(response));
      if (cancellation === undefined) throw noSuch("order", id);
      if (!cancellation.accepted) throw tooLate(cancellation.order.status);
      response
        .status(202)
        .location(addressOf(response, `/orders/${id}`))
        .json(orderBody(cancellation.order));
    },
  }),
  route({
    ...ONE_ORDER,
    method: "POST",
    path: "/orders/:id/wake",
    summary: "Wake an order that waits",
    description:
      "Runs the stage of an order that waits for somebody else to act, at once: it asks whether that has happened. Does " +
      "nothing to other orders on their way, so it may come too early, twice or in vain.",
    request: { params: idPath },
    answers: { 202: { description: "The order", schema: orderSchema } },
    failures: [404, 409],
    handler: async ({ params: { id }, response }, { database, waking }) => {
      const woken = await waking.wake(id);
      if (woken === undefined) throw noSuch("order", id);
      const { status: orderStatus } = woken;
      if (lifecycle.statuses.includes(orderStatus) && lifecycle.hasEnded(orderStatus)) {
        const detail = `the order is ${orderStatus}: there is no stage to ask`;
        throw new Problem(409, "order-ended", { detail, orderStatus });
      }
      const order = await afterwards(() => orderOf(database, id));
      response
        .status(202)
        .location(addressOf(response, `/orders/${id}`))
        .json(orderBody(order));
    },
  }),
  route({
    ...ONE_ORDER,
    method: "GET",
    path: "/orders/:id/events",
    summary: "List the events of an order, oldest first",
    request: { params: idPath },
    answers: { 200: { description: "The events", schema: orderEvents } },
    handler: async ({ params, response }, { database }) => {
      const { id } = await orderOf(database, params.id);
      response.json({ items: (await listEvents(database, id)).map(eventBody) });
    },
  }),
];

function uuidOf(text: string): string | undefined {
  return isUuid(text) ? text : undefined;
}

function isTrue(text: "true" | "false" | undefined): boolean | undefined {
  return text === undefined ? undefined : text === "true";
}

/** The idempotency key with its client and the hash of the request. */
function idempotencyOf(key: Omit<Idempotency, "requestHash"> | undefined, content: OrderRequestBody) {
  if (key === undefined) return null;
  // The schema fixes the order of fields, so equal content has equal text.
  const requestHash = hash("sha256", JSON.stringify(content), "base64");
  return { ...key, requestHash };
}

function keyReused(orderId: string): Problem {
  const detail = `the key was used for order ${orderId}, with another body; use a new key for a new order`;
  return new Problem(422, "idempotency-key-reused", { detail });
}

/** @throws {Problem} 422 for an amount that the provider of the stage `pay` can't take. */
function mustBePayable(
  { total, currency }: Pick<NewOrder, "total" | "currency">,
  payments: Pick<PaymentProvider, "faultOfAmount">,
): void {
  // Nobody is charged nothing.
  const isPaid = lifecycle.has(pay.name) && total > 0;
  const fault = isPaid ? payments.faultOfAmount?.(total, currency, "payment") : undefined;
  if (fault !== undefined)
    throw new Problem(422, "invalid-input", { errors: [{ path: "total", message: fault }] });
}

/** Sent once: a repeated request gets the order's current state. */
function notProcessed(
  { reason, order: { id, status } }: Processed & { readonly outcome: "failed" },
  response: Response,
): Problem {
  const fate = status === CANCELLED ? "is cancelled" : "will be cancelled once everything is undone";
  return new Problem(503, "not-processed", {
    detail: `order ${id} ${fate}: ${reason}; a new order needs a new Idempotency-Key`,
    orderId: id,
    orderStatus: status,
    headers: {
      "Retry-After": String(ORDER_AGAIN_AFTER_S),
      Location: addressOf(response, `/orders/${id}`),
    },
  });
}

function tooLate(status: string): Problem {
  const detail = `the order is ${status}, and can no longer be cancelled`;
  return new Problem(409, "too-late-to-cancel", { detail, orderStatus: status });
}
