/** Characters of columns whose length the API has to know, apart from those of an order. */
export const COLUMN_LENGTHS = {
  idempotencyKey: 255,
  /** Who did something: an operator's name, or a client. */
  actor: 128,
  /** A payment provider's id of a payment or a refund. */
  providerId: 255,
  webhookUrl: 2_000,
  /** What an endpoint's owner says of it. */
  webhookDescription: 200,
  /** What is kept of an endpoint's response. */
  webhookResponse: 1_000,
  /** The host and the process that hold a lease. */
  leaseHolder: 64,
  /** A carrier's own id of a shipment. */
  carrierId: 200,
  /** Where a parcel can be followed, or a label fetched. */
  parcelUrl: 1_000,
  trackingNumber: 100,
  service: 64,
} as const;
