import type { Database } from "../../../db/database.ts";
import { shortened } from "../../../db/reason.ts";
import { newShipment } from "../../../db/shipments.ts";
import { stockedLines, type Order, type OrderLine } from "../../order/order.ts";
import { fromStock, hasArrived, linesOf, notGone, unplanned, withoutCancelled } from "../../order/pieces.ts";
import {
  AlreadyUndoneError,
  RequestRefusedError,
  UndecidedError,
  UndeliverableError,
  UndoRefusedError,
  type Carrier,
  type CarrierProvider,
  type Delivered,
  type Inventory,
  type OrderParcelsRequest,
  type ParcelsWait,
  type Shipped,
} from "../../order/ports.ts";
import {
  hasLeft,
  holdsPieces,
  isBookingRefused,
  isWanted,
  shipmentReference,
  type Label,
  type Sender,
  type Shipment,
} from "../../order/shipment.ts";
import { OPERATOR } from "../../order/stage.ts";
import type { Commit } from "../../platform/group-commit.ts";
import { timestamp } from "../../platform/clock.ts";
import { offTheClock } from "../../platform/time-limit.ts";
import { booksOf, type Books } from "./books.ts";
import { Labels, type Announced } from "./labels.ts";
import type { ServiceChoice } from "./services.ts";
import { isOnItsWay, Tracker } from "./tracker.ts";

/** Who plans and books parcels: Conveyor, one for each order, or the warehouse. */
export type FulfilmentMode = "automatic" | "manual";

/** How soon a carrier that has not decided on a refund is asked again. Milliseconds. */
const UNDECIDED_MS = 4 * 60 * 60_000;

/** What an order waits for that can't be sent to its address. */
const ADDRESS = "an address that can be delivered to";

export interface ShippingDeskOptions {
  readonly provider: CarrierProvider;
  readonly inventory: Inventory;
  readonly database: Database;
  /** Group commit. */
  readonly commit?: Commit | undefined;
  readonly fulfilment?: FulfilmentMode | undefined;
  readonly from?: Sender | undefined;
  /** How a service is chosen, if the warehouse asks for none. */
  readonly service?: ServiceChoice | undefined;
  /** How long a carrier that tells of news by itself is left in peace. Milliseconds. */
  readonly trackingIntervalMs?: number | undefined;
}

/** The parcels of orders, at a carrier: what the stages want of them. */
export class ShippingDesk implements Carrier {
  readonly #provider: CarrierProvider;
  readonly #books: Books;
  readonly #labels: Labels;
  readonly #tracker: Tracker;
  readonly #isAutomatic: boolean;

  constructor(options: ShippingDeskOptions) {
    const { provider, inventory, database, commit, fulfilment, trackingIntervalMs, from, service } = options;
    this.#provider = provider;
    this.#books = booksOf(database, provider.name, commit);
    this.#labels = new Labels({ provider, inventory, books: this.#books, from, service });
    const intervalMs = trackingIntervalMs ?? UNDECIDED_MS;
    this.#tracker = new Tracker({ provider, books: this.#books, intervalMs });
    this.#isAutomatic = fulfilment !== "manual";
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#provider.ping(signal);
  }

