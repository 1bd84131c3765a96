import { default as Stripe } from "stripe";
import { z } from "zod";
import {
  InvalidWebhookError,
  NotNowError,
  RequestRefusedError,
  ServiceFailedError,
  ServiceMisconfiguredError,
  ServiceUnavailableError,
  type PaymentProvider,
  type ProviderPayment,
  type ProviderRefund,
  type WebhookSubject,
} from "../order/ports.ts";
import type { Address, Metadata } from "../order/order.ts";
import type { Dispute, DisputeState } from "../order/payment.ts";
import { nowMs } from "../platform/clock.ts";
import { describeError } from "../platform/describe-error.ts";
import { parseRetryAfter } from "../platform/retry-after.ts";
import { fetchFresh } from "../platform/stale-connection.ts";
import { faultOfAmount, fromStripe, toStripe } from "./stripe-amounts.ts";

/** The version of Stripe's API that this adapter was written for. The SDK's types are of this version. */
const API_VERSION = "2026-10-28.endive";
/** How long to wait when Stripe says "too many requests" or "try again", and not how long. Milliseconds. */
const AGAIN_MS = 1_000;
/** What is read of an event. */
const eventShape = z.object({ type: z.string(), data: z.object({ object: z.looseObject({}) }) });
/** A webhook that is older than this, or that much ahead, is refused. Seconds. */
const TOLERANCE_S = 300;
/** Keys of metadata. https://docs.stripe.com/metadata (2026-11) */
const MOST_METADATA = 50;
/** What nobody asks for by itself: a refund that had succeeded, and disputes. */
const MISSED = ["refund.failed", "charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed"];
/** What Stripe says at length of a card that was used, and was not saved for a Customer of its own. */
const USED = "the payment method was used before, and belongs to no Customer at Stripe";
/** An event may be listed that much after it was created. Seconds. */
const LATE_EVENTS_S = 600;
/** Stripe lists no more at once; an order's refunds are few. */
const MOST_LISTED = 100;

export interface StripeOptions {
  readonly secretKey: string;
  /** Of the webhook endpoint; two while one is replaced. */
  readonly webhookSecrets: readonly string[];
  /** Base URL of the API. */
  readonly url: string;
  /** Timeout of one request in milliseconds; shorter than that of a stage's attempt, so that Stripe gets the blame. */
  readonly timeoutMs: number;
}

/**
 * Stripe's PaymentIntents. A payment is created, its id written down, and only then confirmed; so a key that Stripe has
 * forgotten takes no money twice, and one that was called off is never confirmed.
 */
