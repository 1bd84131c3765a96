/**
 * The types of events in an order's log. Adding one adds a message type for every consumer. Only `status`
 * changes the order's status.
 */
export const EVENT_TYPES = [
  /** The order was created or reached another status. */
  "status",
  /** An attempt at a stage failed; it will be retried. */
  "attempt-failed",
  /** A stage's last attempt failed; the order waits to be resumed. */
  "failed",
  /** A stage waits for somebody else to act. */
  "waiting",
  /** A failed order was resumed. */
  "resumed",
  /** Cancellation was requested: by the customer, by a stage that rejected the order, or by a missed deadline. */
  "cancel-requested",
  /** The client changed an address, the customer, the metadata or the note. */
  "changed",
  /** Somebody holds the order: it does not go on until the last hold is released. */
  "hold.placed",
  "hold.released",
  /** The customer has to confirm the payment. */
  "payment.pending",
  /** The provider holds the money, and has not taken it yet. */
  "payment.authorized",
  /** The money was taken. */
  "payment.captured",
  "payment.declined",
  /** The payment was called off before money was taken. */
  "payment.cancelled",
  /** The authorization ran out. */
  "payment.expired",
  /** The customer's bank asks about the payment: no money has moved. */
  "dispute.inquiry",
  /** The customer's bank disputes the payment. */
  "dispute.opened",
  /** The dispute has ended: the money stays here, or is gone. */
  "dispute.won",
  "dispute.lost",
  /** The bank asks no more. */
  "dispute.closed",
  /** Money is to be paid back. */
  "refund.created",
  "refund.succeeded",
  /** The money could not be paid back: a person has to look at it. */
  "refund.failed",
  /** The warehouse has planned a parcel. */
  "shipment.planned",
  /** The label of a parcel can't be bought: a person has to decide. */
  "shipment.booking_refused",
  /** The label of a parcel was bought, and its goods have left the stock. */
  "shipment.booked",
  "shipment.in_transit",
  /** The carrier brings the parcel today, or has it ready to be picked up. */
  "shipment.out_for_delivery",
  "shipment.delivered",
  /** Something went wrong on the way; the carrier may still deliver the parcel. */
  "shipment.exception",
  /** The parcel is back, or on its way back. */
  "shipment.returned",
  "shipment.lost",
  "shipment.voided",
  /** The carrier does not take the label back: a person has to decide. */
  "shipment.void_refused",
  /** An operator has settled a parcel that never arrives. */
  "shipment.closed",
] as const;

export type EventType = (typeof EVENT_TYPES)[number];

/** The attempt at a step that led to an event. */
export interface AttemptMark {
  /** Counts from 1. */
  readonly attempt: number;
  readonly startedAt: Date;
}
