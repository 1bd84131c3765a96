/**
 * The largest order Conveyor takes. Chosen so that every legal order fits one transaction and one request body; the
 * request schemas and the columns of the database follow from here.
 */
export const LIMITS = {
  /** Lines of one order. */
  lines: 2_000,
  /** Pieces on one line. */
  quantity: 1_000_000,
  /** Price of one piece, in minor units. */
  unitPrice: 10_000_000_000,
  /** Pieces of one SKU in stock. */
  onHand: 1_000_000_000,
  /** Characters of an id, a reference or a SKU. */
  identifier: 64,
  /** Characters of a payment token. */
  paymentToken: 255,
  /** Characters of one line of an address. */
  addressLine: 200,
  /** Characters kept of a reason (why an order failed or was cancelled). */
  reason: 500,
} as const;
