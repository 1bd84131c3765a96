import { actorOf } from "./auth.ts";
import { REPEATABLE } from "./idempotency.ts";
import { orderBody } from "./order-body.ts";
import { noSuch, route, type Route } from "./route.ts";
import { holdPath, holdRequest, idPath, order as orderSchema, orderPatch } from "./schemas.ts";

/** For paths of one order. */
const ONE_ORDER = { scope: "key", tag: "Orders", names: "order" } as const;

/** `/orders/:id`: change an order on its way, hold it and release it. */
export const amendmentRoutes: readonly Route[] = [
  route({
    ...ONE_ORDER,
    method: "PATCH",
    path: "/orders/:id",
    summary: "Change an order's addresses, customer, metadata or note",
    description:
      "Possible until the shipment is booked; the address, until its label is being bought. null removes a field, and what is left out stays. An address is replaced as a " +
      `whole; fields of the customer and of the metadata are merged. The event names the fields that changed, not their values. ${REPEATABLE}.`,
    request: { params: idPath, body: orderPatch },
    answers: { 200: { description: "The order now", schema: orderSchema } },
    failures: [404, 409],
    handler: async ({ params: { id }, body: patch, response }, { operations }) => {
      const order = await operations.patch(id, patch, actorOf(response));
      if (order === undefined) throw noSuch("order", id);
      response.json(orderBody(order));
    },
  }),
  route({
    ...ONE_ORDER,
    method: "POST",
    path: "/orders/:id/holds",
    summary: "Hold an order",
    description:
      "The stage that is under way ends; the next one does not begin until the last hold is released. A held order can be " +
      `cancelled, and its deadlines don't count. ${REPEATABLE}: the first hold of a name and its reason are kept.`,
    request: { params: idPath, body: holdRequest },
    answers: { 200: { description: "The order now", schema: orderSchema } },
    failures: [404, 409],
    handler: async ({ params: { id }, body: hold, response }, { operations }) => {
      const order = await operations.hold(id, hold, actorOf(response));
      if (order === undefined) throw noSuch("order", id);
      response.json(orderBody(order));
    },
  }),
  route({
    ...ONE_ORDER,
    method: "DELETE",
    path: "/orders/:id/holds/:name",
    summary: "Release a hold",
    description: "With the last one, the order goes on at once.",
    request: { params: holdPath },
    answers: { 200: { description: "The order now", schema: orderSchema } },
    handler: async ({ params: { id, name }, response }, { operations }) => {
      const order = await operations.release(id, name, actorOf(response));
      if (order === undefined) throw noSuch("order", id);
      response.json(orderBody(order));
    },
  }),
];
