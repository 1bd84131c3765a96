import { defineStage, done, reject, wait } from "../stage.ts";

/** How long a payment may be pending before the stage waits anew. The order's deadline ends it. */
const WAIT_MS = 24 * 60 * 60 * 1_000;

/** Pays the order, unless the total is 0, which providers refuse to charge. */
export const pay = defineStage({
  name: "pay",
  to: "PAID",
  // Don't hold stock for an unpaid order forever.
  settings: { deadline: 24 * 60 * 60 * 1_000 },

  async run(order, { ports, attempt, now, signal }) {
    if (order.total === 0) return { amount: 0, currency: order.currency };
    const payment = await ports.payments.pay({ order, attempt, signal });
    const { state, providerId, amount, currency, action } = payment;
    if (state === "DECLINED") return reject(`payment declined: ${payment.reason ?? "no reason given"}`);
    if (state === "PENDING") {
      const what = action ? "the customer to confirm the payment" : "the payment to be decided";
      return wait({ for: what, until: new Date(now.getTime() + WAIT_MS) });
    }
    const authorized = state === "AUTHORIZED" ? { authorized: true } : {};
    return done({ paymentId: providerId, amount, currency, ...authorized }, { payment });
  },

  async undo(order, { ports, attempt, signal }) {
    return ports.payments.undo({ order, attempt, signal });
  },
});
