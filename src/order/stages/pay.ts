import { defineStage, reject } from "../stage.ts";

/** Charges the customer. An order that costs nothing has nothing to charge: providers refuse an amount of 0. */
export const pay = defineStage({
  name: "pay",
  to: "PAID",
  // Goods are not kept from other customers for ever.
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
