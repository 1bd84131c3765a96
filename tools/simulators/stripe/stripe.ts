import { randomBytes } from "node:crypto";
import type { Answer, Call } from "../call.ts";
import type { Entry, Ledger } from "../ledger.ts";
import { Events } from "./events.ts";
import { parseForm, type FormValue } from "./form.ts";
import { Keys } from "./keys.ts";
import { leastAtStripe } from "../../../src/providers/stripe-amounts.ts";
import { behaviourOf, isUsedOnce, type Behaviour } from "./methods.ts";
import {
  chargeOf,
  disputedOf,
  disputeOf,
  eventOf,
  paymentIntentOf,
  refundedOf,
  refundOf,
} from "./objects.ts";
import type { DisputeState, IntentState, RefundState } from "./state.ts";
import { Webhooks } from "./webhooks.ts";

/** As long as Stripe keeps keys, at least. */
const KEYS_TTL_MS = 24 * 60 * 60 * 1_000;
/** How long banks take. Milliseconds. */
const SETTLED_AFTER_MS = 1_000;
/** An authorization lasts seven days. */
const AUTHORIZED_FOR_S = 7 * 24 * 60 * 60;
const TEST_KEY = /^Bearer (sk|rk)_test_\w+$/;
/** Such as Stripe takes for receipts. */
const EMAIL = /^[^\s@]+@[^\s@.]+(?:\.[^\s@.]+)+$/;
/** What a payment in another state than the request needs is refused with. */
const UNEXPECTED_STATE = "payment_intent_unexpected_state";

/** The error of an answer. */
interface StripeError {
  readonly type: "api_error" | "card_error" | "invalid_request_error";
  readonly message: string;
  readonly code?: string;
  readonly decline_code?: string;
  readonly param?: string;
  readonly charge?: string;
  readonly payment_intent?: object;
}

/** A request that Stripe refuses, as its API says so. */
class Refused extends Error {
  readonly status: number;
  readonly error: StripeError;
  constructor(status: number, error: StripeError) {
    super(error.message);
    this.status = status;
    this.error = error;
  }
}

type Form = Readonly<Record<string, FormValue>>;

/**
 * The part of Stripe that runs here: PaymentIntents with manual and partial capture, authentication and bank debits,
 * refunds, disputes, idempotency keys, events and webhooks, in test mode. Spoken to by Stripe's own SDK.
 *
 * Beside Stripe's API it answers, for tests and operators,
 *
 * - `POST /simulator/payment_intents/:id/authenticate?succeed=false`: the customer authenticates, or fails to;
 * - `POST /simulator/payment_intents/:id/expire`: the authorization runs out;
 * - `POST /simulator/payment_intents/:id/dispute?amount=500&inquiry=true`: the customer disputes what was not refunded, or
 *   this much of it, or the bank only asks about it. Stripe's own way of sending evidence (`winning_evidence` or
 *   `losing_evidence`) ends it, or makes a dispute of an inquiry (`escalate_inquiry_evidence`).
 */
export class StripeSimulator {
  readonly webhooks: Webhooks;
  readonly keys = new Keys(KEYS_TTL_MS);
  readonly #ledger: Ledger;
  readonly #intents = new Map<string, IntentState>();
  readonly #byCharge = new Map<string, IntentState>();
  readonly #byRefund = new Map<string, IntentState>();
  readonly #byDispute = new Map<string, IntentState>();
  /** Payment methods and tokens that can't be used again. */
  readonly #used = new Set<string>();
  readonly #events = new Events();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #random: () => number;
  #upSince = 0;
  #requests = 0;

  constructor(ledger: Ledger, random: () => number) {
    this.#ledger = ledger;
    this.#random = random;
    this.webhooks = new Webhooks(random);
    for (const entry of ledger.entries) {
      if (entry.intent) this.#index(entry.intent);
      else if (entry.kind === "charge" && entry.outcome === "approved") this.#adopt(entry);
    }
  }

  /** Whether a request is for this API. */
  static serves(path: string): boolean {
    return path.startsWith("/v1/") || path.startsWith("/simulator/");
  }

  /** Ends what `tok_down` stands for, for payments that were tried before. */
  switchedUp(): void {
    this.#upSince = Date.now();
  }

