/** A line of an order. Several lines may have the same SKU, at different prices. */
export interface OrderLine {
  readonly sku: string;
  /** At least 1. */
  readonly quantity: number;
  /** Price of one unit in the currency's minor unit (cents, pence, yen). */
  readonly unitPrice: number;
  readonly name?: string | undefined;
  /** Of one unit, in grams. */
  readonly weight?: number | undefined;
  /** Whether it goes into a parcel; true unless given. */
  readonly requiresShipping?: boolean | undefined;
  /** The rate at which the price is taxed: 0.19 for 19 %. Told, never computed with. */
  readonly taxRate?: number | undefined;
  /** False for what no warehouse holds, such as a service, a gift card or a fee; true unless given. */
  readonly stocked?: boolean | undefined;
  /** For parcels to other countries. */
  readonly customs?: CustomsDetails | undefined;
  /** Pieces that were refunded before they were in a parcel: they are not shipped. None unless given. */
  readonly cancelled?: number | undefined;
}

/** What customs want to know of a piece. */
export interface CustomsDetails {
  readonly description?: string | undefined;
  /** Where it was made: ISO 3166-1 alpha-2 code. */
  readonly origin?: string | undefined;
  /** By the Harmonized System, 6 to 10 digits. */
  readonly hsCode?: string | undefined;
}

/** What an adjustment of an order's total can be. */
export const ADJUSTMENT_KINDS = ["shipping", "discount", "tax", "fee", "tip", "rounding"] as const;

/** Something that changes what an order costs, apart from its lines. */
export interface Adjustment {
  readonly kind: (typeof ADJUSTMENT_KINDS)[number];
  readonly label?: string | undefined;
  /** In the currency's minor unit: negative for a discount, of either sign for rounding. */
  readonly amount: number;
  /** Whether the prices contain it already, so that it is told and not added. Only for taxes. */
  readonly included?: boolean | undefined;
}

/** How to reach the customer. Personal data, like {@link Address}. */
export interface Contact {
  readonly name?: string | undefined;
  readonly email?: string | undefined;
  readonly phone?: string | undefined;
}

/** The client's own fields, by name. May hold personal data. */
export type Metadata = Readonly<Record<string, string>>;

/** A shipping or billing address. Personal data: never put it in a log line, a job or an error. */
export interface Address {
  readonly name: string;
  readonly line1: string;
  readonly line2?: string | undefined;
  readonly city: string;
  readonly region?: string | undefined;
  /** Some countries have none. */
  readonly postalCode?: string | undefined;
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
  readonly adjustments: readonly Adjustment[];
  /** The client's reference, such as an invoice number; need not be unique. */
  readonly reference: string | null;
  /** The payment provider's token for the customer's card. A secret, like {@link Address}. */
  readonly paymentToken: string | null;
  readonly customer: Contact | null;
  readonly shipTo: Address | null;
  readonly billTo: Address | null;
  readonly metadata: Metadata | null;
  /** What the customer or the shop has to say of the order. May hold personal data. */
  readonly note: string | null;
  /** What becomes of it when goods are sold out. */
  readonly whenSoldOut: "cancel" | "wait";
}

/** Keeps an order from going on until it is released. */
export interface Hold {
  /** One of each name per order. */
  readonly name: string;
  /** For people; never in messages. */
  readonly reason: string;
  readonly at: Date;
  /** Who holds it; null for the service itself. */
  readonly actor: string | null;
}

/**
 * An order as a stage sees it. It deliberately has no status: the executor decides which stage is due, and a
 * stage that can't read the status can't depend on its neighbours.
 */
export interface Order extends OrderRequest {
  /** UUIDv7, which sorts by creation time. */
  readonly id: string;
  /** The sum of the lines and the adjustments, in the currency's minor unit. Never below 0. */
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
  /** When the stage runs once more, and decides; null for a hold or for stock: only somebody outside ends those. */
  readonly until: Date | null;
}

