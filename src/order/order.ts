/** One position of an order. The same SKU may stand on several lines, at different prices. */
export interface OrderLine {
  readonly sku: string;
  /** Pieces, at least 1. */
  readonly quantity: number;
  /** Price of one piece in the currency's minor unit (cents, pence; yen as such). */
  readonly unitPrice: number;
}

/** Where the parcel goes. Personal data: it never enters a log line, a job or an error. */
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

/** What a stage leaves behind for later stages, for its own `undo` and for people: small and without personal data. */
export type StageRecord = Readonly<Record<string, string | number | boolean | null>>;

/** What a client asks for; everything else about an order is Conveyor's. */
export interface OrderRequest {
  readonly customerId: string;
  /** ISO 4217 code, for every price and the total. */
  readonly currency: string;
  readonly lines: readonly OrderLine[];
  /** The client's own name for the order, such as an invoice number; need not be unique. */
  readonly reference: string | null;
  /** The payment provider's token for the customer's card. A secret, like {@link Address}. */
  readonly paymentToken: string | null;
  readonly shipTo: Address | null;
}

/**
 * An order as a stage sees it. It has no status on purpose: which stage is due is the executor's business, and a
 * stage that cannot read the status cannot come to depend on its neighbours.
 */
export interface Order extends OrderRequest {
  /** UUIDv7: sorts by time of creation. */
  readonly id: string;
  /** In the currency's minor unit: the sum of quantity x unitPrice. */
  readonly total: number;
  /** The records of the stages that have finished, by stage name. */
  readonly records: Readonly<Record<string, StageRecord>>;
  readonly createdAt: Date;
}

/** What makes a request's repetition recognisable: the same client, under the same key, with the same content. */
export interface Idempotency {
  /** Tells clients apart: a digest of their API key. */
  readonly client: string;
  readonly key: string;
  /** A hash of the request's content. */
  readonly requestHash: string;
}

/** An order that is about to be written down. */
export interface NewOrder extends Omit<Order, "records"> {
  /** Null when the client gave no key: then each request is an order of its own. */
  readonly idempotency: Idempotency | null;
  /** Where the trace that follows it began, as W3C Trace Context has it; absent when nobody follows it. */
  readonly traceparent?: string | undefined;
}

/** An order with everything that is written down about it. */
export interface StoredOrder extends Order {
  readonly status: string;
  /** Set while the order rests in a stage's failed set. */
  readonly failed: { readonly stage: string; readonly reason: string; readonly at: Date } | null;
  /** Set once the order is to be cancelled, by its customer or by a stage; it may not be CANCELLED yet. */
  readonly cancellation: { readonly reason: string; readonly requestedAt: Date } | null;
  readonly updatedAt: Date;
}

/** The order's total in minor units, or undefined when it is too large to be kept exactly (2^53 and above). */
export function totalOf(lines: readonly Pick<OrderLine, "quantity" | "unitPrice">[]): number | undefined {
  let total = 0n;
  for (const line of lines) total += BigInt(line.quantity) * BigInt(line.unitPrice);
  return total <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(total) : undefined;
}

/** Pieces per SKU over all lines, in order of SKU: the unit in which stock is counted and locked. */
export function piecesBySku(lines: readonly OrderLine[]): ReadonlyMap<string, number> {
  const pieces = new Map<string, number>();
  for (const line of lines) pieces.set(line.sku, (pieces.get(line.sku) ?? 0) + line.quantity);
  return new Map([...pieces].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