  close(): void {
    this.webhooks.close();
    for (const timer of this.#timers) clearTimeout(timer);
  }

  /** The order that a request is about, and its token, if it tells. */
  subjectOf({
    path,
    text,
  }: Call): { orderId: string | undefined; token: string | undefined; call: "pay" | "refund" } | undefined {
    if (!path.startsWith("/v1/")) return undefined;
    const form = parseForm(text ?? "");
    const id = /^\/v1\/payment_intents\/(pi_\w+)/.exec(path)?.[1] ?? textOf(form["payment_intent"]);
    const intent =
      id === undefined ? this.#byCharge.get(textOf(form["charge"]) ?? "") : this.#intents.get(id);
    const metadata = form["metadata"];
    const orderId =
      intent?.metadata["order_id"] ??
      (typeof metadata === "object" ? textOf(metadata["order_id"]) : undefined);
    const token = intent?.method ?? methodOf(form) ?? undefined;
    const isBack = path.startsWith("/v1/refunds") || path.endsWith("/cancel");
    return { orderId, token, call: isBack ? "refund" : "pay" };
  }

  handle(call: Call): Answer {
    const answer = this.#remembered(call, () => this.#carryOut(call));
    return { ...answer, headers: { "Request-Id": `req_${String(++this.#requests).padStart(8, "0")}` } };
  }

  /**
   * Answers 500, which the key then stands for, as at Stripe. What was asked for may have been done all the same.
   */
  fail(call: Call): Answer {
    return this.#remembered(call, () => {
      if (this.#random() < 1 / 2) this.#carryOut(call);
      return errorAnswer(500, { type: "api_error", message: "An unknown error occurred" });
    });
  }

