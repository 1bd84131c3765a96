import { listPayments } from "../../db/payments.ts";
import { listRefunds, sumOf } from "../../db/refunds.ts";
import { InvalidWebhookError, NotNowError, ServiceUnavailableError } from "../order/ports.ts";
import type { Payment, Refund } from "../order/payment.ts";
import { sumOfWorth } from "../order/refund.ts";
import { idempotencyHeaders, keyOf, REPLAYED, tellRepeated } from "./idempotency.ts";
import { orderOf } from "./lookup.ts";
import {
  orderPayments,
  refund as refundSchema,
  refundRequest,
  type PaymentBody,
  type RefundBody,
} from "./payment-schemas.ts";
import { Problem } from "./problem.ts";
import { addressOf } from "./public-address.ts";
import { requestRefund } from "./refunds.ts";
import { problemAnswer, rawBody, route, type Route } from "./route.ts";
import { idPath } from "./schemas.ts";

const ONE_ORDER = { scope: "key", tag: "Orders", names: "order" } as const;

/** An order's payments and refunds, and the webhooks of the payment provider. */
export const paymentRoutes: readonly Route[] = [
  route({
    ...ONE_ORDER,
    method: "GET",
    path: "/orders/:id/payments",
    summary: "Get the payments and refunds of an order",
    description:
      "While the customer has to confirm a payment, `action` says how. It is a secret between your client and the provider.",
    request: { params: idPath },
    answers: { 200: { description: "The payments and refunds, oldest first", schema: orderPayments } },
    handler: async ({ params, response }, { database }) => {
      const { id } = await orderOf(database, params.id);
      const [payments, refunds] = await Promise.all([
        listPayments(database, [id]),
        listRefunds(database, [id]),
      ]);
      response.json({
        payments: payments.map((payment) => paymentBody(payment, refunds)),
        refunds: refunds.map(refundBody),
      });
    },
  }),
  route({
    ...ONE_ORDER,
    method: "POST",
    path: "/orders/:id/refunds",
    summary: "Refund an order, in full or in part",
    description:
      "From PAID on, several per order, never more in sum than was captured, and never more pieces than were ordered. " +
      "Pieces in no parcel yet are not shipped. Where less is left than the pieces are worth, `amount` is what is left, and `worth` says what they are worth. " +
      "Answers once the refund is written down; the provider is asked in the background, and `refund.succeeded` or " +
      "`refund.failed` reports the result. Before the money is captured, so much less is captured. Repeating the request " +
      "with the same `Idempotency-Key` and body returns the first refund.",
    request: { params: idPath, body: refundRequest, headers: idempotencyHeaders },
    answers: {
      202: { description: "The refund will be paid back", schema: refundSchema, headers: REPLAYED },
      422: problemAnswer("The input is not valid, or the key was used for another refund of the order"),
    },
    failures: [404, 409],
    handler: async ({ params, body, headers, response }, services) => {
      const order = await orderOf(services.database, params.id);
      const by = { response, key: keyOf(headers, response) };
      const { refund, repeated } = await requestRefund(services, order, body, by);
      tellRepeated(response, repeated);
      response
        .status(202)
        .location(addressOf(response, `/orders/${order.id}/payments`))
        .json(refundBody(refund));
    },
  }),
  route({
    method: "POST",
    path: "/providers/payments/webhook",
    scope: "public",
    tag: "Webhooks",
    summary: "Receive a webhook of the payment provider",
    description:
      "The address for the webhook endpoint at the provider. Its signature is checked. It only has the payment looked " +
      "at: what it says is not believed, so late, doubled and missing ones do no harm. One about a dispute is answered once " +
      "the dispute was looked up.",
    request: { raw: rawBody },
    answers: {
      204: { description: "The payment will be looked at" },
      400: problemAnswer(
        "The signature is missing, wrong or too old, or the body is no event: `invalid-webhook`",
      ),
      503: problemAnswer("The provider, or MySQL, is unavailable: send it again"),
    },
    handler: async ({ raw, request, response }, { paymentWebhooks }) => {
      try {
        await paymentWebhooks.receive(raw, request.headers);
      } catch (error) {
        if (error instanceof InvalidWebhookError)
          throw new Problem(400, "invalid-webhook", { detail: error.message });
        if (error instanceof ServiceUnavailableError || error instanceof NotNowError)
          throw new Problem(503, "unavailable", { detail: error.message, headers: { "Retry-After": "1" } });
        throw error;
      }
      response.status(204).end();
    },
  }),
];

function paymentBody(payment: Payment, refunds: readonly Refund[]): PaymentBody {
  const {
    state,
    provider,
    providerId,
    amount,
    currency,
    captured,
    code,
    reason,
    action,
    expiresAt,
    dispute,
    disputed,
  } = payment;
  const own = refunds.filter(({ sequence }) => sequence === payment.sequence);
  return {
    state,
    provider,
    providerId,
    amount,
    currency,
    captured: state === "CAPTURED" ? captured : 0,
    refunded: sumOf(own.filter(({ cause }) => cause !== "uncaptured")),
    ...((state === "DECLINED" || (state === "PENDING" && reason !== null)) && {
      declined: { reason: reason ?? "no reason given", code },
    }),
    ...(state === "PENDING" && action && { action }),
    ...(state === "AUTHORIZED" && expiresAt && { expiresAt: expiresAt.toISOString() }),
    ...(dispute && { dispute, disputed: disputed ?? captured }),
    createdAt: payment.createdAt.toISOString(),
    updatedAt: payment.updatedAt.toISOString(),
  };
}

function refundBody(refund: Refund): RefundBody {
  const { id, state, amount, currency, reason, lines, restock, providerId, failure } = refund;
  const worth = sumOfWorth(lines ?? []);
  return {
    id,
    state,
    amount,
    currency,
    reason,
    ...(lines && {
      lines: lines.map(({ sku, quantity, worth: amountOf, cancelled }) => ({
        sku,
        quantity,
        amount: amountOf,
        notShipped: cancelled,
      })),
    }),
    ...(worth > amount && { worth }),
    restock: restock !== "no",
    providerId,
    ...(failure !== null && { failure }),
    createdAt: refund.createdAt.toISOString(),
    updatedAt: refund.updatedAt.toISOString(),
  };
}
