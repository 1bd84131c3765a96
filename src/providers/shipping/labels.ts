import type { StockChange } from "../../../db/shipments.ts";
import { stockedLines, type Order } from "../../order/order.ts";
import { fromStock, hasSamePieces, linesOf } from "../../order/pieces.ts";
import {
  AlreadyUndoneError,
  NotNowError,
  RequestRefusedError,
  type AnnouncedParcel,
  type CarrierProvider,
  type CarrierRequest,
  type Inventory,
  type NamedParcel,
  type OrderParcelsRequest,
  type Voided,
} from "../../order/ports.ts";
import {
  hasLeft,
  isWanted,
  shipmentReference,
  type Label,
  type Sender,
  type Shipment,
} from "../../order/shipment.ts";
import { redactor } from "../../platform/redact.ts";
import { offTheClock } from "../../platform/time-limit.ts";
import type { Books } from "./books.ts";
import { chooseRate, type ServiceChoice } from "./services.ts";

/** How soon a stage looks anew at what somebody else has changed meanwhile. Milliseconds. */
const AT_ONCE_MS = 100;
/** Shorter values are no secrets, and would redact parts of unrelated words. */
const SHORTEST_SECRET = 4;

export interface LabelsOptions {
  readonly provider: CarrierProvider;
  readonly inventory: Inventory;
  readonly books: Books;
  readonly from?: Sender | undefined;
  /** How a service is chosen, if the warehouse asks for none. */
  readonly service?: ServiceChoice | undefined;
}

/** A parcel that its carrier knows. */
export interface Announced {
  readonly carrierId: string;
  /** The service to buy. */
  readonly service: string | null;
  /** The label, if it was bought by an attempt whose answer was lost. */
  readonly label: Label | null;
}

/**
 * Buys labels and gives them back. The carrier's id of a shipment is written down before its label is bought, and looked up
 * before it is bought again, so that nothing is bought twice, whatever answer is lost.
 */
export class Labels {
  readonly #provider: CarrierProvider;
  readonly #inventory: Inventory;
  readonly #books: Books;
  readonly #from: Sender | null;
  readonly #choice: ServiceChoice;

  constructor(given: LabelsOptions) {
    this.#from = given.from ?? null;
    this.#choice = given.service ?? "cheapest";
    this.#provider = given.provider;
    this.#inventory = given.inventory;
    this.#books = given.books;
  }

