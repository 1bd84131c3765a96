import type { z } from "zod";
import type { Database } from "../../db/database.ts";
import { InvalidWebhookError } from "../order/ports.ts";
import type { StoredOrder } from "../order/order.ts";
import { hasLeft, isBookingRefused, type Shipment } from "../order/shipment.ts";
import { NotYetDoneError, ParcelRefusedError } from "../providers/shipping/parcels.ts";
import { actorOf } from "./auth.ts";
import { orderOf } from "./lookup.ts";
import { Problem } from "./problem.ts";
import { addressOf } from "./public-address.ts";
import { noSuch, problemAnswer, rawBody, route, type Route } from "./route.ts";
import { idPath } from "./schemas.ts";
import type { Services } from "./services.ts";
import {
  closeRequest,
  shipment as shipmentSchema,
  shipmentPath,
  shipmentRequest,
  shipments as shipmentsSchema,
  type ShipmentBody,
} from "./shipment-schemas.ts";

const ONE_ORDER = { scope: "key", tag: "Shipments", names: "order" } as const;
const ONE_SHIPMENT = { scope: "key", tag: "Shipments", names: "shipment" } as const;

const CHANGED = { description: "The shipment, as it is now", schema: shipmentSchema };

/** An order's parcels, and the carrier's webhooks. */
export const shipmentRoutes: readonly Route[] = [
  route({
    ...ONE_ORDER,
    method: "GET",
    path: "/orders/:id/shipments",
    summary: "List the shipments of an order",
    request: { params: idPath },
    answers: { 200: { description: "The shipments, oldest first", schema: shipmentsSchema } },
    handler: async ({ params, response }, { database, parcels }) => {
      const order = await orderOf(database, params.id);
      response.json({ items: (await parcels.list(order)).map(bodyOf) });
    },
  }),
  route({
    ...ONE_ORDER,
    method: "POST",
    path: "/orders/:id/shipments",
    summary: "Plan a shipment",
    description:
      "For `FULFILMENT=manual`, and for pieces that are to be shipped again because their parcel was lost or returned. No " +
      "piece gets into two shipments, whatever comes at once.",
    request: { params: idPath, body: shipmentRequest },
    answers: { 201: { description: "The shipment, PLANNED", schema: shipmentSchema } },
    failures: [404, 409],
    handler: async ({ params, body, response }, { database, parcels }) => {
      const order = await orderOf(database, params.id);
      const planned = await refusing(order, () => parcels.plan(order, body, actorOf(response)));
      response
        .status(201)
        .location(addressOf(response, `/orders/${order.id}/shipments/${planned.number}`))
        .json(bodyOf(planned));
    },
  }),
  route({
    ...ONE_SHIPMENT,
    method: "GET",
    path: "/orders/:id/shipments/:number",
    summary: "Get a shipment",
    request: { params: shipmentPath },
    answers: { 200: { description: "The shipment", schema: shipmentSchema } },
    handler: async ({ params, response }, services) => {
      response.json(bodyOf((await find(services, params)).shipment));
    },
  }),
  change("book", "Buy the label of a planned shipment", {
    description:
      "Answers once that is written down; the label is bought in the background, and `shipment.booked` reports it. " +
      "Repeating it buys nothing twice.",
    work: ({ parcels }, order, shipment, actor) => parcels.book(order, shipment, actor),
  }),
  change("void", "Call a shipment off", {
    description:
      "Its label is given back in the background. Carriers take some days, or refuse it for labels that were used: " +
      "`voiding` says what became of that.",
    work: ({ parcels }, order, shipment, actor) => parcels.void(order, shipment, actor),
  }),
  route({
    ...ONE_SHIPMENT,
    method: "POST",
    path: "/orders/:id/shipments/:number/close",
    summary: "Settle a shipment that never arrives",
    description:
      "Nobody waits for it any more, and its pieces are not shipped again. Refund them, if need be.",
    request: { params: shipmentPath, body: closeRequest },
    answers: { 200: CHANGED },
    failures: [404, 409],
    handler: async ({ params, body, response }, services) => {
      const { shipment, order } = await find(services, params);
      const closed = await refusing(order, () =>
        services.parcels.close(order, shipment, body.reason, actorOf(response)),
      );
      response.json(bodyOf(closed));
    },
  }),
  route({
    ...ONE_SHIPMENT,
    method: "GET",
    path: "/orders/:id/shipments/:number/label",
    summary: "Get the label of a shipment",
    request: { params: shipmentPath },
    answers: { 303: { description: "The label is at `Location`" } },
    failures: [404],
    handler: async ({ params, response }, services) => {
      const { shipment } = await find(services, params);
      if (shipment.labelUrl === null || shipment.state === "VOIDED")
        throw new Problem(404, "not-found", {
          detail: hasLeft(shipment)
            ? "the carrier keeps the label of this shipment elsewhere"
            : `the shipment is ${shipment.state}: it has no label`,
        });
      response.redirect(303, shipment.labelUrl);
    },
  }),
  route({
    method: "POST",
    path: "/providers/carrier/webhook",
    scope: "public",
    tag: "Webhooks",
    summary: "Receive a webhook of the carrier",
    description:
      "The address for the webhook at the carrier. Its signature is checked. It only has the parcel looked at: what it " +
      "says is not believed, so late, doubled and missing ones do no harm.",
    request: { raw: rawBody },
    answers: {
      204: { description: "The parcel will be looked at" },
      400: problemAnswer("The signature is missing or wrong"),
      503: problemAnswer("MySQL or the carrier is unavailable: send it again"),
    },
    handler: async ({ raw, request, response }, { parcels }) => {
      try {
        await parcels.receive(raw, request.headers);
      } catch (error) {
        if (error instanceof NotYetDoneError)
          throw new Problem(503, "unavailable", { detail: error.message, headers: { "Retry-After": "5" } });
        if (!(error instanceof InvalidWebhookError)) throw error;
        throw new Problem(400, "invalid-webhook", { detail: error.message });
      }
      response.status(204).end();
    },
  }),
];