  #remembered(call: Call, carryOut: () => Answer): Answer {
    const { key, method, path, text = "" } = call;
    if (method !== "POST" || key === undefined) return carryOut();
    const request = `${path} ${text}`;
    const known = this.keys.find(key, request);
    if (known === "another request")
      return errorAnswer(400, {
        type: "idempotency_error",
        message: `Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '${key}' if you meant to execute a different request.`,
      });
    if (known !== undefined) return { ...known };
    const answer = carryOut();
    // Refused before it was carried out, or for the moment.
    const isRefused = [400, 401, 404, 409, 429, 503].includes(answer.status);
    if (!isRefused || JSON.stringify(answer.body).includes(`"${UNEXPECTED_STATE}"`))
      this.keys.remember(key, request, answer);
    return answer;
  }

  #carryOut(call: Call): Answer {
    try {
      return { status: 200, body: this.#route(call) };
    } catch (error) {
      if (error instanceof Refused) return errorAnswer(error.status, error.error);
      throw error;
    }
  }

  #route({ method, path: target, text = "", authorization }: Call): object {
    const { pathname: path, searchParams: query } = new URL(target, "http://stripe");
    const [, id = "", action] = /^\/v1\/payment_intents\/(pi_\w+)(?:\/(\w+))?$/.exec(path) ?? [];
    const simulated = /^\/simulator\/payment_intents\/(pi_\w+)\/(authenticate|expire|dispute)$/.exec(path);
    if (method === "POST" && simulated) {
      const intent = this.#intent(simulated[1] ?? "");
      if (simulated[2] === "expire") return this.#expire(intent);
      if (simulated[2] === "dispute")
        return this.#beDisputed(intent, {
          amount: query.has("amount") ? Number(query.get("amount")) : null,
          isInquiry: query.get("inquiry") === "true",
        });
      return this.#authenticate(intent, query.get("succeed") !== "false");
    }
    if (!TEST_KEY.test(authorization ?? ""))
      throw new Refused(401, { type: "invalid_request_error", message: "Invalid API Key provided" });
    const form = parseForm(text);
    const route = `${method} ${path}`;
    if (route === "GET /v1/balance")
      return { object: "balance", available: [], pending: [], livemode: false };
    if (route === "POST /v1/payment_intents") return this.#create(form);
    if (route === "GET /v1/payment_intents/search") return this.#search(query.get("query") ?? "");
    if (method === "GET" && id !== "" && action === undefined)
      return this.#expanded(paymentIntentOf(this.#intent(id)), query, {});
    if (method === "POST" && id !== "") {
      const intent = this.#intent(id);
      if (action === "confirm") return this.#expanded(this.#confirm(intent, form), query, form);
      if (action === "capture") return this.#capture(intent, form);
      if (action === "cancel") return this.#cancel(intent);
    }
    const chargeId = /^\/v1\/charges\/(\w+)$/.exec(path)?.[1];
    if (method === "GET" && chargeId !== undefined)
      return chargeOf(this.#byCharge.get(chargeId) ?? missing("charge", chargeId));
    if (route === "GET /v1/events") return this.#events.list(query);
    if (route === "POST /v1/refunds") return this.#refund(form);
    if (route === "GET /v1/refunds") return this.#listRefunds(query.get("payment_intent") ?? "");
    const refundId = /^\/v1\/refunds\/(\w+)$/.exec(path)?.[1];
    if (method === "GET" && refundId !== undefined) return this.#refundObject(refundId);
    if (route === "GET /v1/disputes")
      return this.#listDisputes(query.get("payment_intent") ?? "", query.get("charge") ?? "");
    const disputeId = /^\/v1\/disputes\/(\w+)$/.exec(path)?.[1];
    if (disputeId !== undefined) return this.#dispute(disputeId, method === "POST" ? form : {});
    throw new Refused(404, {
      type: "invalid_request_error",
      message: `Unrecognized request URL (${method}: ${path}).`,
    });
  }

  #create(form: Form): object {
    const amount = amountOf(form, "amount") ?? missingParameter("amount");
    const currency = textOf(form["currency"]) ?? missingParameter("currency");
    if (!/^[a-z]{3}$/.test(currency))
      throw new Refused(400, {
        type: "invalid_request_error",
        param: "currency",
        message: `Invalid currency: ${currency}`,
      });
    if (amount < 1)
      throw new Refused(400, {
        type: "invalid_request_error",
        code: "parameter_invalid_integer",
        param: "amount",
        message: "This value must be greater than or equal to 1.",
      });
    const least = leastAtStripe(currency);
    if (amount < least)
      throw new Refused(400, {
        type: "invalid_request_error",
        code: "amount_too_small",
        param: "amount",
        message: `Amount must be at least ${least} ${currency} in the smallest unit`,
      });
    const receiptEmail = textOf(form["receipt_email"]) ?? null;
    if (receiptEmail !== null && !EMAIL.test(receiptEmail))
      throw new Refused(400, {
        type: "invalid_request_error",
        code: "email_invalid",
        param: "receipt_email",
        message: `Invalid email address: ${receiptEmail}`,
      });
    const method = methodOf(form);
    if (method !== null && behaviourOf(method) === undefined)
      throw new Refused(400, {
        type: "invalid_request_error",
        code: "resource_missing",
        param: "payment_method",
        message: `No such PaymentMethod: '${method}'`,
      });
    // A payment method is made of a token at once.
    if (method?.startsWith("tok_")) this.#use(method);
    const id = `pi_${newId()}`;
    const intent: IntentState = {
      id,
      chargeId: `ch_${newId()}`,
      clientSecret: `${id}_secret_${newId()}`,
      amount,
      currency,
      captureMethod: textOf(form["capture_method"]) === "manual" ? "manual" : "automatic",
      status: method === null ? "requires_payment_method" : "requires_confirmation",
      authorized: 0,
      captured: 0,
      method,
      description: textOf(form["description"]) ?? null,
      receiptEmail,
      metadata: metadataOf(form),
      shipping: shippingOf(form),
      lastError: null,
      confirmed: 0,
      created: now(),
      captureBefore: null,
      refunds: [],
      dispute: null,
    };
    this.#write(intent);
    this.#tell("payment_intent.created", intent);
    return textOf(form["confirm"]) === "true" ? this.#confirm(intent, form) : paymentIntentOf(intent);
  }

  #confirm(intent: IntentState, form: Form): object {
    if (intent.status !== "requires_confirmation" && intent.status !== "requires_payment_method")
      throw unexpectedState(
        intent,
        `This PaymentIntent's status is ${intent.status}, so it could not be confirmed.`,
      );
    const given = methodOf(form);
    const method = given ?? (intent.status === "requires_confirmation" ? intent.method : null);
    if (method === null)
      throw unexpectedState(
        intent,
        "You cannot confirm this PaymentIntent because it's missing a payment method.",
      );
    if (given !== null || !method.startsWith("tok_")) this.#use(method);
    intent.method = method;
    intent.confirmed++;
    return this.#charge(intent, behaviourOf(method) ?? { kind: "approved" });
  }

  /** Cards that belong to no Customer are used once; those for tests are not. */
  #use(method: string): void {
    if (!isUsedOnce(method)) return;
    if (this.#used.has(method))
      throw new Refused(400, {
        type: "invalid_request_error",
        ...(method.startsWith("tok_")
          ? {
              code: "token_already_used",
              message: `You cannot use a Stripe token more than once: ${method}.`,
            }
          : {
              message:
                "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a connected account without Customer attachment, or was detached from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.",
            }),
      });
    this.#used.add(method);
  }

  #charge(intent: IntentState, behaviour: Behaviour): object {
    switch (behaviour.kind) {
      case "declined": {
        const { code, declineCode, message } = behaviour;
        return this.#decline(intent, { code, declineCode, message });
      }
      case "authentication":
        intent.status = "requires_action";
        this.#write(intent);
        this.#tell("payment_intent.requires_action", intent);
        return paymentIntentOf(intent);
      case "processing":
        intent.status = "processing";
        this.#write(intent);
        this.#tell("payment_intent.processing", intent);
        this.#later(() => {
          if (intent.status === "processing") this.#settle(intent, behaviour.pays);
        });
        return paymentIntentOf(intent);
      case "stumbles": {
        // Tried before it was switched up, and again after that.
        const isUp = this.#upSince > 0 && this.#upSince >= intent.created * 1_000;
        if (intent.confirmed > behaviour.times || (behaviour.times === Infinity && isUp))
          return this.#approve(intent);
        intent.status = "requires_confirmation";
        this.#write(intent);
        throw new Refused(503, { type: "api_error", message: "no answer from the bank" });
      }
      case "disputed": {
        const paid = this.#approve(intent);
        this.#later(
          () => void this.#beDisputed(intent, { amount: null, isInquiry: behaviour.isInquiry === true }),
        );
        return paid;
      }
      case "approved":
      case "slow refunds":
        return this.#approve(intent);
    }
  }

  /** The bank has decided. */
  #settle(intent: IntentState, pays: boolean): void {
    if (pays) return void this.#approve(intent);
    intent.status = "requires_payment_method";
    intent.lastError = {
      code: "payment_method_customer_decline",
      message: "The customer's bank account could not be debited.",
    };
    this.#write(intent);
    this.#tell("payment_intent.payment_failed", intent);
  }

  #approve(intent: IntentState): object {
    intent.lastError = null;
    intent.authorized = intent.amount;
    if (intent.captureMethod === "manual") {
      intent.status = "requires_capture";
      intent.captureBefore = now() + AUTHORIZED_FOR_S;
    } else {
      intent.status = "succeeded";
      intent.captured = intent.amount;
    }
    this.#write(intent);
    this.#tell(
      intent.captureMethod === "manual"
        ? "payment_intent.amount_capturable_updated"
        : "payment_intent.succeeded",
      intent,
    );
    return paymentIntentOf(intent);
  }

  #decline(intent: IntentState, error: NonNullable<IntentState["lastError"]>): never {
    intent.status = "requires_payment_method";
    intent.lastError = error;
    this.#write(intent);
    this.#tell("payment_intent.payment_failed", intent);
    throw new Refused(402, {
      type: "card_error",
      code: error.code,
      ...(error.declineCode !== undefined && { decline_code: error.declineCode }),
      message: error.message,
      charge: intent.chargeId,
      payment_intent: paymentIntentOf(intent),
    });
  }

  #authenticate(intent: IntentState, succeed: boolean): object {
    if (intent.status !== "requires_action") throw unexpectedState(intent, "Nothing is to be authenticated.");
    if (succeed) return this.#approve(intent);
    intent.status = "requires_payment_method";
    intent.lastError = {
      code: "payment_intent_authentication_failure",
      message: "The provided PaymentMethod has failed authentication.",
    };
    this.#write(intent);
    this.#tell("payment_intent.payment_failed", intent);
    return paymentIntentOf(intent);
  }

  #capture(intent: IntentState, form: Form): object {
    if (intent.status !== "requires_capture")
      throw unexpectedState(
        intent,
        `This PaymentIntent could not be captured because it has a status of ${intent.status}.`,
      );
    const amount = amountOf(form, "amount_to_capture") ?? intent.authorized;
    if (amount < 1 || amount > intent.authorized)
      throw new Refused(400, {
        type: "invalid_request_error",
        code: "amount_too_large",
        param: "amount_to_capture",
        message: `The requested amount ${amount} is not capturable.`,
      });
    intent.captured = amount;
    // What is left is released.
    intent.authorized = 0;
    intent.status = "succeeded";
    this.#write(intent);
    this.#tell("payment_intent.succeeded", intent);
    this.#tellOf("charge.captured", chargeOf(intent));
    return paymentIntentOf(intent);
  }

  #cancel(intent: IntentState): object {
    if (intent.status === "succeeded" || intent.status === "canceled" || intent.status === "processing")
      throw unexpectedState(
        intent,
        `You cannot cancel this PaymentIntent because it has a status of ${intent.status}.`,
      );
    return this.#called("canceled", intent);
  }

  #expire(intent: IntentState): object {
    if (intent.status !== "requires_capture") throw unexpectedState(intent, "There is no authorization.");
    return this.#called("canceled", intent);
  }

  #called(status: "canceled", intent: IntentState): object {
    intent.status = status;
    intent.authorized = 0;
    this.#write(intent);
    this.#tell("payment_intent.canceled", intent);
    return paymentIntentOf(intent);
  }

  #refund(form: Form): object {
    const id = textOf(form["payment_intent"]);
    const chargeId = textOf(form["charge"]);
    const intent =
      id === undefined
        ? (this.#byCharge.get(chargeId ?? "") ?? missing("charge", chargeId ?? ""))
        : this.#intent(id);
    const left = intent.captured - refundedOf(intent);
    if (intent.captured === 0)
      throw new Refused(400, {
        type: "invalid_request_error",
        code: UNEXPECTED_STATE,
        message: `This PaymentIntent (${intent.id}) does not have a successful charge to refund.`,
      });
    const amount = amountOf(form, "amount") ?? left;
    const { dispute } = intent;
    const isChargedBack = dispute?.status === "needs_response" || dispute?.status === "lost";
    if (isChargedBack && amount > left - disputedOf(intent, dispute))
      throw new Refused(400, {
        type: "invalid_request_error",
        code: "charge_disputed",
        message: `Charge ${intent.chargeId} has been charged back; cannot issue a refund.`,
      });
    if (left === 0)
      throw new Refused(400, {
        type: "invalid_request_error",
        code: "charge_already_refunded",
        message: `Charge ${intent.chargeId} has already been refunded.`,
      });
    if (amount > left)
      throw new Refused(400, {
        type: "invalid_request_error",
        param: "amount",
        message: `Refund amount (${amount}) is greater than unrefunded amount on charge (${left})`,
      });
    const behaviour = intent.method === null ? undefined : behaviourOf(intent.method);
    const slow = behaviour?.kind === "slow refunds" ? behaviour : undefined;
    const refund: RefundState = {
      id: `re_${newId()}`,
      amount,
      status: slow?.first ?? "succeeded",
      reason: textOf(form["reason"]) ?? null,
      metadata: metadataOf(form),
      created: now(),
    };
    intent.refunds.push(refund);
    this.#write(intent);
    this.#tellOf("refund.created", refundOf(intent, refund));
    this.#tellOf("charge.refunded", chargeOf(intent));
    // The bank has no more to ask.
    if (dispute?.status === "warning_needs_response" && refundedOf(intent) === intent.captured)
      this.#endDispute(intent, dispute, "warning_closed");
    if (slow)
      this.#later(() => {
        refund.status = slow.end;
        this.#write(intent);
        this.#tellOf(slow.end === "succeeded" ? "refund.updated" : "refund.failed", refundOf(intent, refund));
      });
    return refundOf(intent, refund);
  }

  /** With the charge itself, if it is asked for (`expand`). */
  #expanded(object: object, query: URLSearchParams, form: Form): object {
    const { expand } = form;
    const names = [
      ...[...query].flatMap(([name, value]) => (name.startsWith("expand") ? [value] : [])),
      ...Object.values(typeof expand === "object" ? expand : {}),
    ];
    const intent = "id" in object && this.#intents.get(String(object.id));
    if (!intent || intent.confirmed === 0 || !names.includes("latest_charge")) return object;
    return { ...object, latest_charge: chargeOf(intent) };
  }

  #listRefunds(id: string): object {
    const intent = this.#intent(id);
    const data = intent.refunds.map((refund) => refundOf(intent, refund)).toReversed();
    return { object: "list", data, has_more: false, url: "/v1/refunds" };
  }

  #refundObject(id: string): object {
    const intent = this.#byRefund.get(id) ?? missing("refund", id);
    const refund = intent.refunds.find((each) => each.id === id);
    return refund ? refundOf(intent, refund) : missing("refund", id);
  }

  #beDisputed(
    intent: IntentState,
    { amount, isInquiry }: { readonly amount: number | null; readonly isInquiry: boolean },
  ): object {
    if (intent.captured === 0 || intent.dispute !== null)
      throw unexpectedState(intent, "Nothing is left to be disputed.");
    const status = isInquiry ? "warning_needs_response" : "needs_response";
    intent.dispute = { id: `dp_${newId()}`, status, amount, created: now() };
    this.#write(intent);
    const dispute = disputeOf(intent, intent.dispute);
    this.#tellOf("charge.dispute.created", dispute);
    return dispute;
  }

  #endDispute(intent: IntentState, dispute: DisputeState, status: DisputeState["status"]): void {
    dispute.status = status;
    this.#write(intent);
    this.#tellOf("charge.dispute.closed", disputeOf(intent, dispute));
  }

  #listDisputes(id: string, chargeId: string): object {
    const intent =
      id === "" ? (this.#byCharge.get(chargeId) ?? missing("charge", chargeId)) : this.#intent(id);
    const data = intent.dispute === null ? [] : [disputeOf(intent, intent.dispute)];
    return { object: "list", data, has_more: false, url: "/v1/disputes" };
  }

  /** Evidence decides it, as in Stripe's test mode: `winning_evidence`, `losing_evidence`, `escalate_inquiry_evidence`. */
  #dispute(id: string, form: Form): object {
    const intent = this.#byDispute.get(id) ?? missing("dispute", id);
    const { dispute } = intent;
    if (dispute === null) return missing("dispute", id);
    const evidence = form["evidence"];
    const given = typeof evidence === "object" ? textOf(evidence["uncategorized_text"]) : undefined;
    const isInquiry = dispute.status === "warning_needs_response";
    if (given === "winning_evidence" || given === "losing_evidence")
      this.#endDispute(
        intent,
        dispute,
        isInquiry ? "warning_closed" : given === "winning_evidence" ? "won" : "lost",
      );
    if (given === "escalate_inquiry_evidence" && isInquiry) {
      dispute.status = "needs_response";
      this.#write(intent);
      this.#tellOf("charge.dispute.updated", disputeOf(intent, dispute));
    }
    return disputeOf(intent, dispute);
  }

  /** `metadata['name']:'value'`; of what is a minute old at Stripe, and of all here. */
  #search(text: string): object {
    const [, name = "", value] = /^metadata\['([^']+)'\]:'([^']*)'$/.exec(text) ?? [];
    const data = [...this.#intents.values()].filter(({ metadata }) => metadata[name] === value);
    return {
      object: "search_result",
      data: data.map((intent) => paymentIntentOf(intent)),
      has_more: false,
      url: "/v1/payment_intents/search",
      next_page: null,
    };
  }

  #intent(id: string): IntentState {
    return this.#intents.get(id) ?? missing("payment_intent", id);
  }

  #write(intent: IntentState): void {
    this.#index(intent);
    const { metadata, status, captured } = intent;
    const outcome: Entry["outcome"] =
      captured > 0 ? "approved" : status === "canceled" ? "void" : intent.lastError ? "declined" : "pending";
    const orderId = metadata["order_id"] ?? "";
    const currency = intent.currency.toUpperCase();
    const at = new Date(intent.created * 1_000);
    this.#ledger.put({
      key: intent.id,
      kind: "charge",
      orderId,
      amount: captured > 0 ? captured : intent.amount,
      currency,
      outcome,
      providerId: outcome === "approved" ? intent.chargeId : "",
      reverses: null,
      attempts: intent.confirmed,
      at,
      intent: structuredClone(intent),
    });
    for (const { id, amount, status: is, created } of intent.refunds)
      this.#ledger.put({
        key: id,
        kind: "refund",
        orderId,
        amount,
        currency,
        outcome: is === "succeeded" ? "approved" : is === "failed" ? "declined" : "pending",
        providerId: is === "succeeded" ? id : "",
        reverses: intent.id,
        attempts: 1,
        at: new Date(created * 1_000),
      });
  }

  #index(intent: IntentState): void {
    this.#intents.set(intent.id, intent);
    this.#byCharge.set(intent.chargeId, intent);
    for (const { id } of intent.refunds) this.#byRefund.set(id, intent);
    if (intent.dispute) this.#byDispute.set(intent.dispute.id, intent);
    const { method, confirmed } = intent;
    if (method !== null && (confirmed > 0 || method.startsWith("tok_"))) this.#used.add(method);
  }

  /** Takes over a charge of an earlier version's books. */
  #adopt({ key, orderId, amount, currency, providerId, at }: Entry): void {
    const back = this.#ledger.entries.filter(({ kind, reverses }) => kind === "refund" && reverses === key);
    const created = Math.floor(at.getTime() / 1_000);
    this.#index({
      id: `pi_${orderId.replaceAll("-", "")}`,
      chargeId: providerId,
      clientSecret: "",
      amount,
      currency: (currency ?? "").toLowerCase(),
      captureMethod: "automatic",
      status: "succeeded",
      authorized: 0,
      captured: amount,
      method: null,
      description: null,
      receiptEmail: null,
      metadata: { order_id: orderId, reference: key },
      shipping: null,
      lastError: null,
      confirmed: 1,
      created,
      captureBefore: null,
      refunds: back.map((refund) => ({
        id: refund.providerId,
        amount: refund.amount,
        status: "succeeded",
        reason: null,
        metadata: {},
        created,
      })),
      dispute: null,
    });
  }

  #tell(type: string, intent: IntentState): void {
    this.#tellOf(type, paymentIntentOf(intent));
  }

  #tellOf(type: string, object: object): void {
    const event = eventOf(`evt_${newId()}`, type, object);
    this.#events.add(event);
    this.webhooks.send(event);
  }

  #later(work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, SETTLED_AFTER_MS);
    timer.unref();
    this.#timers.add(timer);
  }
}

