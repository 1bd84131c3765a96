import { timestamp } from "../../platform/clock.ts";
import type { Order } from "../../order/order.ts";
import { referenceOf, type Payment } from "../../order/payment.ts";
import type { PaymentProvider } from "../../order/ports.ts";

/** An order's first payment, before the provider is asked. */
export function firstOf({ id, total, currency }: Order, { name }: Pick<PaymentProvider, "name">): Payment {
  return fresh({ orderId: id, sequence: 1, provider: name, amount: total, currency });
}

/** The payment of an order that was paid when payments were not written down yet; undefined for any other order. */
export function paidBefore(order: Order, provider: Pick<PaymentProvider, "name">): Payment | undefined {
  const { chargeId, paymentId } = order.records["pay"] ?? {};
  const providerId = chargeId ?? paymentId;
  if (typeof providerId !== "string") return undefined;
  return { ...firstOf(order, provider), state: "CAPTURED", providerId, captured: order.total };
}

/** The one that takes the place of a payment whose authorization has run out. */
export function nextOf({ orderId, sequence, provider, amount, currency }: Payment): Payment {
  return fresh({ orderId, sequence: sequence + 1, provider, amount, currency });
}

function fresh(given: Pick<Payment, "orderId" | "sequence" | "provider" | "amount" | "currency">): Payment {
  const now = timestamp();
  return {
    ...given,
    state: "PENDING",
    providerId: null,
    captured: 0,
    spentKeys: 0,
    code: null,
    reason: null,
    action: null,
    expiresAt: null,
    dispute: null,
    disputed: null,
    createdAt: now,
    updatedAt: now,
  };
}

/** A payment by the provider's name for it and by ours. */
export function namedOf(payment: Payment) {
  const { orderId, providerId: id, amount, currency } = payment;
  return { orderId, reference: referenceOf(payment), id, amount, currency };
}

/** The idempotency key: a new one for each that was spent. */
export function keyed(key: string, { spentKeys }: Payment): string {
  return spentKeys === 0 ? key : `${key}:${spentKeys}`;
}
