import type { OrderLine } from "./order.ts";

/**
 * The outside services as stages see them. Every call with an effect carries an idempotency key: repeating it
 * has no further effect and returns the first answer. If a service does not answer or can't do its work now,
 * the port throws {@link ServiceUnavailableError} and the call is repeated later; whether the lost call took
 * effect is unknown. A port backed by MySQL waits for it `offTheClock`, since MySQL
 * has its own time limit.
 */
export interface Ports {
  readonly inventory: Inventory;
  readonly payments: Payments;
  readonly carrier: Carrier;
}

/** An outside service did not answer in time or reported that it is unavailable. The order is not to blame. */
export class ServiceUnavailableError extends Error {
  override name = "ServiceUnavailableError";
  readonly service: keyof Ports;
  constructor(service: keyof Ports, message: string, options?: ErrorOptions) {
    super(message, options);
    this.service = service;
  }
}

/** Common to all outside services. */
export interface Service {
  /** Health check without side effects; resolves if the service is up. @throws {ServiceUnavailableError} */
  ping(signal: AbortSignal): Promise<void>;
}

/** The warehouse. Operations are keyed by order, since an order has one reservation. */
export interface Inventory extends Service {
  /** Reserves stock for all lines, or for none. */
  reserve(request: StockRequest): Promise<Reservation>;
  /** Takes the reserved stock out of the warehouse. */
  ship(request: StockRequest): Promise<void>;
  /**
   * Releases the order's reservation, if it has one. A reservation for this order that arrives later, from a
   * worker presumed dead, is refused.
   */
  release(request: StockRequest): Promise<void>;
}

export interface StockRequest {
  readonly orderId: string;
  readonly lines: readonly OrderLine[];
  readonly signal: AbortSignal;
}

export type Reservation =
  | { readonly ok: true }
  | { readonly ok: false; /** SKUs without enough stock. */ readonly soldOut: readonly string[] };

/** The payment provider. Amounts are in minor units. */
export interface Payments extends Service {
  charge(request: {
    key: string;
    orderId: string;
    amount: number;
    currency: string;
    /** Null if the customer pays by account. */
    token: string | null;
    signal: AbortSignal;
  }): Promise<Charge>;
  /**
   * Refunds the charge made under `chargeKey`. Without such a charge it returns undefined, and makes sure that
   * no charge under that key succeeds later.
   */
  refund(request: {
    key: string;
    chargeKey: string;
    orderId: string;
    signal: AbortSignal;
  }): Promise<{ readonly refundId: string } | undefined>;
}

export type Charge =
  | { readonly approved: true; readonly chargeId: string }
  | { readonly approved: false; readonly reason: string };

export interface Carrier extends Service {
  /** Books a parcel and prints its label. */
  createLabel(request: { key: string; orderId: string; signal: AbortSignal }): Promise<Label>;
  /** Cancels the label made under `labelKey`, or makes sure that none is made under it later. */
  voidLabel(request: { key: string; labelKey: string; orderId: string; signal: AbortSignal }): Promise<void>;
  /** Returns the parcel's state. */
  track(request: { trackingNumber: string; signal: AbortSignal }): Promise<Tracking>;
}

export interface Label {
  readonly trackingNumber: string;
}

export type Tracking =
  | { readonly delivered: true; readonly at: Date }
  | {
      readonly delivered: false;
      /** Milliseconds to wait before asking again. */ readonly askAgainIn: number;
    };