export function stripePayments({
  secretKey,
  webhookSecrets,
  url,
  timeoutMs,
}: StripeOptions): PaymentProvider {
  const { hostname, port, protocol } = new URL(url);
  const isTls = protocol === "https:";
  const stripe = new Stripe(secretKey, {
    apiVersion: API_VERSION,
    host: hostname,
    port: port || (isTls ? 443 : 80),
    protocol: isTls ? "https" : "http",
    // The engine repeats, with what it knows of the order.
    maxNetworkRetries: 0,
    timeout: timeoutMs,
    telemetry: false,
    // Traced like every other call.
    httpClient: Stripe.createFetchHttpClient(fetchFresh),
    appInfo: { name: "Conveyor" },
  });
  const ask = async <T>(call: () => Promise<T>): Promise<T> => {
    try {
      return await call();
    } catch (error) {
      throw asPortError(error, timeoutMs);
    }
  };
  const retrieve = (id: string) => stripe.paymentIntents.retrieve(id, { expand: ["latest_charge"] });
  /** The card was declined, or can't be used again; or the payment was in another state. */
  const change = async (
    currency: string,
    call: () => Promise<Stripe.PaymentIntent>,
    otherwise?: () => Promise<ProviderPayment>,
  ): Promise<ProviderPayment> => {
    try {
      return paymentOf(await call(), currency);
    } catch (error) {
      const intent = error instanceof Stripe.errors.StripeError ? error.payment_intent : undefined;
      if (error instanceof Stripe.errors.StripeCardError) return declined(error, intent?.client_secret);
      // The payment in the error is as it was when the key was first used.
      if (intent && isOfState(error)) return ask(async () => paymentOf(await retrieve(intent.id), currency));
      if (otherwise && isUsed(error)) return ask(otherwise);
      throw asPortError(error, timeoutMs);
    }
  };

  /** Creates a payment, without what Stripe refuses and it can do without. */
  const create = async (
    params: Stripe.PaymentIntentCreateParams,
    key: string,
  ): Promise<Stripe.PaymentIntent> => {
    try {
      return await stripe.paymentIntents.create(params, { idempotencyKey: key });
    } catch (error) {
      const { receipt_email: receipt, ...silent } = params;
      // A receipt is not worth a payment.
      if (receipt !== undefined && isAboutReceipt(error)) return create(silent, `${key}:no-receipt`);
      const { payment_method: method, payment_method_data: data, ...open } = params;
      if ((method === undefined && data === undefined) || !isUsed(error)) throw asPortError(error, timeoutMs);
      return create({ ...open, automatic_payment_methods: { enabled: true } }, `${key}:open`);
    }
  };

  return {
    name: "stripe",
    faultOfAmount,

    async ping(signal) {
      signal.throwIfAborted();
      try {
        await stripe.balance.retrieve();
      } catch (error) {
        const status = error instanceof Stripe.errors.StripeError ? error.statusCode : undefined;
        // Who refuses us is up.
        if (status === undefined || status >= 500) throw asPortError(error, timeoutMs);
      }
    },

    async authorize({ id, key, orderId, reference, currency, token, remember, ...request }) {
      let known = id;
      if (known === null) {
        const params: Stripe.PaymentIntentCreateParams = {
          amount: toStripe(request.amount, currency),
          currency: currency.toLowerCase(),
          capture_method: request.capture === "later" ? "manual" : "automatic",
          automatic_payment_methods: {
            enabled: true,
            ...(token !== null && { allow_redirects: "never" as const }),
          },
          ...methodOf(token),
          description: request.description,
          metadata: metadataOf(request.metadata, {
            order_id: orderId,
            reference,
            customer_id: request.customer.id,
          }),
          ...(request.customer.email !== undefined && { receipt_email: request.customer.email }),
          ...(request.shipTo && { shipping: shippingOf(request.shipTo) }),
        };
        const created = await create(params, key);
        known = created.id;
        await remember(known);
        // It has no payment method: the customer chooses one, and confirms.
        if (created.status !== "requires_confirmation")
          return token === null ? paymentOf(created, currency) : unpaidOf(created, currency);
      }
      const intent = known;
      const options = { idempotencyKey: `${key}:confirm` };
      return change(
        currency,
        () => stripe.paymentIntents.confirm(intent, { expand: ["latest_charge"] }, options),
        async () => unpaidOf(await retrieve(intent), currency),
      );
    },

    capture: ({ id, key, amount, currency }) =>
      change(currency, () =>
        stripe.paymentIntents.capture(
          id,
          { amount_to_capture: toStripe(amount, currency) },
          { idempotencyKey: key },
        ),
      ),

    async cancel({ id, key, currency }) {
      // What was created and not written down is never confirmed.
      if (id === null) return { state: "cancelled" };
      return change(currency, () =>
        stripe.paymentIntents.cancel(id, {}, { idempotencyKey: `${key}:cancel` }),
      );
    },

    // Stripe finds payments by our own name only after a minute; but what has no id written down was never confirmed.
    find: async ({ id, currency }) =>
      id === null ? undefined : ask(async () => paymentOf(await retrieve(id), currency)),

    refund: ({ payment, reference, orderId, key, amount, currency }) =>
      ask(async () =>
        refundOf(
          await stripe.refunds.create(
            {
              ...named(payment.id),
              amount: toStripe(amount, currency),
              metadata: { reference, order_id: orderId },
            },
            { idempotencyKey: `${key}:refund` },
          ),
        ),
      ),

    findRefund: ({ refundId, payment, reference }) =>
      ask(async () => {
        if (refundId !== null) return refundOf(await stripe.refunds.retrieve(refundId));
        const { data } = await stripe.refunds.list({ ...named(payment.id), limit: MOST_LISTED });
        const found = data.find(({ metadata }) => metadata?.["reference"] === reference);
        return found && refundOf(found);
      }),

    disputeOf: ({ id, currency }) =>
      ask(async () => {
        const { data } = await stripe.disputes.list({ ...named(id), limit: MOST_LISTED });
        return disputeOf(data, currency);
      }),

    async webhooksSince({ since, signal }) {
      const created = since === undefined ? {} : { created: { gte: since - LATE_EVENTS_S } };
      const subjects: WebhookSubject[] = [];
      let until = since;
      try {
        for await (const event of stripe.events.list({ types: MISSED, limit: MOST_LISTED, ...created })) {
          signal.throwIfAborted();
          subjects.push(subjectOf(event));
          until = Math.max(until ?? 0, event.created);
        }
      } catch (error) {
        throw asPortError(error, timeoutMs);
      }
      return { subjects, until };
    },

    async parseWebhook(body, headers) {
      const signature = headers["stripe-signature"];
      if (signature === undefined) throw new InvalidWebhookError("the header Stripe-Signature is missing");
      let reason = "no webhook secret is set";
      for (const secret of webhookSecrets) {
        try {
          // By our own clock: the process's may be wrong.
          const event = await stripe.webhooks.constructEventAsync(
            body,
            signature,
            secret,
            TOLERANCE_S,
            undefined,
            nowMs(),
          );
          return subjectOf(signed(event, signature));
        } catch (error) {
          if (error instanceof InvalidWebhookError) throw error;
          // The signature is right: only then is the body read.
          if (error instanceof SyntaxError) throw new InvalidWebhookError("the body is not JSON");
          reason = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
        }
      }
      throw new InvalidWebhookError(reason);
    },
  };
}