/** What a stage has waited for so far, when it runs again. */
export interface WaitSoFar extends Omit<Waiting, "stage"> {
  /**
   * Whether the time that it gave itself has passed. Then it should decide: nobody asks it to, but no order should wait for
   * ever.
   */
  readonly isOver: boolean;
  /** Set if somebody has woken the order since: what it waits for may have changed. */
  readonly isWoken?: true;
}

/** An order as stored. */
export interface StoredOrder extends Order {
  readonly status: string;
  /** Set while the order has failed, until it is resumed. */
  readonly failed: { readonly stage: string; readonly reason: string; readonly at: Date } | null;
  /** Set while a stage waits for somebody else to act. */
  readonly waiting: Waiting | null;
  /** Oldest first; none for nearly all orders. */
  readonly holds: readonly Hold[];
  /** When it was last changed; see `Amendment` in amendment.ts. */
  readonly changedAt: Date | null;
  /** When the order was last woken; null once a stage that waits has been asked since. */
  readonly wokenAt: Date | null;
  /** Set once cancellation was requested; the order may not be CANCELLED yet. */
  readonly cancellation: { readonly reason: string; readonly requestedAt: Date } | null;
  readonly updatedAt: Date;
}

/** What an order's total is made of, in minor units. */
export interface Sums {
  /** The sum of quantity x unitPrice. */
  readonly lines: number;
  /** The sum of the adjustments, without those that the prices contain already. */
  readonly adjustments: number;
  readonly total: number;
}

/** The sum of the lines, in minor units; undefined if it is too large for an exact number (2^53 or more). */
export function totalOf(lines: readonly Pick<OrderLine, "quantity" | "unitPrice">[]): number | undefined {
  let total = 0;
  for (const { quantity, unitPrice } of lines) {
    total += quantity * unitPrice;
    // Up to here both results were exact, and rounding never makes a larger one fit.
    if (total > Number.MAX_SAFE_INTEGER) return undefined;
  }
  return total;
}

/** An order's sums; undefined if they are too large for exact numbers. */
export function sumsOf(order: {
  readonly lines: readonly Pick<OrderLine, "quantity" | "unitPrice">[];
  readonly adjustments?: readonly { readonly amount: number; readonly included?: unknown }[] | undefined;
}): Sums | undefined {
  const lines = totalOf(order.lines);
  if (lines === undefined) return undefined;
  let adjustments = 0;
  for (const { amount, included } of order.adjustments ?? []) if (included !== true) adjustments += amount;
  const total = lines + adjustments;
  const isExact = Number.isSafeInteger(adjustments) && total <= Number.MAX_SAFE_INTEGER;
  return isExact ? { lines, adjustments, total } : undefined;
}

/** The lines as far as they are to be delivered: without the pieces that were cancelled. Each stays in its place. */
export function toDeliver(lines: readonly OrderLine[]): readonly OrderLine[] {
  // Nearly always all are.
  if (lines.every(({ cancelled = 0 }) => cancelled === 0)) return lines;
  return lines.map(({ cancelled = 0, ...line }) =>
    Object.assign(line, { quantity: line.quantity - cancelled }),
  );
}

/** How many pieces of an order were cancelled. */
export function cancelledPieces(lines: readonly Pick<OrderLine, "cancelled">[]): number {
  return lines.reduce((sum, { cancelled = 0 }) => sum + cancelled, 0);
}

/** The lines of goods that a warehouse holds. */
export function stockedLines(lines: readonly OrderLine[]): readonly OrderLine[] {
  // Nearly always all are.
  return lines.every(({ stocked }) => stocked !== false)
    ? lines
    : lines.filter(({ stocked }) => stocked !== false);
}

/** Quantities by SKU over all lines, sorted by SKU, which is the order in which stock is locked. */
export function quantitiesBySku(
  lines: readonly Pick<OrderLine, "sku" | "quantity">[],
): ReadonlyMap<string, number> {
  const quantities = new Map<string, number>();
  for (const line of lines) quantities.set(line.sku, (quantities.get(line.sku) ?? 0) + line.quantity);
  return new Map([...quantities].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
