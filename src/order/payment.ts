/*
 * The payments and refunds below an order. Each has a small lifecycle, declared as one literal: what may follow each state.
 */

import { declareStates } from "./states.ts";

/** A payment's states, and what may follow each. */
export const PAYMENT_STATES = declareStates("payment", {
  /** Written down; the provider was or is about to be asked, or the customer or a bank has to act. */
  PENDING: ["AUTHORIZED", "CAPTURED", "DECLINED", "CANCELLED"],
  /** The money is held, and not taken yet. */
  AUTHORIZED: ["CAPTURED", "CANCELLED", "EXPIRED"],
  CAPTURED: [],
  /** The customer could still pay where the provider lets them, until it is called off. */
  DECLINED: ["CAPTURED", "CANCELLED"],
  CANCELLED: [],
  /** The authorization ran out before it was captured: another payment takes its place, unless it is called off. */
  EXPIRED: ["CANCELLED"],
});

/** A refund's states, and what may follow each. */
export const REFUND_STATES = declareStates("refund", {
  /** Written down: it is asked for until the provider has decided. */
  PENDING: ["SUCCEEDED", "FAILED"],
  /** Providers may find later that the money can't be delivered. */
  SUCCEEDED: ["FAILED"],
  FAILED: [],
});

/** A dispute's states, and what may follow each. There may be another one after each end. */
export const DISPUTE_STATES = declareStates("dispute", {
  /** The customer's bank asks about the payment. No money has moved, and it may be refunded. */
  INQUIRY: ["OPEN", "WON", "LOST", "CLOSED"],
  /** The customer's bank has taken the money back, until the dispute ends. */
  OPEN: ["INQUIRY", "WON", "LOST", "CLOSED"],
  /** The money stays here. */
  WON: ["INQUIRY", "OPEN", "LOST", "CLOSED"],
  LOST: ["INQUIRY", "OPEN", "WON", "CLOSED"],
  /** The bank asks no more. */
  CLOSED: ["INQUIRY", "OPEN", "WON", "LOST"],
});

export type PaymentState = keyof typeof PAYMENT_STATES;
export type DisputeState = keyof typeof DISPUTE_STATES;

/** How a payment is disputed. */
export interface Dispute {
  readonly state: DisputeState;
  /** How much of the payment, in minor units; null if that is not known, for all of it. */
  readonly amount: number | null;
}
export type RefundState = keyof typeof REFUND_STATES;

/** What the customer has to do before a payment goes on. For the client alone: a secret, never in a log or an event. */
export type PaymentAction = Readonly<Record<string, string>>;

/** A payment. Amounts are in minor units. */
export interface Payment {
  readonly orderId: string;
  /** Counts an order's payments, from 1. */
  readonly sequence: number;
  readonly state: PaymentState;
  /** The provider's name, such as `stripe`. */
  readonly provider: string;
  /** The provider's id, as soon as there is one. */
  readonly providerId: string | null;
  readonly amount: number;
  readonly currency: string;
  /** How much was taken; while AUTHORIZED how much was asked for, 0 before it was. */
  readonly captured: number;
  /** How many idempotency keys were spent on answers that say nothing. */
  readonly spentKeys: number;
  /** Why it was declined: the provider's code, and a text for people. */
  readonly code: string | null;
  readonly reason: string | null;
  readonly action: PaymentAction | null;
  /** When an authorization runs out. */
  readonly expiresAt: Date | null;
  /** Null while nobody has disputed it. */
  readonly dispute: DisputeState | null;
  /** How much of it is disputed; null if that is not known. */
  readonly disputed: number | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Our own name for a payment, which is its idempotency key too: `<orderId>:pay`, and `<orderId>:pay:2` for the second. */
export function referenceOf({ orderId, sequence }: Pick<Payment, "orderId" | "sequence">): string {
  return sequence === 1 ? `${orderId}:pay` : `${orderId}:pay:${sequence}`;
}

/** What has become of a payment, to be written with the order's status. */
export type PaymentChange = Omit<Payment, "spentKeys" | "dispute" | "disputed" | "createdAt">;

/** How much of a captured payment the customer's bank has taken back, for good or until a dispute ends. Minor units. */
export function chargedBack({
  dispute,
  disputed,
  captured,
}: Pick<Payment, "dispute" | "disputed" | "captured">): number {
  return dispute === "OPEN" || dispute === "LOST" ? Math.min(disputed ?? captured, captured) : 0;
}

/** Why money is paid back. */
export type RefundCause =
  /** The order was cancelled. */
  | "cancelled"
  /** Somebody asked for it. */
  | "requested"
  /** Somebody asked for it before the money was taken: so much less is taken. */
  | "uncaptured";

/** Whether a refund's pieces go back into stock: they never do, or will once it has succeeded, or have. */
export type Restock = "no" | "due" | "done";

/** A refund. Amounts are in minor units. */
export interface Refund {
  /** UUIDv7; our own name for it at the provider, and its idempotency key. */
  readonly id: string;
  readonly orderId: string;
  /** Of the payment that it pays back. */
  readonly sequence: number;
  readonly cause: RefundCause;
  readonly state: RefundState;
  readonly amount: number;
  readonly currency: string;
  /** For customer service. */
  readonly reason: string;
  /** Pieces that it pays for, by SKU and position of their line. */
  readonly lines: readonly RefundLine[] | null;
  readonly restock: Restock;
  readonly actor: string | null;
  readonly providerId: string | null;
  readonly spentKeys: number;
  /** How often the provider was asked, and why it failed. */
  readonly attempts: number;
  readonly failure: string | null;
  /** When it is looked at next, while it is pending. */
  readonly dueAt: Date;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface RefundLine {
  /** Of the order's line, from 0. */
  readonly position: number;
  readonly sku: string;
  readonly quantity: number;
  /** What the pieces are worth, in minor units. The refund pays less if less is left. Absent before it was written down. */
  readonly worth?: number;
  /** How many of them were in no parcel yet: they are not shipped. None unless given. */
  readonly cancelled?: number;
  /** False for what never goes back into stock. */
  readonly stocked?: false;
}
