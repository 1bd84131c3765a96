import { LIMITS } from "./limits.ts";
import type { Address, Metadata, Order, OrderLine, StageRecord, WaitSoFar } from "./order.ts";
import type { Dispute, PaymentAction, PaymentChange } from "./payment.ts";
import type { Label, ParcelRequest, Rate, Shipment, ShipmentChange, Tracking } from "./shipment.ts";

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

/** The outside services themselves: what stands behind the ports of stages. */
export interface Providers extends Omit<Ports, "payments" | "carrier"> {
  readonly payments: PaymentProvider;
  readonly carrier: CarrierProvider;
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

/**
 * An outside service answered with a server error. Whether the call took effect is unknown, and the service may give the
 * same answer under the same key again: look up what has become of it, and take a new key.
 */
export class ServiceFailedError extends ServiceUnavailableError {}

/** An outside service asks to be called again later. No attempt is used up. */
export class NotNowError extends Error {
  override name = "NotNowError";
  readonly waitMs: number;
  /** @param waitMs milliseconds, at most a year. @throws {RangeError} */
  constructor(message: string, waitMs: number) {
    super(message);
    if (!(waitMs >= 0 && waitMs <= LIMITS.snoozeMs))
      throw new RangeError(`can't be called again after ${waitMs} ms: ${message}`);
    this.waitMs = waitMs;
  }
}

/** An outside service has not decided yet, and tells or is asked again. The order waits for it, also one that is being cancelled. */
export class UndecidedError extends NotNowError {
  override name = "UndecidedError";
  /** Who has to do what, as in `wait({ for })`: `the carrier to decide on the label of parcel 1`. */
  readonly waitsFor: string;
  /** Whether what the stage did stands until then, so that earlier stages are not undone yet. */
  readonly stands: boolean;
  /** @param waitMs milliseconds until it is asked again, at most a year. @throws {RangeError} */
  constructor(waitsFor: string, waitMs: number, { stands = false }: { readonly stands?: boolean } = {}) {
    super(`waits for ${waitsFor}`, waitMs);
    this.waitsFor = waitsFor;
    this.stands = stands;
  }
}

/** An outside service can make nothing of the request for this order: a person has to look at it. Never retried. */
export class RequestRefusedError extends Error {
  override name = "RequestRefusedError";
}

/**
 * What a stage did can't be undone: the parcel is on its way, and the carrier takes no label back. A person has to decide, and
 * earlier stages are not undone before. Never retried.
 */
export class UndoRefusedError extends RequestRefusedError {}

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
  /** Whether the stock is in the orders' database, where refunds put pieces back. A service elsewhere is not told of them. */
  readonly inDatabase?: true;
  /**
   * Moves an order's stock. Nearly always `reserve` alone can find it sold out: `ship` only with pieces that are sent again.
   *
   * @returns "at commit" if the stock is in the orders' database: it moves in the transaction that changes the order's
   * status, which tells what is sold out.
   * @throws {AlreadyUndoneError} if the order's stock was released before
   */
  move(
    operation: StockOperation | "take-back",
    request: StockRequest,
  ): Promise<"at commit" | "moved" | { readonly reject: string }>;
  /**
   * Of which SKUs more pieces are wanted than are left, beside those that are reserved. Absent if only moving them tells: then
   * `move` says so.
   */
  lacking?(request: Pick<StockRequest, "lines" | "signal">): Promise<readonly string[]>;
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

/**
 * Payments as stages see them: written down before the provider is asked, and looked up after a lost answer, so that a
 * provider that has forgotten an idempotency key charges nobody twice. Amounts are in minor units.
 */
export interface Payments extends Service {
  /**
   * Pays an order, or goes on with its payment.
   *
   * @returns the payment. AUTHORIZED or CAPTURED is yet to be written, with the order's status; anything else is written.
   * @throws {AlreadyUndoneError}
   */
  pay(request: OrderPaymentRequest): Promise<PaymentChange>;
  /**
   * Takes what is authorized, less what was refunded since. An authorization that has run out is renewed first.
   *
   * @returns "captured" also if nothing is to be taken; what it waits for if it can't be renewed without somebody's doing.
   * @throws {AlreadyUndoneError}
   */
  capture(request: OrderPaymentRequest): Promise<CaptureOutcome>;
  /**
   * Makes sure that the order's payment takes no money, or pays it back. A `pay` that arrives later, from a worker presumed
   * dead, is refused.
   */
  undo(request: OrderPaymentRequest): Promise<{ readonly refundId?: string }>;
}

export type CaptureOutcome =
  "captured" | { /** One line, without personal data. */ readonly waitsFor: string };

export interface OrderPaymentRequest {
  readonly order: Order;
  /** The number of the attempt at the step, from 1. */
  readonly attempt: number;
  readonly signal: AbortSignal;
}

/**
 * A payment provider, as Stripe, Adyen, Mollie and PayPal are. Keys make a repeated request harmless only for as long as
 * the provider keeps them; {@link find} is what tells the truth. Amounts are in minor units.
 *
 * Beside the errors of all services, its calls throw {@link ServiceFailedError} for an answer that may stay under the key.
 */
export interface PaymentProvider extends Service {
  /** As it is written down with each payment: `stripe`. */
  readonly name: string;
  /**
   * Whether it keeps keys for ever, so that repeating a request can never charge twice. Then a payment is written down
   * with the order's status, and not before the provider is asked.
   */
  readonly keepsKeys?: true;
  /** Why it can't move this amount, in minor units; undefined if it can. Absent if it can move any. */
  faultOfAmount?(amount: number, currency: string, what: "payment" | "refund"): string | undefined;
  /**
   * Authorizes a payment, or captures it at once.
   *
   * @param request `remember` writes down the provider's id; a provider that can should call it before any money moves.
   */
  authorize(request: ProviderPaymentRequest): Promise<ProviderPayment>;
  /** Takes this much of what is authorized, and releases the rest. */
  capture(request: KnownPayment & { readonly key: string }): Promise<ProviderPayment>;
  /** Makes sure that no money is taken. @returns "captured" if it is too late; "pending" if it can't be cancelled yet. */
  cancel(request: NamedPayment & { readonly key: string }): Promise<ProviderPayment>;
  /** The payment as it stands; undefined if there is none. */
  find(request: NamedPayment): Promise<ProviderPayment | undefined>;
  /** Pays back. `reference` is our own name for the refund. */
  refund(request: ProviderRefundRequest): Promise<ProviderRefund>;
  /** The refund as it stands; undefined if there is none. */
  findRefund(
    request: Omit<ProviderRefundRequest, "key" | "amount"> & { readonly refundId: string | null },
  ): Promise<ProviderRefund | undefined>;
  /** How a payment is disputed, as it stands; undefined if it is not. Absent if the provider tells of no disputes. */
  disputeOf?(request: {
    readonly id: string;
    readonly currency: string;
    readonly signal: AbortSignal;
  }): Promise<Dispute | undefined>;
  /**
   * Checks a webhook's signature over its raw bytes, and reads which payment it is about. Absent if the provider has none.
   *
   * @throws {InvalidWebhookError}
   */
  parseWebhook?(body: Buffer, headers: Readonly<Record<string, string | undefined>>): Promise<WebhookSubject>;
  /**
   * What webhooks told, or should have: refunds that failed, and disputes. Absent if the provider does not list that.
   *
   * @param request `since`: the position up to which it was read; undefined for all that the provider has kept.
   * @returns the new position; the same if nothing has happened.
   */
  webhooksSince?(request: {
    readonly since: number | undefined;
    readonly signal: AbortSignal;
  }): Promise<{ readonly subjects: readonly WebhookSubject[]; readonly until: number | undefined }>;
}

/** A payment by our own name, and by the provider's if it is known. */
export interface NamedPayment {
  readonly orderId: string;
  /** Our own name for it; its idempotency key, too. */
  readonly reference: string;
  readonly id: string | null;
  readonly amount: number;
  readonly currency: string;
  readonly signal: AbortSignal;
}

export interface KnownPayment extends NamedPayment {
  readonly id: string;
}

export interface ProviderPaymentRequest extends NamedPayment {
  readonly key: string;
  /** "later" authorizes it. */
  readonly capture: "at once" | "later";
  /** Null if the client gave none. */
  readonly token: string | null;
  /** In one line, for the customer's statement of account. */
  readonly description: string;
  /** Personal data, as the address: not for logs. */
  readonly customer: { readonly id: string; readonly email?: string | undefined };
  readonly shipTo: Address | null;
  /** What the client has noted; null for nothing. */
  readonly metadata: Metadata | null;
  /** Writes down the provider's id. @throws {AlreadyUndoneError} if the payment was called off meanwhile. */
  readonly remember: (id: string) => Promise<void>;
}

export interface ProviderRefundRequest {
  readonly orderId: string;
  /** The payment to pay back: the provider's id and our own name. */
  readonly payment: { readonly id: string; readonly reference: string };
  /** Our own name for the refund. */
  readonly reference: string;
  readonly key: string;
  readonly amount: number;
  readonly currency: string;
  readonly signal: AbortSignal;
}

/** A payment as its provider has it. */
export type ProviderPayment =
  | { readonly state: "authorized"; readonly id: string; readonly expiresAt?: Date | undefined }
  | { readonly state: "captured"; readonly id: string; readonly amount: number }
  | {
      readonly state: "declined";
      /** For customer service: without a token or a card number. */
      readonly reason: string;
      readonly code?: string | undefined;
      /** How the customer may pay with something else, if that is possible. */
      readonly action?: PaymentAction | undefined;
    }
  /** The customer or a bank has to act; `reason` if the customer has to pay with something else than they meant to. */
  | {
      readonly state: "pending";
      readonly id: string;
      readonly action?: PaymentAction | undefined;
      readonly reason?: string | undefined;
    }
  /** No money was taken or will be; `refundId` if it was, and was paid back. */
  | { readonly state: "cancelled"; readonly refundId?: string | undefined }
  /** The bank was not asked yet. */
  | { readonly state: "created"; readonly id: string };

export type ProviderRefund = { readonly id: string } & (
  { readonly state: "pending" | "succeeded" } | { readonly state: "failed"; readonly reason: string }
);

/** What a webhook is about. */
export interface WebhookSubject {
  /** The provider's id of the payment; undefined if it is about something else. */
  readonly paymentId?: string | undefined;
  readonly orderId?: string | undefined;
  /** Whether a dispute has begun or ended, or gone on. */
  readonly isDispute?: boolean | undefined;
  /** The provider's id of the refund, if it is about one. */
  readonly refundId?: string | undefined;
}

/** A webhook whose signature is missing, wrong or too old, or that makes no sense. */
export class InvalidWebhookError extends Error {
  override name = "InvalidWebhookError";
}

/**
 * The parcels of orders, as stages see them: written down before a label is bought, and looked up after a lost answer, since
 * carriers know no idempotency keys.
 */
export interface Carrier extends Service {
  /** Plans what is to be planned, and buys the labels that are wanted. @throws {AlreadyUndoneError} */
  ship(
    request: OrderParcelsRequest & {
      /** Called before the first label is bought, and not while the warehouse packs. Nothing is bought while it waits. */
      readonly beforeBuying?: () => Promise<ParcelsWait | undefined>;
    },
  ): Promise<Shipped>;
  /** Asks where the parcels are. */
  deliver(request: OrderParcelsRequest): Promise<Delivered>;
  /**
   * Voids all labels, and makes sure that none is bought later.
   *
   * @throws {UndoRefusedError} if the carrier takes one back no more; {@link UndecidedError} while it has not decided
   */
  undo(request: OrderParcelsRequest): Promise<void>;
  /** Whether one of the order's parcels is written down as having a label, or may have one. The carrier is not asked. */
  hasLabels(request: Pick<OrderParcelsRequest, "order" | "signal">): Promise<boolean>;
}

export interface OrderParcelsRequest {
  readonly order: Order;
  /** The number of the attempt at the step, from 1. */
  readonly attempt: number;
  /** What the stage has waited for, if it has. */
  readonly waited?: WaitSoFar | null;
  readonly signal: AbortSignal;
}

/** What shipping an order came to. */
export type Shipped =
  | {
      /** All that needs shipping is in these. */
      readonly shipments: readonly Shipment[];
      /** Of the last one, yet to be written with the order's status. */
      readonly change?: ShipmentChange | undefined;
      /** What leaves the stock with the order's status, and the key of that: earlier parcels have taken theirs. */
      readonly stock: { readonly key: string; readonly lines: readonly OrderLine[] };
    }
  | ParcelsWait;

/** Where an order's parcels are. */
export type Delivered =
  | {
      /** When the last one arrived; null if none did. */
      readonly at: Date | null;
      readonly change?: ShipmentChange | undefined;
    }
  | { readonly snooze: number }
  | ParcelsWait;

/** Somebody has to act: the warehouse, the carrier, or an operator. */
export interface ParcelsWait {
  readonly waitFor: string;
  readonly until: Date;
}

/** A carrier, or an aggregator of carriers, as EasyPost, Shippo, ShipStation and Sendcloud are. */
export interface CarrierProvider extends Service {
  /** As it is written down with each shipment: `easypost`. */
  readonly name: string;
  /**
   * Whether it keeps idempotency keys for ever, so that repeating a request never buys twice. Then a shipment that nobody has
   * planned is written down with the order's status, and not before the label is bought.
   */
  readonly keepsKeys?: true;
  /** Whether it tells of news by webhooks; then it is asked rarely. Otherwise it says when to ask again. */
  readonly tells?: true;
  /**
   * Announces a shipment, which costs nothing.
   *
   * @throws {UndeliverableError} {RequestRefusedError} if there is no service for the parcel
   */
  create(request: CarrierRequest): Promise<AnnouncedParcel>;
  /**
   * Buys the label of an announced shipment. What was bought before is found, and not bought again.
   *
   * @param request `service`: one of the rates' if there are rates, or else what the warehouse asks for
   */
  buy(
    request: CarrierRequest & { readonly carrierId: string; readonly service: string | null },
  ): Promise<Label>;
  /** Gives a label back. Repeating it tells what has become of that. */
  void(request: NamedParcel): Promise<Voided>;
  /** Where the parcel is. */
  track(request: NamedParcel): Promise<Tracking>;
  /**
   * The shipment with the carrier's id, or with our own name, with rates at which it can be bought now; undefined if there is none. `label` is null if none was bought.
   *
   * @param request `to`: one with our own name that was announced for another address before, and not bought, is none
   */
  find(
    request: Pick<NamedParcel, "orderId" | "reference" | "carrierId" | "signal"> & {
      readonly to: Address | null;
    },
  ): Promise<(AnnouncedParcel & { readonly label: Label | null }) | undefined>;
  /**
   * Checks a webhook's signature over its raw bytes, and reads which shipment it is about; undefined if it is about none.
   * Absent if the carrier has none.
   *
   * @throws {InvalidWebhookError}
   */
  parseWebhook?(
    body: Uint8Array,
    headers: Readonly<Record<string, string | undefined>>,
  ): Promise<{ readonly carrierId: string } | undefined>;
}

/** A shipment that a carrier knows. */
export interface AnnouncedParcel {
  /** The carrier's id of it. */
  readonly carrierId: string;
  /** What its services take; null if the carrier does not say before a label is bought. */
  readonly rates: readonly Rate[] | null;
}

export interface CarrierRequest extends ParcelRequest {
  readonly signal: AbortSignal;
}

/** A shipment by our own name, and by the carrier's id and tracking number if they are known. */
export interface NamedParcel {
  readonly orderId: string;
  readonly reference: string;
  readonly carrierId: string | null;
  readonly trackingNumber: string | null;
  readonly signal: AbortSignal;
}

export type Voided =
  | { readonly outcome: "voided" }
  /** The carrier decides later, some take days. */
  | { readonly outcome: "pending" }
  | { readonly outcome: "refused"; readonly reason: string };

/** The carrier can't deliver to the address. A person can mend it; repeating the request can't. */
export class UndeliverableError extends Error {
  override name = "UndeliverableError";
}

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
