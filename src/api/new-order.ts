import { sumsOf, type Idempotency, type NewOrder } from "../order/order.ts";
import { newOrderId } from "./order-id.ts";
import type { OrderRequestBody } from "./schemas.ts";
import { timestamp } from "../platform/clock.ts";

/** The order that a valid request asks for. */
export function newOrder(request: OrderRequestBody, idempotency: Idempotency | null): NewOrder {
  const createdAt = timestamp();
  const sums = sumsOf(request);
  const { id: customerId = request.customerId, ...contact } = request.customer ?? {};
  if (sums === undefined || customerId === undefined)
    throw new Error("the schema must refuse totals that do not fit, and orders of nobody");
  return {
    id: newOrderId(createdAt),
    customerId,
    reference: request.reference ?? null,
    currency: request.currency,
    total: sums.total,
    lines: request.lines,
    adjustments: request.adjustments ?? [],
    paymentToken: request.paymentToken ?? null,
    customer: isEmpty(contact) ? null : contact,
    shipTo: request.shipTo ?? null,
    billTo: request.billTo ?? null,
    metadata: request.metadata === undefined || isEmpty(request.metadata) ? null : request.metadata,
    note: request.note ?? null,
    whenSoldOut: request.whenSoldOut ?? "cancel",
    createdAt,
    idempotency,
  };
}

function isEmpty(fields: object): boolean {
  return Object.keys(fields).length === 0;
}
