import type { StockChange } from "../../../db/shipments.ts";
import { stockedLines, type Order } from "../../order/order.ts";
import { fromStock, linesOf } from "../../order/pieces.ts";
import {
  AlreadyUndoneError,
  RequestRefusedError,
  type CarrierProvider,
  type CarrierRequest,
  type Inventory,
  type NamedParcel,
  type OrderParcelsRequest,
  type Voided,
} from "../../order/ports.ts";
import { hasLeft, shipmentReference, type Label, type Shipment } from "../../order/shipment.ts";
import { offTheClock } from "../../platform/time-limit.ts";
import type { Books } from "./books.ts";

/**
 * Buys labels and gives them back. The carrier's id of a shipment is written down before its label is bought, and looked up
 * before it is bought again, so that nothing is bought twice, whatever answer is lost.
 */
export class Labels {
  readonly #provider: CarrierProvider;
  readonly #inventory: Inventory;
  readonly #books: Books;

  constructor(given: {
    readonly provider: CarrierProvider;
    readonly inventory: Inventory;
    readonly books: Books;
  }) {
    this.#provider = given.provider;
    this.#inventory = given.inventory;
    this.#books = given.books;
  }

  /** Buys a label. @param isNew whether the shipment is not written down yet. @throws {AlreadyUndoneError} */
  async buy(
    { order, attempt, signal }: OrderParcelsRequest,
    shipment: Shipment,
    isNew: boolean,
  ): Promise<Label> {
    const provider = this.#provider;
    mustBeOf(provider, shipment);
    const request = requestOf(order, shipment, signal);
    if (provider.keepsKeys) return provider.buy({ ...request, carrierId: request.reference });
    let { carrierId } = shipment;
    if (carrierId === null) {
      const { orderId, reference } = request;
      const found =
        attempt > 1 ? await provider.find({ orderId, reference, carrierId: null, signal }) : undefined;
      const announced = found?.carrierId ?? (await provider.create(request)).carrierId;
      const stored = await offTheClock(signal, async () =>
        isNew
          ? this.#books.open({ ...shipment, carrierId: announced })
          : (await this.#books.change(shipment, { change: { carrierId: announced } }))?.shipment,
      );
      if (stored === undefined || stored.state === "VOIDED") throw calledOff(shipment);
      // Another worker may have announced it first: then its shipment is the one to buy.
      carrierId = stored.carrierId ?? announced;
    }
    return provider.buy({ ...request, carrierId });
  }

  /** Buys a label and writes it down, with the goods that leave the stock. @throws {AlreadyUndoneError} */
  async book(request: OrderParcelsRequest, shipment: Shipment): Promise<Shipment> {
    const { order, signal } = request;
    const label = await this.buy(request, shipment, false);
    const known = await offTheClock(signal, () => this.#books.list(order));
    const now = known.find(({ number }) => number === shipment.number);
    if (now === undefined || now.state === "VOIDED") throw calledOff(shipment);
    // Another worker was faster.
    if (now.state !== "PLANNED") return now;
    const lines = stockedLines(linesOf(order.lines, shipment.lines));
    const { reserved, again } = fromStock(order.lines, lines, known);
    const stock = await this.#move("ship", shipment, { order, signal }, [
      { operation: "dispatch", lines: reserved },
      { operation: "sendAgain", lines: again },
    ]);
    const change = { ...label, state: "BOOKED" as const, reason: null };
    const result = await offTheClock(signal, () => this.#books.change(now, { change, stock }));
    if (result?.soldOut) throw soldOut(shipment, result.soldOut);
    if (result === undefined || result.shipment.state === "VOIDED") throw calledOff(shipment);
    return result.shipment;
  }

  /** Gives a label back, and writes down what has come of that. @returns the shipment as it is then */
  async void(order: Order, shipment: Shipment, signal: AbortSignal): Promise<Shipment> {
    const isAnnounced =
      shipment.carrierId !== null || shipment.state !== "PLANNED" || this.#provider.keepsKeys;
    const answer = isAnnounced ? await this.giveBack(shipment, signal) : { outcome: "voided" as const };
    const changed = await (async () => {
      switch (answer.outcome) {
        case "voided": {
          const lines = stockedLines(linesOf(order.lines, shipment.lines));
          const stock = hasLeft(shipment)
            ? await this.#move("take-back", shipment, { order, signal }, [{ operation: "takeBack", lines }])
            : [];
          const change = { state: "VOIDED" as const, voiding: null };
          return offTheClock(signal, () => this.#books.change(shipment, { change, stock }));
        }
        case "pending":
          return offTheClock(signal, () => this.#books.change(shipment, { change: { voiding: "pending" } }));
        case "refused": {
          const change = { voiding: "refused" as const, reason: answer.reason };
          const type = shipment.voiding === "refused" ? undefined : ("shipment.void_refused" as const);
          return offTheClock(signal, () => this.#books.change(shipment, { change, type }));
        }
      }
    })();
    return changed?.shipment ?? shipment;
  }

  /** Gives a label back at the carrier. */
  giveBack(shipment: Shipment, signal: AbortSignal): Promise<Voided> {
    mustBeOf(this.#provider, shipment);
    return this.#provider.void({ ...named(shipment), signal });
  }

  /** Moves a parcel's goods, if the stock is kept elsewhere. @returns how they move with the shipment's state, if it is not. */
  async #move(
    operation: "ship" | "take-back",
    shipment: Shipment,
    { order, signal }: { readonly order: Order; readonly signal: AbortSignal },
    moves: readonly StockChange[],
  ): Promise<readonly StockChange[]> {
    const lines = stockedLines(linesOf(order.lines, shipment.lines));
    if (lines.length === 0) return [];
    const reference = shipmentReference(shipment);
    const key = operation === "ship" ? reference : `${reference}:${operation}`;
    const moved = await this.#inventory.move(operation, { key, orderId: order.id, lines, signal });
    if (moved === "at commit") return moves;
    if (moved !== "moved") throw soldOut(shipment, [moved.reject]);
    return [];
  }
}

/** How a carrier knows a shipment. */
export function named(shipment: Shipment): Omit<NamedParcel, "signal"> {
  const { orderId, carrierId, trackingNumber } = shipment;
  return { orderId, reference: shipmentReference(shipment), carrierId, trackingNumber };
}

function requestOf(order: Order, shipment: Shipment, signal: AbortSignal): CarrierRequest {
  return {
    orderId: order.id,
    reference: shipmentReference(shipment),
    to: order.shipTo,
    parcel: shipment.parcel,
    items: linesOf(order.lines, shipment.lines),
    currency: order.currency,
    service: shipment.service,
    signal,
  };
}

function calledOff({ orderId, number }: Shipment): AlreadyUndoneError {
  return new AlreadyUndoneError(`parcel ${number} of order ${orderId} was called off`);
}

function soldOut({ number }: Shipment, what: readonly string[]): RequestRefusedError {
  return new RequestRefusedError(`parcel ${number}: sold out: ${what.join(", ")}`);
}

/** @throws {RequestRefusedError} for a parcel of another carrier than the one in use. */
function mustBeOf({ name }: CarrierProvider, { number, carrier }: Shipment): void {
  if (carrier !== name)
    throw new RequestRefusedError(`parcel ${number} was booked with ${carrier}, and the carrier is ${name}`);
}
