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
  /** Weight of one unit, in grams. */
  weight: 1_000_000_000,
  /** Adjustments per order, and the amount of one, in minor units. */
  adjustments: 100,
  adjustment: 1_000_000_000_000,
  /** Quantity of one SKU in stock. */
  onHand: 1_000_000_000,
  /** Characters of an id, a reference or a SKU. */
  identifier: 64,
  /** Characters of a payment token. */
  paymentToken: 255,
  /** Characters of one line of an address. */
  addressLine: 200,
  /** Characters of a postal code. */
  postalCode: 20,
  /** Characters of a name, an e-mail address, or the label of an adjustment. */
  name: 254,
  /** Characters of a note. */
  note: 2_000,
  /** Fields of metadata, and the characters of their names and values. */
  metadata: 50,
  metadataName: 40,
  metadataValue: 500,
  /** Characters stored of the reason for a failure or cancellation. */
  reason: 500,
  /** The longest that an order is put off at once, in milliseconds: a year. */
  snoozeMs: 366 * 24 * 60 * 60 * 1_000,
} as const;
