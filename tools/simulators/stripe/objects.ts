import { default as Stripe } from "stripe";
import type { DisputeState, IntentState, RefundState } from "./state.ts";

/*
 * Stripe's objects as its API sends them, typed by its SDK. A test holds their fields against Stripe's own examples.
 */

export function paymentIntentOf(intent: IntentState) {
  const { id, amount, status, lastError, metadata, created } = intent;
  return {
    id,
    object: "payment_intent",
    allowed_payment_method_types: null,
    amount,
    amount_capturable: status === "requires_capture" ? intent.authorized : 0,
    amount_details: { tip: {} },
    amount_received: intent.captured,
    application: null,
    application_fee_amount: null,
    automatic_payment_methods: { enabled: true, allow_redirects: "never" },
    canceled_at: status === "canceled" ? created : null,
    cancellation_reason: null,
    capture_method: intent.captureMethod,
    client_secret: intent.clientSecret,
    confirmation_method: "automatic",
    created,
    currency: intent.currency,
    customer: null,
    customer_account: null,
    description: intent.description,
    excluded_payment_method_types: null,
    last_payment_error: lastError && {
      type: "card_error",
      code: lastError.code,
      ...(lastError.declineCode !== undefined && { decline_code: lastError.declineCode }),
      message: lastError.message,
    },
    latest_charge: intent.confirmed > 0 ? intent.chargeId : null,
    livemode: false,
    managed_payments: null,
    metadata,
    next_action:
      status === "requires_action"
        ? { type: "use_stripe_sdk", use_stripe_sdk: { type: "three_d_secure_redirect" } }
        : null,
    on_behalf_of: null,
    payment_method: intent.status === "requires_payment_method" ? null : intent.method,
    payment_method_configuration_details: null,
    payment_method_options: {},
    payment_method_types: ["card"],
    payment_record: null,
    processing: status === "processing" ? { type: "card" } : null,
    receipt_email: intent.receiptEmail,
    review: null,
    setup_future_usage: null,
    shipping: shippingOf(intent),
    source: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status,
    transfer_data: null,
    transfer_group: null,
  } satisfies Stripe.PaymentIntent;
}

export function chargeOf(intent: IntentState) {
  const refunded = refundedOf(intent);
  const isPaid = intent.authorized > 0 || intent.captured > 0;
  return {
    id: intent.chargeId,
    object: "charge",
    amount: intent.amount,
    amount_captured: intent.captured,
    amount_refunded: refunded,
    application: null,
    application_fee: null,
    application_fee_amount: null,
    balance_transaction: null,
    billing_details: {
      address: { city: null, country: null, line1: null, line2: null, postal_code: null, state: null },
      email: null,
      name: null,
      phone: null,
      tax_id: null,
    },
    calculated_statement_descriptor: null,
    captured: intent.captured > 0,
    created: intent.created,
    currency: intent.currency,
    customer: null,
    description: intent.description,
    disputed: intent.dispute !== null,
    failure_balance_transaction: null,
    failure_code: intent.lastError?.code ?? null,
    failure_message: intent.lastError?.message ?? null,
    fraud_details: {},
    livemode: false,
    metadata: intent.metadata,
    on_behalf_of: null,
    outcome: null,
    paid: isPaid,
    payment_intent: intent.id,
    payment_method: intent.method,
    payment_method_details: {
      type: "card",
      card: {
        amount_authorized: intent.authorized || null,
        authorization_code: null,
        electronic_commerce_indicator: null,
        network_transaction_id: null,
        transaction_link_id: null,
        brand: "visa",
        ...(intent.captureBefore !== null && { capture_before: intent.captureBefore }),
        checks: null,
        country: "US",
        exp_month: 12,
        exp_year: 2034,
        funding: "credit",
        installments: null,
        last4: "4242",
        mandate: null,
        network: "visa",
        regulated_status: null,
        three_d_secure: null,
        wallet: null,
      },
    },
    receipt_email: intent.receiptEmail,
    receipt_number: null,
    receipt_url: null,
    refunded: intent.captured > 0 && refunded === intent.captured,
    review: null,
    shipping: null,
    source: null,
    source_transfer: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: isPaid ? "succeeded" : intent.lastError ? "failed" : "pending",
    transfer_data: null,
    transfer_group: null,
  } satisfies Stripe.Charge;
}

