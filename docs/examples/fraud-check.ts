import { defineStage, reject } from "../../src/order/stage.ts";

/** The largest total, in minor units, that a customer may owe us: an order without a card is paid by account. */
const CREDIT_LIMIT = 500_000;

/** Refuses large orders that no card stands behind. */
export const fraudCheck = defineStage({
  name: "fraud-check",
  to: "FRAUD_CHECKED",

  async run(order) {
    const owed = order.paymentToken === null ? order.total : 0;
    if (owed > CREDIT_LIMIT) return reject(`too large to be paid by account: more than ${CREDIT_LIMIT}`);
    return { owed };
  },
});
