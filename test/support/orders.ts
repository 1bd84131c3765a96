import { v7 as uuidv7 } from "uuid";
import type { Database } from "../../db/database.ts";
import { listEvents } from "../../db/order-events.ts";
import { createOrders } from "../../db/new-orders.ts";
import { findOrders } from "../../db/orders.ts";
import type { Ports, Providers } from "../../src/order/ports.ts";
import { totalOf, type NewOrder, type StoredOrder } from "../../src/order/order.ts";

/** An order of which the client has told nothing more. */
export const NOTHING_MORE = {
  adjustments: [],
  customer: null,
  billTo: null,
  metadata: null,
  note: null,
  whenSoldOut: "cancel",
} as const;

/** An order that was not written yet; what a test cares about can be given. */
export function newOrder(given: Partial<NewOrder> = {}): NewOrder {
  const lines = given.lines ?? [{ sku: "MUG-BLUE", quantity: 2, unitPrice: 1250 }];
  return {
    ...NOTHING_MORE,
    id: uuidv7(),
    customerId: "cust-1",
    reference: null,
    currency: "EUR",
    total: totalOf(lines) ?? 0,
    lines,
    paymentToken: null,
    shipTo: null,
    createdAt: new Date(),
    idempotency: null,
    ...given,
  };
}

/** A written order's id. */
export async function createOrder(database: Database, given: Partial<NewOrder> = {}): Promise<string> {
  const order = newOrder(given);
  await createOrders(database, [order]);
  return order.id;
}

/** An order that must exist. */
export async function readOrder(database: Database, id: string): Promise<StoredOrder> {
  const [order] = await findOrders(database, [id]);
  if (order === undefined) throw new Error(`there is no order ${id}`);
  return order;
}

/** The statuses that an order has had, in their order. */
export async function statusesOf(database: Database, id: string): Promise<string[]> {
  const events = await listEvents(database, id);
  return events.filter(({ type }) => type === "status").map(({ to }) => to);
}

const nobody = () => Promise.reject(new Error("the stages of this test need nobody outside"));

/** For stages that call no port. */
export const NO_PORTS: Ports = {
  inventory: { ping: nobody, move: nobody, release: nobody },
  payments: { ping: nobody, pay: nobody, capture: nobody, undo: nobody },
  carrier: { ping: nobody, ship: nobody, deliver: nobody, undo: nobody, hasLabels: nobody },
  httpStages: { ping: nobody, call: nobody },
};

export const NO_PROVIDERS: Providers = {
  inventory: NO_PORTS.inventory,
  payments: {
    name: "nobody",
    ping: nobody,
    authorize: nobody,
    capture: nobody,
    cancel: nobody,
    find: nobody,
    refund: nobody,
    findRefund: nobody,
  },
  carrier: {
    name: "nobody",
    ping: nobody,
    create: nobody,
    buy: nobody,
    void: nobody,
    track: nobody,
    find: nobody,
  },
  httpStages: NO_PORTS.httpStages,
};

/** The types of the events of an order of which no attempt failed. */
export const WITHOUT_TROUBLE = new Set([
  "status",
  "payment.captured",
  "shipment.booked",
  "shipment.delivered",
]);
