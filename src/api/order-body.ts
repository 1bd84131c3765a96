import type { OrderEvent } from "../../db/order-events.ts";
import type { StoredOrder } from "../order/order.ts";
import { fulfilmentOf, type Shipment } from "../order/shipment.ts";
import type { OrderBody, OrderEventBody } from "./schemas.ts";

/** An order as the API shows it: all but the payment token. What is not there is left out. */
export function orderBody(order: StoredOrder, shipments: readonly Shipment[] = []): OrderBody {
  return {
    id: order.id,
    status: order.status,
    reference: order.reference,
    customerId: order.customerId,
    currency: order.currency,
    total: order.total,
    lines: [...order.lines],
    ...(order.adjustments.length > 0 && { adjustments: [...order.adjustments] }),
    ...(order.customer && { customer: { id: order.customerId, ...order.customer } }),
    ...(order.shipTo && { shipTo: order.shipTo }),
    ...(order.billTo && { billTo: order.billTo }),
    ...(order.metadata && { metadata: order.metadata }),
    ...(order.note !== null && { note: order.note }),
    ...(order.whenSoldOut === "wait" && { whenSoldOut: order.whenSoldOut }),
    ...(order.holds.length > 0 && {
      holds: order.holds.map((hold) => ({ ...hold, at: hold.at.toISOString() })),
    }),
    ...(order.failed && { failed: { ...order.failed, at: order.failed.at.toISOString() } }),
    ...(order.waiting && {
      waiting: {
        ...order.waiting,
        since: order.waiting.since.toISOString(),
        until: order.waiting.until?.toISOString() ?? null,
      },
    }),
    ...(shipments.length > 0 && { fulfilment: fulfilmentOf(shipments) }),
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

/** An event as the API shows it to those who may read the order. */
export function eventBody(event: OrderEvent): OrderEventBody {
  const { at, startedAt } = event;
  return { ...event, at: at.toISOString(), startedAt: startedAt?.toISOString() ?? null };
}