/** A route that asks something of a shipment that a worker then does. */
function change(
  verb: string,
  summary: string,
  given: {
    readonly description: string;
    readonly work: (
      services: Services,
      order: StoredOrder,
      shipment: Shipment,
      actor: string,
    ) => Promise<Shipment>;
  },
): Route {
  return route({
    ...ONE_SHIPMENT,
    method: "POST",
    path: `/orders/:id/shipments/:number/${verb}`,
    summary,
    description: given.description,
    request: { params: shipmentPath },
    answers: { 202: CHANGED },
    failures: [404, 409],
    handler: async ({ params, response }, services) => {
      const { shipment, order } = await find(services, params);
      const changed = await refusing(order, () => given.work(services, order, shipment, actorOf(response)));
      response.status(202).json(bodyOf(changed));
    },
  });
}

async function find(
  { database, parcels }: { readonly database: Database } & Pick<Services, "parcels">,
  { id, number }: z.output<typeof shipmentPath>,
): Promise<{ readonly shipment: Shipment; readonly order: StoredOrder }> {
  const order = await orderOf(database, id);
  const shipment = await parcels.find(order, number);
  if (shipment === undefined) throw noSuch("shipment", number);
  return { shipment, order };
}

/** @throws {Problem} 409 for what does not fit. */
export async function refusing<Result>(
  { id: orderId, status: orderStatus }: { readonly id: string; readonly status: string },
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ParcelRefusedError)) throw error;
    throw new Problem(409, "not-shippable", { detail: error.message, orderId, orderStatus });
  }
}

function bodyOf(shipment: Shipment): ShipmentBody {
  const { number, state, parcel, carrier, service, cost, trackingNumber, trackingUrl } = shipment;
  const { expectedAt, bookRequestedAt, voiding, reason, closedAt } = shipment;
  return {
    number,
    state,
    lines: shipment.lines.map(({ sku, quantity }) => ({ sku, quantity })),
    ...(parcel && { parcel }),
    carrier,
    ...(service !== null && { service }),
    ...(cost && { cost }),
    ...(trackingNumber !== null && { trackingNumber }),
    ...(trackingUrl !== null && { trackingUrl }),
    ...(expectedAt && { expectedAt: expectedAt.toISOString() }),
    ...(state === "PLANNED" && bookRequestedAt && { booking: "requested" as const }),
    ...(isBookingRefused(shipment) && { booking: "refused" as const }),
    ...(voiding && { voiding }),
    ...(reason !== null && { reason }),
    ...(closedAt && { closedAt: closedAt.toISOString() }),
    createdAt: shipment.createdAt.toISOString(),
    updatedAt: shipment.updatedAt.toISOString(),
  };
}
