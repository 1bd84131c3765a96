import type { OrderLine } from "./order.ts";

/**
 * The outside world as stages see it. Every call that has an effect carries an idempotency key: called again with the
 * same key it has no second effect and gives the first answer. A port whose service does not answer, or cannot do its
 * work at the moment, throws {@link ServiceUnavailableError}, and the call is made again later; whether the lost call
 * took effect is unknown. A port that is served by MySQL waits for it `offTheClock`: MySQL has a time limit of its own.
 */
export interface Ports {
  readonly inventory: Inventory;
  readonly payments: Payments;
  readonly carrier: Carrier;
}

/** An outside service did not answer in time, or said that it cannot at the moment: no fault of the order's. */
export class ServiceUnavailableError extends Error {
  override name = "ServiceUnavailableError";
  readonly service: keyof Ports;
  constructor(service: keyof Ports, message: string, options?: ErrorOptions) {
    super(message, options);
    this.service = service;
  }
}

/** What every outside service can be asked. */
export interface Service {
  /** Whether the service is there at all: has no effect, and resolves when it is. @throws {ServiceUnavailableError} */
  ping(signal: AbortSignal): Promise<void>;
}

/** The warehouse. Its operations are keyed by order: an order has one reservation. */
export interface Inventory extends Service {
  /** Sets aside the pieces of all lines, or of none. */
  reserve(request: StockRequest): Promise<Reservation>;
  /** The reserved pieces have left the house. */
  ship(request: StockRequest): Promise<void>;
  /**
   * Puts back whatever the order holds. With nothing reserved it does nothing now, and a reservation for this order
   * that arrives later, from a worker that was thought dead, is refused.
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
  | { readonly ok: false; /** The SKUs that fall short. */ readonly soldOut: readonly string[] };

/** The payment provider. Amounts are in minor units. */
export interface Payments extends Service {
  charge(request: {
    key: string;
    orderId: string;
    amount: number;
    currency: string;
    /** Absent when the customer pays by account. */
    token: string | null;
    signal: AbortSignal;
  }): Promise<Charge>;
  /**
   * Pays back what was charged under `chargeKey`. With no such charge it pays nothing, gives undefined, and makes sure
   * that no charge under that key succeeds later.
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
  /** Where the parcel is. */
  track(request: { trackingNumber: string; signal: AbortSignal }): Promise<Tracking>;
}

export interface Label {
  readonly trackingNumber: string;
}

export type Tracking =
  | { readonly delivered: true; readonly at: Date }
  | {
      readonly delivered: false;
      /** Milliseconds after which asking again makes sense. */ readonly askAgainIn: number;
    };
