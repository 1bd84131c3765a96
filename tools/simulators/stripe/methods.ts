/** What a test payment method stands for, once its payment is confirmed. */
export type Behaviour =
  | { readonly kind: "approved" }
  | {
      readonly kind: "declined";
      readonly code: string;
      readonly declineCode?: string;
      readonly message: string;
    }
  /** The customer has to authenticate first. */
  | { readonly kind: "authentication" }
  /** The bank takes its time, and then pays or does not. */
  | { readonly kind: "processing"; readonly pays: boolean }
  /** Paid, and then disputed, or asked about by the bank. */
  | { readonly kind: "disputed"; readonly isInquiry?: true }
  /** Paid; what its refunds are at first, and what becomes of them a second later. */
  | {
      readonly kind: "slow refunds";
      readonly first: "pending" | "succeeded";
      readonly end: "succeeded" | "failed";
    }
  /** The provider fails the first so many times, or until it is switched up. */
  | { readonly kind: "stumbles"; readonly times: number };

const APPROVED: Behaviour = { kind: "approved" };
const AUTHENTICATION: Behaviour = { kind: "authentication" };

function declined(code: string, message: string, declineCode?: string): Behaviour {
  return { kind: "declined", code, message, ...(declineCode !== undefined && { declineCode }) };
}
const cardDeclined = (declineCode: string) =>
  declined("card_declined", "Your card was declined.", declineCode);

/** https://docs.stripe.com/testing: payment methods are these behind `pm_card_`, tokens behind `tok_`. */
const CARDS: Readonly<Record<string, Behaviour>> = {
  visa: APPROVED,
  visa_debit: APPROVED,
  mastercard: APPROVED,
  mastercard_debit: APPROVED,
  amex: APPROVED,
  discover: APPROVED,
  diners: APPROVED,
  jcb: APPROVED,
  unionpay: APPROVED,
  chargeDeclined: cardDeclined("generic_decline"),
  visa_chargeDeclined: cardDeclined("generic_decline"),
  chargeDeclinedInsufficientFunds: declined(
    "card_declined",
    "Your card has insufficient funds.",
    "insufficient_funds",
  ),
  visa_chargeDeclinedInsufficientFunds: declined(
    "card_declined",
    "Your card has insufficient funds.",
    "insufficient_funds",
  ),
  visa_chargeDeclinedLostCard: cardDeclined("lost_card"),
  visa_chargeDeclinedStolenCard: cardDeclined("stolen_card"),
  chargeDeclinedExpiredCard: declined("expired_card", "Your card has expired."),
  chargeDeclinedIncorrectCvc: declined("incorrect_cvc", "Your card's security code is incorrect."),
  chargeDeclinedProcessingError: declined(
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
  ),
  radarBlock: cardDeclined("fraudulent"),
  authenticationRequired: AUTHENTICATION,
  authenticationRequiredOnSetup: AUTHENTICATION,
  threeDSecure2Required: AUTHENTICATION,
  threeDSecureRequired: AUTHENTICATION,
  createDispute: { kind: "disputed" },
  createDisputeProductNotReceived: { kind: "disputed" },
  createDisputeInquiry: { kind: "disputed", isInquiry: true },
  pendingRefund: { kind: "slow refunds", first: "pending", end: "succeeded" },
  refundFail: { kind: "slow refunds", first: "succeeded", end: "failed" },
  pendingRefundFail: { kind: "slow refunds", first: "pending", end: "failed" },
};

const BANKS: Readonly<Record<string, Behaviour>> = {
  pm_usBankAccount_success: { kind: "processing", pays: true },
  pm_usBankAccount_processing: { kind: "processing", pays: true },
  pm_usBankAccount_insufficientFunds: { kind: "processing", pays: false },
};

/** As often as `tok_down` fails, unless it is switched up. */
const ALWAYS = Infinity;

/**
 * What a payment method or token does; undefined if there is no such payment method. Stripe's own, as its documentation of
 * testing has them, with `tok_` in place of `pm_card_` as well:
 *
 * - `pm_card_visa`, `pm_card_mastercard`, `pm_card_amex`, …: approved.
 * - `pm_card_chargeDeclined`, `pm_card_chargeDeclinedInsufficientFunds`, `pm_card_chargeDeclinedExpiredCard`, …: declined for this reason.
 * - `pm_card_authenticationRequired`, `pm_card_threeDSecureRequired`: the customer has to confirm first.
 * - `pm_usBankAccount_success`, `pm_usBankAccount_insufficientFunds`: the bank decides a second later.
 * - `pm_card_createDispute`: approved, and disputed a second later; `pm_card_createDisputeInquiry`: asked about by the bank.
 * - `pm_card_pendingRefund`: approved; a refund is pending first, and then succeeds.
 * - `pm_card_refundFail`: approved; a refund succeeds first, and fails a second later.
 *
 * And these:
 *
 * - `pm_1…`, `tok_1…`, as Stripe.js makes them, of 15 characters or more: approved, and refused when they are used again.
 * - `tok_approved`, and any other token: approved. Without one, the order waits for its customer.
 * - `tok_declined`: always declined.
 * - `tok_pendingRefundFail`: approved; a refund is pending first, and then fails.
 * - `tok_stumbles_N`: no answer to the first N attempts (1 to 99), then approved.
 * - `tok_down`: no answer until `npm run providers -- payments up` is run after the first attempt.
 */
export function behaviourOf(method: string): Behaviour | undefined {
  if (isUsedOnce(method)) return APPROVED;
  const card = /^(?:pm_card|tok)_(.+)$/.exec(method)?.[1];
  const known = BANKS[method] ?? (card === undefined ? undefined : CARDS[card]);
  if (known !== undefined || method.startsWith("pm_")) return known;
  if (method === "tok_declined") return cardDeclined("generic_decline");
  if (method === "tok_down") return { kind: "stumbles", times: ALWAYS };
  const times = Number(/^tok_stumbles_(\d{1,2})$/.exec(method)?.[1] ?? 0);
  return times > 0 ? { kind: "stumbles", times } : APPROVED;
}

/** Whether a payment method or token, which belongs to no Customer here, can be used once only. Those for tests are for many. */
export function isUsedOnce(method: string): boolean {
  return /^(?:pm|tok)_1\w{10,}$/.test(method);
}