function errorAnswer(status: number, error: object): Answer {
  return { status, body: { error } };
}

function missing(what: string, id: string): never {
  throw new Refused(404, {
    type: "invalid_request_error",
    code: "resource_missing",
    param: "id",
    message: `No such ${what}: '${id}'`,
  });
}

function missingParameter(name: string): never {
  throw new Refused(400, {
    type: "invalid_request_error",
    code: "parameter_missing",
    param: name,
    message: `Missing required param: ${name}.`,
  });
}

function unexpectedState(intent: IntentState, message: string): Refused {
  return new Refused(400, {
    type: "invalid_request_error",
    code: UNEXPECTED_STATE,
    message,
    payment_intent: paymentIntentOf(intent),
  });
}

function textOf(value: FormValue | undefined): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function amountOf(form: Form, name: string): number | undefined {
  const text = textOf(form[name]);
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new Refused(400, {
    type: "invalid_request_error",
    code: "parameter_invalid_integer",
    param: name,
    message: `Invalid integer: ${text}`,
  });
}

/** A payment method's id, or the token of a card. */
function methodOf(form: Form): string | null {
  const data = form["payment_method_data"];
  const card = typeof data === "object" ? data["card"] : undefined;
  const token = typeof card === "object" ? textOf(card["token"]) : undefined;
  return textOf(form["payment_method"]) ?? token ?? null;
}

function metadataOf({ metadata }: Form): Record<string, string> {
  return typeof metadata === "object" ? textsOf(metadata) : {};
}

function shippingOf({ shipping }: Form): IntentState["shipping"] {
  if (typeof shipping !== "object") return null;
  const { name, address } = shipping;
  return { name: textOf(name) ?? "", address: typeof address === "object" ? textsOf(address) : {} };
}

function textsOf(form: Form): Record<string, string> {
  return Object.fromEntries(
    Object.entries(form).flatMap(([name, value]) => (typeof value === "string" ? [[name, value]] : [])),
  );
}

function newId(): string {
  return randomBytes(12).toString("hex");
}

/** Seconds since 1970. */
function now(): number {
  return Math.floor(Date.now() / 1_000);
}