function paymentOf(intent: Stripe.PaymentIntent, currency: string): ProviderPayment {
  const { id, status, last_payment_error: failure, client_secret: clientSecret } = intent;
  switch (status) {
    case "succeeded":
      return { state: "captured", id, amount: fromStripe(intent.amount_received, currency) };
    case "requires_capture":
      return { state: "authorized", id, expiresAt: expiryOf(intent) };
    case "canceled":
      return { state: "cancelled" };
    case "requires_confirmation":
      return { state: "created", id };
    case "requires_payment_method":
      if (failure) return declined(failure, clientSecret);
      return { state: "pending", id, action: actionOf(intent) };
    case "requires_action": {
      const redirectUrl = intent.next_action?.redirect_to_url?.url;
      const action = actionOf(intent);
      return { state: "pending", id, action: redirectUrl ? { ...action, redirectUrl } : action };
    }
    case "processing":
    default:
      // The bank decides. Whatever Stripe may add to its states is looked at again, too.
      return { state: "pending", id };
  }
}

/** What the customer pays with, in Stripe.js. */
function actionOf({ client_secret: clientSecret }: Stripe.PaymentIntent) {
  return { type: "stripe", clientSecret: clientSecret ?? "" };
}

/** A payment whose card can't be used: the customer pays with another. */
function unpaidOf(intent: Stripe.PaymentIntent, currency: string): ProviderPayment {
  const payment = paymentOf(intent, currency);
  if (payment.state === "captured" || payment.state === "authorized" || payment.state === "cancelled")
    return payment;
  return { state: "pending", id: intent.id, action: actionOf(intent), reason: USED };
}

function declined(
  {
    message,
    code,
    decline_code: declineCode,
  }: {
    readonly message?: string | undefined;
    readonly code?: string | undefined;
    readonly decline_code?: string | undefined;
  },
  clientSecret: string | null | undefined,
): ProviderPayment {
  return {
    state: "declined",
    reason: message ?? "the card was declined",
    code: declineCode || code || undefined,
    ...(clientSecret && { action: { type: "stripe", clientSecret } }),
  };
}

function expiryOf({ latest_charge: charge }: Stripe.PaymentIntent): Date | undefined {
  const details = typeof charge === "object" ? charge?.payment_method_details : undefined;
  const seconds = details?.card?.capture_before;
  return seconds === undefined ? undefined : new Date(seconds * 1_000);
}

function refundOf({ id, status, failure_reason: reason }: Stripe.Refund): ProviderRefund {
  if (status === "succeeded") return { id, state: "succeeded" };
  if (status === "failed" || status === "canceled") return { id, state: "failed", reason: reason ?? status };
  return { id, state: "pending" };
}

/** What Stripe's disputes are to us; those that are not listed go on. An inquiry begins with `warning_`. */
const DISPUTES: Readonly<Record<string, DisputeState>> = {
  warning_needs_response: "INQUIRY",
  warning_under_review: "INQUIRY",
  warning_closed: "CLOSED",
  lost: "LOST",
  won: "WON",
  prevented: "WON",
};
/** The worst first. */
const WORST = ["OPEN", "LOST", "INQUIRY", "WON", "CLOSED"] as const;
/** Money that is gone, or may be. */
const TAKES: ReadonlySet<DisputeState> = new Set(["OPEN", "LOST"]);

/** Several disputes of one payment count as the worst of them, with the sum of all that is gone, or may be. */
function disputeOf(disputes: readonly Stripe.Dispute[], currency: string): Dispute | undefined {
  const all = disputes.map(({ status, amount, currency: its }) => ({
    state: DISPUTES[status] ?? "OPEN",
    amount: its === currency.toLowerCase() ? fromStripe(amount, currency) : null,
  }));
  const state = WORST.find((each) => all.some((dispute) => dispute.state === each));
  if (state === undefined) return undefined;
  const own = all.filter((each) => (TAKES.has(state) ? TAKES.has(each.state) : each.state === state));
  const amount = own.reduce<number | null>(
    (sum, each) => (sum === null || each.amount === null ? null : sum + each.amount),
    0,
  );
  return { state, amount };
}