  async ship(request: Parameters<Carrier["ship"]>[0]): Promise<Shipped> {
    const { order, signal } = request;
    const waits = stillWaits(request);
    if (waits) return waits;
    const known = await this.#list(order, signal);
    if (known.some(isRefusal))
      throw new AlreadyUndoneError(`the parcels of order ${order.id} were called off`);
    // Parcels that left before the others are on their way already.
    const current = await this.#fit(order, await this.#voidWanted(order, known, signal), signal);
    const { shipments, soonest } = await this.#tracker.follow(order, current, signal);
    const until = this.#tracker.nextLook(shipments, soonest);
    const planned = this.#isAutomatic ? this.#rest(order, shipments) : [];
    let all = [...shipments, ...planned];
    const put = (before: Shipment, now: Shipment) => {
      all = all.map((each) => (each === before ? now : each));
    };
    try {
      // The carrier takes nothing for that. So no money is taken for what it can't deliver, or while it is away.
      const announced = new Map<Shipment, Announced>();
      for (const each of all.filter(isWanted)) {
        const isNew = planned.includes(each);
        const ready = await this.#orRefused(request, each, () => this.#labels.announce(request, each, isNew));
        if ("state" in ready) put(each, ready);
        else announced.set(each, ready);
      }
      const isComplete =
        unplanned(order.lines, all).length === 0 &&
        all.every((each) => !isToBePacked(each) || isWanted(each));
      if (announced.size > 0 || isComplete) {
        const unpaid = await request.beforeBuying?.();
        if (unpaid) return unpaid;
      }
      const [[last, parcel] = []] = announced;
      if (isComplete && announced.size === 1 && last && parcel) {
        const others = all.filter((each) => each !== last);
        const pieces = stockedLines(linesOf(order.lines, last.lines));
        const { again } = fromStock(order.lines, pieces, others);
        // Its goods leave the stock with the order's status, and it is written with it, too.
        if (again.length === 0) {
          const label = await this.#orRefused(request, last, () => this.#labels.buy(request, last, parcel));
          if ("state" in label) return { waitFor: this.#whoShips(order, [...others, label], false), until };
          const change = bookedBy(last, label);
          const stock = { key: shipmentReference(last), lines: notGone(order.lines, others) };
          return { shipments: [...others, change], change, stock };
        }
      }
      for (const each of planned) await offTheClock(signal, () => this.#books.open(each));
      for (const [each, ready] of announced) put(each, await this.#book(request, each, ready, all));
      if (isComplete && !all.some(isToBePacked)) {
        if (planned.length === 0) await this.#giveBackUnwritten(order, known, signal);
        return { shipments: all, stock: { key: `${order.id}:ship:rest`, lines: notGone(order.lines, all) } };
      }
    } catch (error) {
      return waitForAddress(error, until);
    }
    return { waitFor: this.#whoShips(order, all, false), until };
  }

  async deliver(request: OrderParcelsRequest): Promise<Delivered> {
    const { order, signal } = request;
    const waits = stillWaits(request);
    if (waits) return waits;
    let booked = await this.#voidWanted(order, await this.#list(order, signal), signal);
    try {
      for (const wanted of booked.filter(isWanted)) {
        const ready = await this.#orRefused(request, wanted, () =>
          this.#labels.announce(request, wanted, false),
        );
        const now = "state" in ready ? ready : await this.#book(request, wanted, ready, booked);
        booked = booked.map((each) => (each === wanted ? now : each));
      }
    } catch (error) {
      return waitForAddress(error, this.#tracker.nextLook(booked, []));
    }
    const { shipments, soonest, arrivedAt, last } = await this.#tracker.follow(order, booked, signal);
    if (last !== undefined) return { at: arrivedAt, change: last };
    if (hasArrived(order.lines, shipments)) return { at: arrivedAt };
    const until = this.#tracker.nextLook(shipments, soonest);
    if (unplanned(order.lines, shipments).length > 0 || shipments.some(isToBePacked))
      return { waitFor: this.#whoShips(order, shipments, true), until };
    const troubled = shipments.filter(isTroubled);
    if (troubled.length > 0) {
      const what = `${OPERATOR}${troubled.map(inWords).join(", ")}; the carrier may still deliver it`;
      return { waitFor: shortened(what), until };
    }
    if (soonest.length > 0) return { snooze: Math.min(...soonest) };
    const onTheirWay = shipments.filter(isOnItsWay);
    const undecided = onTheirWay.filter(isUndecidedOn);
    if (undecided.length === onTheirWay.length) return { waitFor: decisionOn(undecided), until };
    return { waitFor: `the carrier to deliver the ${onTheirWay.length === 1 ? "parcel" : "parcels"}`, until };
  }

  async undo({ order, signal }: OrderParcelsRequest): Promise<void> {
    let known = await this.#list(order, signal);
    if (known.length === 0) {
      const { name: carrier, keepsKeys } = this.#provider;
      const first = newShipment({ orderId: order.id, number: 1, lines: [], carrier }, timestamp());
      if (keepsKeys) {
        const answer = await this.#labels.giveBack(first, signal);
        if (answer.outcome === "voided") return;
        throw notVoided(first, answer.outcome === "refused" ? answer.reason : null);
      }
      // So that a label is refused that a worker presumed dead wants later.
      known = [await offTheClock(signal, () => this.#books.open({ ...first, state: "VOIDED" }))];
    }
    const errors: Error[] = [];
    for (const shipment of known)
      await this.#callOff(order, shipment, signal).catch((error: unknown) => {
        // The others are called off all the same.
        if (!(error instanceof RequestRefusedError || error instanceof UndecidedError)) throw error;
        errors.push(error);
      });
    // What a person has to settle comes first: the rest may settle itself.
    const [worst] = errors.toSorted((a, b) => Number(isUndecided(a)) - Number(isUndecided(b)));
    if (worst) throw worst;
  }

  async hasLabels({ order, signal }: Pick<OrderParcelsRequest, "order" | "signal">): Promise<boolean> {
    const known = await offTheClock(signal, () => this.#books.show(order));
    return known.some(
      (each) => each.closedAt === null && holdsPieces(each) && (hasLeft(each) || each.carrierId !== null),
    );
  }

  #list(order: Order, signal: AbortSignal): Promise<Shipment[]> {
    return offTheClock(signal, () => this.#books.list(order));
  }

  /** Voids a shipment of an order that is being cancelled. */
  async #callOff(order: Order, shipment: Shipment, signal: AbortSignal): Promise<void> {
    if (shipment.closedAt !== null || (hasLeft(shipment) && !holdsPieces(shipment))) return;
    if (shipment.voiding === "pending" && !this.#isToBeVoided(shipment)) throw notVoided(shipment, null);
    const isVoided = shipment.state === "VOIDED";
    if (isVoided && !this.#mayHaveLabel(shipment)) return;
    const { state, voiding, reason } = isVoided
      ? await this.#labels.takeBack(shipment, signal)
      : await this.#labels.void(order, shipment, signal);
    if (state !== "VOIDED" || voiding === "refused")
      throw notVoided(shipment, voiding === "refused" ? (reason ?? "it was refused") : null);
  }

  /** Whether the label of a voided shipment may have been bought since, by a worker presumed dead. */
  #mayHaveLabel({ carrierId }: Shipment): boolean {
    return carrierId !== null && !this.#provider.keepsKeys;
  }

  /** Gives back the labels that an operator wants voided, that a carrier has to decide on, or that were bought too late. */
  async #voidWanted(order: Order, shipments: readonly Shipment[], signal: AbortSignal): Promise<Shipment[]> {
    const now: Shipment[] = [];
    for (const shipment of shipments) {
      const isTold = shipment.state === "VOIDED" && shipment.nudgedAt !== null;
      if (isTold && this.#mayHaveLabel(shipment)) now.push(await this.#labels.takeBack(shipment, signal));
      else if (this.#isToBeVoided(shipment)) now.push(await this.#labels.void(order, shipment, signal));
      else now.push(shipment);
    }
    return now;
  }

  /** Takes out of planned parcels what was cancelled while they were written down. */
  async #fit(order: Order, shipments: readonly Shipment[], signal: AbortSignal): Promise<Shipment[]> {
    const now: Shipment[] = [];
    for (const [index, fitting] of withoutCancelled(order.lines, shipments).entries()) {
      const shipment = shipments[index] ?? fitting;
      const { lines } = fitting;
      if (fitting === shipment) now.push(shipment);
      else if (lines.length === 0) now.push(await this.#labels.void(order, shipment, signal));
      else {
        const changed = await offTheClock(signal, () => this.#books.change(shipment, { change: { lines } }));
        now.push(changed?.shipment ?? shipment);
      }
    }
    return now;
  }

  /**
   * Gives back a label that was bought for pieces that were all refunded meanwhile: with a carrier that keeps keys, its parcel
   * would have been written down with the order's status.
   */
  async #giveBackUnwritten(order: Order, known: readonly Shipment[], signal: AbortSignal): Promise<void> {
    const { keepsKeys, name: carrier } = this.#provider;
    const isPossible = order.lines.some(
      (line) => (line.cancelled ?? 0) > 0 && line.requiresShipping !== false,
    );
    if (!keepsKeys || !isPossible) return;
    const next = { orderId: order.id, number: known.length + 1, lines: [], carrier };
    const unwritten = newShipment(next, timestamp());
    // What is refused is paid for, and nothing more can be done.
    if ((await this.#labels.giveBack(unwritten, signal)).outcome === "pending")
      throw notVoided(unwritten, null);
  }

  /** Plans what was in no parcel yet. What was called off, lost or returned, an operator plans, who may change something before. */
  #rest(order: Order, known: readonly Shipment[]): Shipment[] {
    const had = known.map((each) => ({ ...each, state: "PLANNED" as const }));
    const lines = unplanned(order.lines, had);
    if (lines.length === 0) return [];
    const now = timestamp();
    const next = { orderId: order.id, number: known.length + 1, lines, carrier: this.#provider.name };
    return [{ ...newShipment(next, now), bookRequestedAt: now }];
  }

  async #book(
    request: OrderParcelsRequest,
    shipment: Shipment,
    announced: Announced,
    all: readonly Shipment[],
  ): Promise<Shipment> {
    const others = all.filter((each) => each !== shipment);
    return this.#orRefused(request, shipment, () => this.#labels.book(request, shipment, announced, others));
  }

  /** A parcel that its carrier does not take keeps none of the others back. @returns it as it is then, or what came of the work */
  async #orRefused<Result>(
    request: OrderParcelsRequest,
    shipment: Shipment,
    work: () => Promise<Result>,
  ): Promise<Result | Shipment> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RequestRefusedError)) throw error;
      return this.#labels.refuse(request, shipment, error);
    }
  }

  /** Whom an order waits for whose parcels are not all booked. @param isShipped whether all were, once */
  #whoShips({ lines }: Order, shipments: readonly Shipment[], isShipped: boolean): string {
    const left = unplanned(lines, shipments).length > 0;
    const gone = left ? shipments.filter((each) => hasLeft(each) && !holdsPieces(each)) : [];
    const told = [...gone, ...shipments.filter((each) => isTroubled(each) || isBookingRefused(each))];
    const isForOperator = told.length > 0 || (left && (isShipped || this.#isAutomatic));
    const undecided = shipments.filter((each) => isToBePacked(each) && isUndecidedOn(each));
    const isIdle = !left && shipments.every((each) => !isToBePacked(each) || isUndecidedOn(each));
    if (!isForOperator && isIdle && undecided.length > 0) return decisionOn(undecided);
    const who = isForOperator ? OPERATOR : "the warehouse: ";
    return shortened([who + piecesLeft(lines, shipments), ...told.map(inWords)].join(", "));
  }

  /** Whether a label is to be given back now, or asked for what has become of that. */
  #isToBeVoided(shipment: Shipment): boolean {
    const { state, voiding } = shipment;
    if (state === "VOIDED") return false;
    return voiding === "requested" || (voiding === "pending" && this.#tracker.mayHaveDecided(shipment));
  }
}

function isUndecided(error: Error): boolean {
  return error instanceof UndecidedError;
}

/** Whether the warehouse has yet to send it. One that can't be called off may be closed. */
function isToBePacked({ state, closedAt }: Shipment): boolean {
  return state === "PLANNED" && closedAt === null;
}

/** A shipment without pieces says that the order's parcels were called off before there were any. */
function isRefusal({ state, lines }: Shipment): boolean {
  return state === "VOIDED" && lines.length === 0;
}

function bookedBy(shipment: Shipment, label: Label): Shipment {
  return { ...shipment, ...label, state: "BOOKED", reason: null, updatedAt: timestamp() };
}

/** @param reason of the refusal; null if the carrier has not decided yet. */
function notVoided({ number }: Shipment, reason: string | null): Error {
  return reason === null
    ? new UndecidedError(decisionOn([{ number }]), UNDECIDED_MS, { stands: true })
    : new UndoRefusedError(`parcel ${number} can't be called off: ${reason}`);
}

/** What an order waits for whose labels were given back, as far as the first one. */
function decisionOn([first]: readonly Pick<Shipment, "number">[]): string {
  return `the carrier to decide on the label of parcel ${first?.number}`;
}

function isUndecidedOn({ voiding }: Shipment): boolean {
  return voiding === "pending";
}

/** `parcel 2 is LOST`, for those who have to act. */
function inWords(shipment: Shipment): string {
  const { number, state, reason } = shipment;
  const what = isBookingRefused(shipment) ? "can't be booked" : `is ${state}`;
  return `parcel ${number} ${what}${reason === null ? "" : ` (${reason})`}`;
}

function piecesLeft(lines: readonly OrderLine[], shipments: readonly Shipment[]): string {
  const count = unplanned(lines, shipments).reduce((sum, { quantity }) => sum + quantity, 0);
  if (count === 0) return "parcels are planned, and not booked";
  return count === 1 ? "1 piece is to be shipped" : `${count} pieces are to be shipped`;
}

/** Whether it met with something on its way, and may arrive all the same. */
function isTroubled(shipment: Shipment): boolean {
  return shipment.state === "EXCEPTION" && isOnItsWay(shipment);
}

/** @throws any other error. */
function waitForAddress(error: unknown, until: Date): ParcelsWait {
  if (error instanceof UndeliverableError)
    return { waitFor: shortened(`${ADDRESS}: ${error.message}`), until };
  throw error;
}

/** An address that nobody has changed is not announced again: each time is another shipment at the carrier. */
function stillWaits({ waited }: OrderParcelsRequest): ParcelsWait | undefined {
  if (!waited?.until || waited.isOver || waited.isWoken || !waited.for.startsWith(ADDRESS)) return undefined;
  return { waitFor: waited.for, until: waited.until };
}