  /**
   * Makes a parcel known to the carrier, and chooses its service. Costs nothing.
   *
   * @param isNew whether the shipment is not written down yet
   * @throws {AlreadyUndoneError} {UndeliverableError} {RequestRefusedError}
   */
  async announce(
    { order, attempt, signal }: OrderParcelsRequest,
    shipment: Shipment,
    isNew: boolean,
  ): Promise<Announced> {
    const provider = this.#provider;
    const other = otherCarrier(provider, shipment);
    if (other !== undefined) throw new RequestRefusedError(other);
    const request = this.#requestOf(order, shipment, signal);
    const { orderId, reference } = request;
    const find = (carrierId: string | null) =>
      provider.find({ orderId, reference, carrierId, to: order.shipTo, signal });
    const isKnown = !provider.keepsKeys && (shipment.carrierId !== null || attempt > 1);
    const found = isKnown ? await find(shipment.carrierId) : undefined;
    if (found === undefined && shipment.carrierId !== null)
      throw new RequestRefusedError(`the carrier no longer knows parcel ${shipment.number}`);
    const announced = found ?? (await provider.create(request));
    const chosen = this.#chosen(shipment, announced);
    if (provider.keepsKeys || shipment.carrierId !== null) return chosen;
    const { carrierId } = announced;
    const known = isNew ? await offTheClock(signal, () => this.#books.open(shipment)) : shipment;
    const isUnknown = known.state === "PLANNED" && known.carrierId === null && hasSamePieces(known, shipment);
    const change = { change: { carrierId }, shipTo: order.shipTo, unlessCancelled: order.lines };
    const changed = isUnknown && (await offTheClock(signal, () => this.#books.change(known, change)));
    const stored = changed ? changed.shipment : known;
    if (changed === undefined || stored.state === "VOIDED") throw calledOff(shipment);
    // The warehouse has planned other pieces under this number, or the order goes elsewhere now, or has fewer pieces.
    if (stored.carrierId === null)
      throw new NotNowError(`parcel ${shipment.number} was changed meanwhile`, AT_ONCE_MS);
    if (stored.carrierId === carrierId) return chosen;
    // Another worker has announced it first: its shipment is the one to buy.
    const first = await find(stored.carrierId);
    if (first === undefined)
      throw new RequestRefusedError(`the carrier no longer knows parcel ${shipment.number}`);
    return this.#chosen(shipment, first);
  }

  /** Buys the label of an announced parcel. */
  async buy(
    { order, signal }: OrderParcelsRequest,
    shipment: Shipment,
    { carrierId, service, label }: Announced,
  ): Promise<Label> {
    if (label !== null) return label;
    return this.#provider.buy({ ...this.#requestOf(order, shipment, signal), carrierId, service });
  }

  /**
   * Buys a label and writes it down, with the goods that leave the stock.
   *
   * @param others the order's other shipments
   * @throws {AlreadyUndoneError} {RequestRefusedError} if the goods are sold out: before the label is bought, but for those of an
   * inventory that tells only when they are moved
   */
  async book(
    request: OrderParcelsRequest,
    shipment: Shipment,
    announced: Announced,
    others: readonly Shipment[],
  ): Promise<Shipment> {
    const { order, signal } = request;
    await this.#mustBeInStock(request, shipment, others);
    const label = await this.buy(request, shipment, announced);
    const known = await offTheClock(signal, () => this.#books.list(order));
    const now = known.find(({ number }) => number === shipment.number);
    if (now === undefined) throw calledOff(shipment);
    const stock = now.state === "PLANNED" ? await this.#move("ship", shipment, { order, signal }) : undefined;
    const change = { ...label, state: "BOOKED" as const, reason: null };
    const result =
      now.state === "PLANNED"
        ? await offTheClock(signal, () => this.#books.change(now, { change, stock }))
        : undefined;
    if (result?.soldOut) throw soldOut(shipment, result.soldOut);
    // Or another worker was faster.
    const current = result?.shipment ?? now;
    if (current.state !== "VOIDED") return current;
    // Whoever called it off may have asked the carrier before there was a label.
    await this.takeBack(current, signal, label);
    throw calledOff(shipment);
  }

  /**
   * Writes down why a parcel can't be booked as it is planned, for an operator. An order that nobody has planned a parcel for is
   * left as it is: such orders may be many, and are resumed together once the reason is mended.
   *
   * @returns the shipment as it is then @throws the refusal if nothing of the order is written down
   */
  async refuse(
    { order, signal }: Pick<OrderParcelsRequest, "order" | "signal">,
    shipment: Shipment,
    refusal: RequestRefusedError,
  ): Promise<Shipment> {
    const known = await offTheClock(signal, () => this.#books.list(order));
    if (known.length === 0) throw refusal;
    const now =
      known.find(({ number }) => number === shipment.number) ??
      (await offTheClock(signal, () => this.#books.open(shipment)));
    if (!isWanted(now) || !hasSamePieces(now, shipment)) return now;
    const update = {
      change: { bookRequestedAt: null, reason: withoutPersonalData(refusal.message, order) },
      type: "shipment.booking_refused" as const,
      unlessAsked: true as const,
    };
    return (await offTheClock(signal, () => this.#books.change(now, update)))?.shipment ?? now;
  }

  /**
   * Gives a label back, and writes down what has come of that.
   *
   * @returns the shipment as it is then. @throws {NotNowError} if fewer pieces are to be shipped since
   */
  async void(order: Order, shipment: Shipment, signal: AbortSignal): Promise<Shipment> {
    const isAnnounced =
      shipment.carrierId !== null || shipment.state !== "PLANNED" || this.#provider.keepsKeys;
    const answer = isAnnounced ? await this.#answer(shipment, signal) : { outcome: "voided" as const };
    const changed = await (async () => {
      switch (answer.outcome) {
        case "voided": {
          const stock = hasLeft(shipment)
            ? await this.#move("take-back", shipment, { order, signal })
            : undefined;
          const change = { state: "VOIDED" as const, voiding: null, reason: null };
          return offTheClock(signal, () => this.#books.change(shipment, { change, stock }));
        }
        case "pending":
          return offTheClock(signal, () =>
            this.#books.change(shipment, { change: { voiding: "pending" }, heard: true }),
          );
        case "refused": {
          const change = { voiding: "refused" as const, reason: answer.reason };
          const type = shipment.voiding === "refused" ? undefined : ("shipment.void_refused" as const);
          return offTheClock(signal, () => this.#books.change(shipment, { change, type }));
        }
      }
    })();
    // The order is to be read anew.
    if (changed?.keepsRefunded)
      throw new NotNowError(`parcel ${shipment.number} had refunded pieces`, AT_ONCE_MS);
    return changed?.shipment ?? shipment;
  }

  async #answer(shipment: Shipment, signal: AbortSignal): Promise<Voided> {
    // No carrier takes that back, and the customer has the goods.
    if (shipment.state === "DELIVERED") return { outcome: "refused", reason: "it was delivered" };
    const other = otherCarrier(this.#provider, shipment);
    return other === undefined ? this.giveBack(shipment, signal) : { outcome: "refused", reason: other };
  }

  /** Gives a label back at the carrier. */
  giveBack(shipment: Shipment, signal: AbortSignal): Promise<Voided> {
    return this.#provider.void({ ...named(shipment), signal });
  }

  /** Gives the label of a voided shipment back, if there is one after all. See {@link takeBack}. */
  takeBack(voided: Shipment, signal: AbortSignal, label?: Label): Promise<Shipment> {
    return takeBack({ provider: this.#provider, books: this.#books }, voided, signal, label);
  }

  /** Pieces that are sent once more are none of those that the order has reserved. */
  async #mustBeInStock(
    { order, signal }: OrderParcelsRequest,
    shipment: Shipment,
    others: readonly Shipment[],
  ): Promise<void> {
    const pieces = stockedLines(linesOf(order.lines, shipment.lines));
    const { again: lines } = fromStock(order.lines, pieces, others);
    const lacking = lines.length > 0 ? await this.#inventory.lacking?.({ lines, signal }) : undefined;
    if (lacking && lacking.length > 0) throw soldOut(shipment, lacking);
  }

  #chosen(
    { service }: Shipment,
    { carrierId, rates, label = null }: AnnouncedParcel & { label?: Label | null },
  ): Announced {
    if (label !== null || rates === null) return { carrierId, service, label };
    const choice = service === null ? this.#choice : [service];
    return { carrierId, service: chooseRate(rates, choice).service, label };
  }

  #requestOf(order: Order, shipment: Shipment, signal: AbortSignal): CarrierRequest {
    return {
      orderId: order.id,
      reference: shipmentReference(shipment),
      from: this.#from,
      to: order.shipTo,
      phone: order.customer?.phone ?? null,
      parcel: shipment.parcel,
      items: linesOf(order.lines, shipment.lines),
      currency: order.currency,
      signal,
    };
  }

  /** Moves a parcel's goods, if the stock is kept elsewhere. @returns how they move with the shipment's state, if it is not. */
  async #move(
    operation: "ship" | "take-back",
    shipment: Shipment,
    { order, signal }: { readonly order: Order; readonly signal: AbortSignal },
  ): Promise<StockChange | undefined> {
    const pieces = stockedLines(linesOf(order.lines, shipment.lines));
    if (pieces.length === 0) return undefined;
    const reference = shipmentReference(shipment);
    const key = operation === "ship" ? reference : `${reference}:${operation}`;
    const moved = await this.#inventory.move(operation, { key, orderId: order.id, lines: pieces, signal });
    if (moved === "at commit")
      return { direction: operation === "ship" ? "out" : "back", pieces, lines: order.lines };
    if (moved !== "moved") throw soldOut(shipment, [moved.reject]);
    return undefined;
  }
}

/**
 * Gives the label of a voided shipment back, if there is one after all: bought by a worker presumed dead, or by an attempt that was
 * given up, of which the carrier did not know yet when the shipment was called off.
 *
 * @param label as whoever has bought it knows it
 * @returns the shipment as it is then; `voiding` is "refused" if the carrier does not take the label back
 */
export async function takeBack(
  { provider, books }: { readonly provider: Pick<CarrierProvider, "name" | "void">; readonly books: Books },
  voided: Shipment,
  signal: AbortSignal,
  label?: Label,
): Promise<Shipment> {
  // What it was planned with, the carrier in use does not know.
  if (otherCarrier(provider, voided) !== undefined) return voided;
  const known = named(voided);
  const trackingNumber = label?.trackingNumber ?? known.trackingNumber;
  const answer = await provider.void({ ...known, trackingNumber, signal });
  const isNews = answer.outcome === "refused" && voided.voiding !== "refused";
  const update = {
    change: answer.outcome === "refused" ? { voiding: "refused" as const, reason: answer.reason } : {},
    heard: true as const,
    ...(isNews && { type: "shipment.void_refused" as const }),
  };
  return (await offTheClock(signal, () => books.change(voided, update)))?.shipment ?? voided;
}

/** How a carrier knows a shipment. */
export function named(shipment: Shipment): Omit<NamedParcel, "signal"> {
  const { orderId, carrierId, trackingNumber } = shipment;
  return { orderId, reference: shipmentReference(shipment), carrierId, trackingNumber };
}

function calledOff({ orderId, number }: Shipment): AlreadyUndoneError {
  return new AlreadyUndoneError(`parcel ${number} of order ${orderId} was called off`);
}

function soldOut({ number }: Shipment, what: readonly string[]): RequestRefusedError {
  return new RequestRefusedError(`parcel ${number}: sold out: ${what.join(", ")}`);
}

/** Why the carrier in use can do nothing for a parcel of another one; undefined for its own. */
function otherCarrier({ name }: Pick<CarrierProvider, "name">, { number, carrier }: Shipment) {
  return carrier === name
    ? undefined
    : `parcel ${number} is one of ${carrier}, and the carrier is ${name} now`;
}

function withoutPersonalData(text: string, { shipTo, customer }: Order): string {
  const values: unknown[] = Object.values({ ...customer, ...shipTo });
  const secrets = values.filter((each): each is string => typeof each === "string");
  return redactor(secrets.filter(({ length }) => length >= SHORTEST_SECRET))(text);
}
