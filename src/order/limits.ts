/**
 * The limits of an order, chosen so that every valid order fits one transaction and one request body. The
 * request schemas and the database's columns derive from them.
 */
export const LIMITS = {
  /** Lines per order. */
  lines: 2_000,
  /** Quantity on one line. */
  quantity: 1_000_000,
  /** Price of one unit, in minor units. */
  unitPrice: 10_000_000_000,
  /** Quantity of one SKU in stock. */
  onHand: 1_000_000_000,
  /** Characters of an id, a reference or a SKU. */
  identifier: 64,
  /** Characters of a payment token. */
  paymentToken: 255,
  /** Characters of one line of an address. */
  addressLine: 200,
  /** Characters stored of the reason for a failure or cancellation. */
  reason: 500,
} as const;
