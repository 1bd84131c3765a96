/** A line of an order. Several lines may have the same SKU, at different prices. */
export interface OrderLine {
  readonly sku: string;
  /** At least 1. */
  readonly quantity: number;
  /** Price of one unit in the currency's minor unit (cents, pence, yen). */
  readonly unitPrice: number;
}

/** The shipping address. Personal data: never put it in a log line, a job or an error. */
export interface Address {
  readonly name: string;
  readonly line1: string;
  readonly line2?: string | undefined;
  readonly city: string;
  readonly region?: string | undefined;
  readonly postalCode: string;
  /** ISO 3166-1 alpha-2 code. */
  readonly country: string;
}

/** A stage's result, for later stages, its own `undo` and people. Small, and without personal data. */
export type StageRecord = Readonly<Record<string, string | number | boolean | null>>;

/** The part of an order that the client provides. */
export interface OrderRequest {
  readonly customerId: string;
  /** ISO 4217 code of all prices and the total. */
  readonly currency: string;
  readonly lines: readonly OrderLine[];
  /** The client's reference, such as an invoice number; need not be unique. */
  readonly reference: string | null;
  /** The payment provider's token for the customer's card. A secret, like {@link Address}. */
  readonly paymentToken: string | null;
  readonly shipTo: Address | null;
}

/**
 * An order as a stage sees it. It deliberately has no status: the executor decides which stage is due, and a
 * stage that can't read the status can't depend on its neighbors.
 */
export interface Order extends OrderRequest {
  /** UUIDv7, which sorts by creation time. */
  readonly id: string;
  /** The sum of quantity x unitPrice, in the currency's minor unit. */
  readonly total: number;
  /** The records of finished stages, by stage name. */
  readonly records: Readonly<Record<string, StageRecord>>;
  readonly createdAt: Date;
}

/** Identifies a repeated request: same client, same key, same content. */
export interface Idempotency {
  /** A digest of the client's API key. */
  readonly client: string;
  readonly key: string;
  /** A hash of the request's content. */
  readonly requestHash: string;
}

/** An order to be stored. */
export interface NewOrder extends Omit<Order, "records"> {
  /** Null if the client sent no key, so that each request makes an order. */
  readonly idempotency: Idempotency | null;
  /** W3C trace context of the request; absent if it is not traced. */
  readonly traceparent?: string | undefined;
}

/** What an order waits for: somebody outside has to act. */
export interface Waiting {
  readonly stage: string;
  /** One line, without personal data. */
  readonly for: string;
  /** Since when it has waited for this. */
  readonly since: Date;
  /** When the stage runs once more, and decides. */
  readonly until: Date;
}

/** An order as stored. */
export interface StoredOrder extends Order {
  readonly status: string;
  /** Set while the order has failed, until it is resumed. */
  readonly failed: { readonly stage: string; readonly reason: string; readonly at: Date } | null;
  /** Set while a stage waits for somebody else to act. */
  readonly waiting: Waiting | null;
  /** When the order was last woken; null once a stage that waits has been asked since. */
  readonly wokenAt: Date | null;
  /** Set once cancellation was requested; the order may not be CANCELLED yet. */
  readonly cancellation: { readonly reason: string; readonly requestedAt: Date } | null;
  readonly updatedAt: Date;
}

/** The total in minor units; undefined if it is too large for an exact number (2^53 or more). */
export function totalOf(lines: readonly Pick<OrderLine, "quantity" | "unitPrice">[]): number | undefined {
  let total = 0;
  for (const { quantity, unitPrice } of lines) {
    total += quantity * unitPrice;
    // Up to here both results were exact, and rounding never makes a larger one fit.
    if (total > Number.MAX_SAFE_INTEGER) return undefined;
  }
  return total;
}

/** Quantities by SKU over all lines, sorted by SKU, which is the order in which stock is locked. */
export function quantitiesBySku(lines: readonly OrderLine[]): ReadonlyMap<string, number> {
  const quantities = new Map<string, number>();
  for (const line of lines) quantities.set(line.sku, (quantities.get(line.sku) ?? 0) + line.quantity);
  return new Map([...quantities].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
