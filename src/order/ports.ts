import type { OrderLine, StageRecord, WaitSoFar } from "./order.ts";

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
  readonly httpStages: HttpStages;
}

/** An outside service: one behind a port, or the service of an HTTP stage. */
export type ServiceName = "inventory" | "payments" | "carrier" | `stage ${string}`;

/** The service of an HTTP stage. */
export function serviceOfStage(stage: string): ServiceName {
  return `stage ${stage}`;
}

/** Pings an outside service. See {@link Service.ping}. */
export function pingService(ports: Ports, service: ServiceName, signal: AbortSignal): Promise<void> {
  switch (service) {
    case "inventory":
    case "payments":
    case "carrier":
      return ports[service].ping(signal);
    default:
      return ports.httpStages.ping(service.slice(serviceOfStage("").length), signal);
  }
}

/** An outside service did not answer in time or reported that it is unavailable. The order is not to blame. */
export class ServiceUnavailableError extends Error {
  override name = "ServiceUnavailableError";
  readonly service: ServiceName;
  constructor(service: ServiceName, message: string, options?: ErrorOptions) {
    super(message, options);
    this.service = service;
  }
}

/**
 * An outside service answers, but not as one that is set up right: a wrong address, a wrong secret. Every order would
 * fare the same until somebody mends it.
 */
export class ServiceMisconfiguredError extends ServiceUnavailableError {
  override name = "ServiceMisconfiguredError";
}

/** An outside service asks to be called again later. No attempt is used up. */
export class NotNowError extends Error {
  override name = "NotNowError";
  /** Milliseconds. */
  readonly waitMs: number;
  constructor(message: string, waitMs: number) {
    super(message);
    this.waitMs = waitMs;
  }
}

/** An outside service can make nothing of the request for this order: a person has to look at it. Never retried. */
export class RequestRefusedError extends Error {
  override name = "RequestRefusedError";
}

/** The call came after its undo, and had no effect. */
export class AlreadyUndoneError extends Error {
  override name = "AlreadyUndoneError";
}

/** Common to all outside services. */
export interface Service {
  /** Health check without side effects; resolves if the service is up. @throws {ServiceUnavailableError} */
  ping(signal: AbortSignal): Promise<void>;
}

/** Reserves stock for all of an order's lines or for none, or takes its reserved stock out of the warehouse. */
export type StockOperation = "reserve" | "ship";

/** The warehouse. An order has one reservation. */
export interface Inventory extends Service {
  /**
   * Moves an order's stock. Only `reserve` can find it sold out.
   *
   * @returns "at commit" if the stock is in the orders' database: it moves in the transaction that changes the order's
   * status, which tells what is sold out.
   * @throws {AlreadyUndoneError} if the order's stock was released before
   */
  move(
    operation: StockOperation,
    request: StockRequest,
  ): Promise<"at commit" | "moved" | { readonly reject: string }>;
  /**
   * Releases the order's reservation, if it has one. A reservation for this order that arrives later, from a
   * worker presumed dead, is refused.
   */
  release(request: StockRequest): Promise<void>;
}

export interface StockRequest {
  readonly key: string;
  readonly orderId: string;
  readonly lines: readonly OrderLine[];
  readonly signal: AbortSignal;
}

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
  track(request: {
    key: string;
    orderId: string;
    trackingNumber: string;
    signal: AbortSignal;
  }): Promise<Tracking>;
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

/** The services of HTTP stages, which may be written in any language: docs/http-stages.md. */
export interface HttpStages {
  /**
   * Has a stage's service run or undo the stage for an order.
   *
   * @throws {AlreadyUndoneError} for a run that comes after its undo; {@link NotNowError}, {@link RequestRefusedError},
   * {@link ServiceUnavailableError} and {@link ServiceMisconfiguredError}
   */
  call(request: StageRequest): Promise<StageAnswer>;
  /** Like {@link Service.ping}, for a stage's service. */
  ping(stage: string, signal: AbortSignal): Promise<void>;
}

/** A request to the service of an HTTP stage. */
export interface StageRequest {
  readonly orderId: string;
  readonly stage: string;
  readonly operation: "run" | "undo";
  /** The idempotency key. */
  readonly key: string;
  /** Counts from 1. */
  readonly attempt: number;
  /** By when the stage must be done; null if there is no such time. */
  readonly deadline: Date | null;
  /** What the stage has waited for so far; null if it has not. */
  readonly waited: WaitSoFar | null;
  /** The order's id, and the fields that the stage asks for. */
  readonly order: Readonly<Record<string, unknown>>;
  /** The records of earlier stages. */
  readonly records: Readonly<Record<string, StageRecord>>;
  /** Redacted from errors and reasons, in case the answer repeats it. */
  readonly secret: string | null;
  readonly signal: AbortSignal;
}

/** A result as the service sends it, at once or by callback: docs/http-stages.md. */
export type SentResult =
  | { readonly done: StageRecord }
  | { readonly reject: string }
  | { readonly snooze: number }
  | { readonly wait: { readonly for: string; /** ISO 8601. */ readonly until: string } };

/** The answer of a stage's service. To `undo` it is always `done`. */
export type StageAnswer =
  | { readonly done: StageRecord }
  | { readonly reject: string }
  | { /** Milliseconds. */ readonly snooze: number }
  | { readonly wait: { readonly for: string; readonly until: Date } };
