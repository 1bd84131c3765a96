import { v7 as uuidv7 } from "uuid";
import type { PaymentProvider, ProviderPayment, ProviderRefund } from "../../../src/order/ports.ts";
import { StartupError } from "../../../src/platform/startup.ts";
import { stripePayments } from "../../../src/providers/stripe.ts";

const TIMEOUT_MS = 20_000;
const AMOUNT = 1_000;
const CURRENCY = "EUR";

/**
 * Tries all that Conveyor asks of Stripe but webhooks: a card is authorized, captured in part and refunded in part, another
 * is declined, a customer has to confirm, a payment is cancelled. In test mode, with Stripe's own test cards.
 *
 * @throws {StartupError} at the first step that does not come out as it should
 */
export async function smokeStripe(
  given: { readonly secretKey: string; readonly url: string },
  print: (line: string) => void,
): Promise<void> {
  const stripe = stripePayments({
    ...given,
    webhookSecrets: [],
    timeoutMs: TIMEOUT_MS,
  });
  const step = async <T extends ProviderPayment | ProviderRefund>(
    what: string,
    expected: T["state"],
    ask: () => Promise<T | undefined>,
  ): Promise<T> => {
    let answer: T | undefined;
    try {
      answer = await ask();
    } catch (error) {
      throw new StartupError(`${what}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
    if (answer?.state !== expected)
      throw new StartupError(`${what}: expected ${expected}, and Stripe said ${answer?.state ?? "nothing"}`);
    print(`ok  ${what}: ${expected}${"id" in answer ? ` (${answer.id})` : ""}`);
    return answer;
  };
  const pays = async (what: string, expected: ProviderPayment["state"], token: string) => {
    const named = newPayment();
    await step(what, expected, () => authorize(stripe, named, token));
    return { ...named, id: named.remembered() };
  };

  const card = await pays("a card is authorized", "authorized", "pm_card_visa");
  await step("it is found", "authorized", () => stripe.find(card));
  const capture = { ...card, key: `${card.reference}:capture`, amount: 600 };
  await step("600 of 1,000 are captured", "captured", () => stripe.capture(capture));
  await step("once, under the same key", "captured", () => stripe.capture(capture));
  const refund = {
    orderId: card.orderId,
    payment: { id: card.id, reference: card.reference },
    reference: uuidv7(),
    key: uuidv7(),
    amount: 200,
    currency: CURRENCY,
    signal: card.signal,
  };
  await step("200 are refunded", "succeeded", () => stripe.refund(refund));
  await step("the refund is found", "succeeded", () => stripe.findRefund({ ...refund, refundId: null }));
  if ((await stripe.disputeOf?.(card)) !== undefined)
    throw new StartupError("nobody disputes the payment, and Stripe says so");
  print("ok  nobody disputes it");

  const declined = await pays("a card is declined", "declined", "pm_card_chargeDeclined");
  await step("it is found", "declined", () => stripe.find(declined));
  const asked = await pays("a customer has to confirm", "pending", "pm_card_authenticationRequired");
  const cancel = (payment: typeof asked) => stripe.cancel({ ...payment, key: `${payment.reference}:undo` });
  await step("the payment is cancelled", "cancelled", () => cancel(asked));
  const released = await pays("another card is authorized", "authorized", "pm_card_mastercard");
  await step("and released", "cancelled", () => cancel(released));
  print("all is well. Webhooks need an endpoint at Stripe: see docs/providers.md");
}

function newPayment() {
  const orderId = uuidv7();
  let id = "";
  return {
    orderId,
    reference: `${orderId}:pay`,
    amount: AMOUNT,
    currency: CURRENCY,
    signal: AbortSignal.timeout(60_000),
    remember: async (given: string) => {
      id = given;
    },
    remembered: () => id,
  };
}

function authorize(
  stripe: PaymentProvider,
  { remembered: _, ...named }: ReturnType<typeof newPayment>,
  token: string,
): Promise<ProviderPayment> {
  return stripe.authorize({
    ...named,
    id: null,
    key: named.reference,
    capture: "later",
    token,
    description: "Conveyor's smoke test",
    customer: { id: "smoke-test" },
    shipTo: null,
    metadata: { smoke: "yes" },
  });
}
