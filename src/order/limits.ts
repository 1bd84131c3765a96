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
  /** SKUs in one stock request. */
  stockItems: 1_000,
  /** Characters of an id, a reference or a SKU. */
  identifier: 64,
  /** Characters of an idempotency key. */
  idempotencyKey: 255,
  /** Characters of a payment token. */
  paymentToken: 255,
  /** Characters of one line of an address. */
  addressLine: 200,
  /** Characters kept of a reason (why an order failed or was cancelled). */
  reason: 500,
  /** Characters of who did something: an operator's name, or a client. */
  actor: 128,
  /** Orders on one page. */
  pageSize: 200,
  /** Events on one page. */
  eventPageSize: 1_000,
  /** Characters of a webhook endpoint's address, and of what its owner says of it. */
  webhookUrl: 2_000,
  webhookDescription: 200,
  /** Characters kept of what an endpoint answers. */
  webhookResponse: 1_000,
  /** Webhook endpoints. */
  webhookEndpoints: 1_000,
  /** Bytes of a request body. */
  bodyBytes: 512 * 1024,
} as const;
