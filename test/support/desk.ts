import type { StoredOrder } from "../../src/order/order.ts";
import type { NewOrder } from "../../src/order/order.ts";
import { PaymentDesk, type CaptureTime } from "../../src/providers/payments/desk.ts";
import { stripePayments } from "../../src/providers/stripe.ts";
import { createOrder, readOrder } from "./orders.ts";
import type { TestEnvironment } from "./environment.ts";

/** What signs the webhooks of the simulated Stripe in tests. */
export const WEBHOOK_SECRET = "whsec_test_0123456789";
/** Answers that come are in time; the lost ones are not waited for long. */
const TIMEOUT_MS = 5_000;

/** The simulated Stripe as a provider. */
export function stripeOf({ providers }: TestEnvironment, timeoutMs = TIMEOUT_MS) {
  return stripePayments({
    secretKey: "sk_test_desk",
    webhookSecrets: [WEBHOOK_SECRET],
    url: providers.paymentsUrl,
    timeoutMs,
  });
}

/** A desk in front of the simulated Stripe, and an order to pay. */
export function deskOf(
  environment: TestEnvironment,
  options: { capture?: CaptureTime; timeoutMs?: number } = {},
) {
  const provider = stripeOf(environment, options.timeoutMs);
  return new PaymentDesk({ provider, database: environment.database, capture: options.capture });
}

/** An order that is written, with this payment token. */
export async function orderWith(
  { database }: TestEnvironment,
  paymentToken: string | null,
  given: Partial<NewOrder> = {},
): Promise<StoredOrder> {
  return readOrder(database, await createOrder(database, { paymentToken, ...given }));
}