/** The token of a card, or the id of a payment method. */
function methodOf(
  token: string | null,
): Pick<Stripe.PaymentIntentCreateParams, "payment_method" | "payment_method_data"> {
  if (token === null) return {};
  if (!token.startsWith("tok_")) return { payment_method: token };
  // The SDK's types leave out the card of `payment_method_data`, which the API takes.
  const data = { type: "card" as const, card: { token } };
  return { payment_method_data: data };
}

/** The client's own metadata as far as Stripe takes it, beside ours: it takes 50 keys, none with brackets. */
function metadataOf(given: Metadata | null, own: Record<string, string>): Record<string, string> {
  const taken = Object.entries(given ?? {}).filter(([key]) => !/[[\]]/.test(key) && !(key in own));
  const most = MOST_METADATA - Object.keys(own).length;
  return { ...Object.fromEntries(taken.slice(0, most)), ...own };
}

/** A charge of before PaymentIntents, or a PaymentIntent. */
function named(id: string): { readonly charge: string } | { readonly payment_intent: string } {
  return id.startsWith("pi_") ? { payment_intent: id } : { charge: id };
}

function shippingOf({ name, line1, line2, city, region, postalCode, country }: Address) {
  return {
    name,
    address: {
      line1,
      ...(line2 !== undefined && { line2 }),
      city,
      ...(region !== undefined && { state: region }),
      ...(postalCode !== undefined && { postal_code: postalCode }),
      country,
    },
  };
}

function subjectOf({ type, data }: Stripe.Event): WebhookSubject {
  const { object } = data;
  const metadata = "metadata" in object ? object.metadata : undefined;
  const orderId = metadata?.["order_id"];
  if (type.startsWith("payment_intent.") && "id" in object) return { paymentId: object.id, orderId };
  const intent = "payment_intent" in object ? object.payment_intent : undefined;
  const paymentId = typeof intent === "string" ? intent : intent && "id" in intent ? intent.id : undefined;
  const isRefund = type.startsWith("refund.") || type.startsWith("charge.refund.");
  const refundId = isRefund && "id" in object ? object.id : undefined;
  return { paymentId, orderId, isDispute: type.startsWith("charge.dispute."), refundId };
}

/**
 * An event whose signature is right. Stripe's package takes one from the future, whose signature could be used for as long.
 *
 * @throws {InvalidWebhookError}
 */
function signed(event: Stripe.Event, signature: string): Stripe.Event {
  const time = Number(/.*(?:^|,)\s*t=(\d+)/.exec(signature)?.[1]);
  if (!(time <= nowMs() / 1_000 + TOLERANCE_S))
    throw new InvalidWebhookError("the signature's time is ahead of this machine's clock");
  const given: unknown = event;
  if (!eventShape.safeParse(given).success) throw new InvalidWebhookError("the body is no event of Stripe's");
  return event;
}

/** Whether the payment was in another state than the request needs. */
function isOfState(error: unknown): boolean {
  return error instanceof Stripe.errors.StripeError && error.code === "payment_intent_unexpected_state";
}

/** Whether the card or token was used before, and can't be used again. */
function isUsed(error: unknown): boolean {
  if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) return false;
  // https://docs.stripe.com/error-codes has no code for payment methods, only for tokens.
  return error.code === "token_already_used" || /previously used|may not be used again/.test(error.message);
}

function isAboutReceipt(error: unknown): boolean {
  if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) return false;
  return error.param === "receipt_email" || error.code === "email_invalid";
}

/** What Stripe's error means to the engine. */
function asPortError(error: unknown, timeoutMs: number): unknown {
  if (!(error instanceof Stripe.errors.StripeError)) return error;
  const { statusCode, message, requestId, code } = error;
  if (error instanceof Stripe.errors.StripeConnectionError || statusCode === undefined) {
    const isLate = /timeout|timed out|aborted/i.test(`${message} ${describeError(error.detail)}`);
    const what = isLate
      ? `did not answer within ${timeoutMs} ms`
      : `could not be reached: ${message.split("\n")[0]}`;
    return new ServiceUnavailableError("payments", `payments ${what}`, { cause: error });
  }
  const told = `payments answered ${statusCode}: ${message} (${requestId ?? "no request id"})`;
  if (statusCode === 429 || code === "lock_timeout" || code === "idempotency_key_in_use")
    return new NotNowError(told, parseRetryAfter(error.headers?.["retry-after"] ?? null) ?? AGAIN_MS);
  // The key stands for a server error, or for another request: it is of no use any more.
  if (statusCode >= 500) return new ServiceFailedError("payments", `payments answered ${statusCode}`);
  if (error instanceof Stripe.errors.StripeIdempotencyError) return new ServiceFailedError("payments", told);
  if (statusCode === 401 || statusCode === 403) return new ServiceMisconfiguredError("payments", told);
  return new RequestRefusedError(told);
}