export function refundOf(intent: IntentState, refund: RefundState) {
  return {
    id: refund.id,
    object: "refund",
    amount: refund.amount,
    balance_transaction: null,
    charge: intent.chargeId,
    created: refund.created,
    currency: intent.currency,
    customer: null,
    customer_account: null,
    destination_details: { card: { type: "refund" }, type: "card" },
    ...(refund.status === "failed" && { failure_reason: "expired_or_canceled_card" }),
    metadata: refund.metadata,
    payment_intent: intent.id,
    payment_method: intent.method,
    ...(refund.status === "pending" && { pending_reason: "processing" }),
    reason: null,
    receipt_number: null,
    source_transfer_reversal: null,
    status: refund.status,
    transfer_reversal: null,
  } satisfies Stripe.Refund;
}

export function disputeOf(intent: IntentState, dispute: DisputeState) {
  return {
    id: dispute.id,
    object: "dispute",
    amount: disputedOf(intent, dispute),
    balance_transactions: [],
    charge: intent.chargeId,
    created: dispute.created,
    currency: intent.currency,
    enhanced_eligibility_types: [],
    evidence: NO_EVIDENCE,
    evidence_details: {
      due_by: null,
      enhanced_eligibility: {},
      has_evidence: !dispute.status.endsWith("needs_response"),
      past_due: false,
      submission_method: "manual",
      submission_count: dispute.status.endsWith("needs_response") ? 0 : 1,
    },
    intended_submission_method: "manual",
    is_charge_refundable: dispute.status.startsWith("warning_"),
    livemode: false,
    metadata: {},
    payment_intent: intent.id,
    payment_method_details: {
      type: "card",
      card: { brand: "visa", case_type: "chargeback", network: "visa", network_reason_code: "10.4" },
    },
    reason: "fraudulent",
    status: dispute.status,
  } satisfies Stripe.Dispute;
}

/** An event about one of the objects above. */
export function eventOf(id: string, type: string, object: object) {
  return {
    id,
    object: "event",
    api_version: Stripe.API_VERSION,
    created: Math.floor(Date.now() / 1_000),
    data: { object },
    livemode: false,
    pending_webhooks: 1,
    request: { id: null, idempotency_key: null },
    type,
  };
}

function shippingOf({ shipping }: IntentState): Stripe.PaymentIntent.Shipping | null {
  if (shipping === null) return null;
  const { city, country, line1, line2, postal_code: postalCode, state } = shipping.address;
  return {
    name: shipping.name,
    address: {
      city: city ?? null,
      country: country ?? null,
      line1: line1 ?? null,
      line2: line2 ?? null,
      postal_code: postalCode ?? null,
      state: state ?? null,
    },
  };
}

/** What was paid back, or is about to be. */
export function refundedOf({ refunds }: IntentState): number {
  return refunds.reduce((sum, { amount, status }) => (status === "failed" ? sum : sum + amount), 0);
}

/** What is disputed: by default what was not paid back before. */
export function disputedOf(intent: IntentState, { amount }: DisputeState): number {
  return amount ?? intent.captured - refundedOf(intent);
}

const NO_EVIDENCE = {
  access_activity_log: null,
  billing_address: null,
  cancellation_policy: null,
  cancellation_policy_disclosure: null,
  cancellation_rebuttal: null,
  customer_communication: null,
  customer_email_address: null,
  customer_name: null,
  customer_purchase_ip: null,
  customer_signature: null,
  duplicate_charge_documentation: null,
  duplicate_charge_explanation: null,
  duplicate_charge_id: null,
  enhanced_evidence: {},
  product_description: null,
  receipt: null,
  refund_policy: null,
  refund_policy_disclosure: null,
  refund_refusal_explanation: null,
  service_date: null,
  service_documentation: null,
  shipping_address: null,
  shipping_carrier: null,
  shipping_date: null,
  shipping_documentation: null,
  shipping_tracking_number: null,
  uncategorized_file: null,
  uncategorized_text: null,
} satisfies Stripe.Dispute.Evidence;
