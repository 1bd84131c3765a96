import { defineStage, reject } from "../stage.ts";

/** Charges the customer, unless the total is 0, which providers refuse to charge. */
export const pay = defineStage({
  name: "pay",
  to: "PAID",
  // Don't hold stock for an unpaid order forever.
  settings: { deadline: 24 * 60 * 60 * 1_000 },

  async run(order, { ports, runKey, signal }) {
    if (order.total === 0) return { amount: 0, currency: order.currency };
    const charge = await ports.payments.charge({
      key: runKey,
      orderId: order.id,
      amount: order.total,
      currency: order.currency,
      token: order.paymentToken,
      signal,
    });
    if (!charge.approved) return reject(`payment declined: ${charge.reason}`);
    return { chargeId: charge.chargeId, amount: order.total, currency: order.currency };
  },

  async undo(order, { ports, runKey, undoKey, signal }) {
    return ports.payments.refund({ key: undoKey, chargeKey: runKey, orderId: order.id, signal });
  },
});
