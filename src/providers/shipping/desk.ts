import type { Database } from "../../../db/database.ts";
import { shortened } from "../../../db/reason.ts";
import { newShipment } from "../../../db/shipments.ts";
import { stockedLines, type Order, type OrderLine } from "../../order/order.ts";
import {
  areFree,
  fromStock,
  hasArrived,
  linesOf,
  notGone,
  unplanned,
  withoutCancelled,
} from "../../order/pieces.ts";
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
  isSettled,
  isWanted,
  SHIPMENT_STATES,
  shipmentReference,
  type Label,
  type Sender,
  type Shipment,
  type Tracking,
} from "../../order/shipment.ts";
import { OPERATOR } from "../../order/stage.ts";
import { mayBecome } from "../../order/states.ts";
import type { Commit } from "../../platform/group-commit.ts";
import { nowMs, timestamp } from "../../platform/clock.ts";
import { offTheClock } from "../../platform/time-limit.ts";
import { booksOf, type Books } from "./books.ts";
import { Labels, named, type Announced } from "./labels.ts";
import type { ServiceChoice } from "./services.ts";

/** Who plans and books parcels: Conveyor, one for each order, or the warehouse. */
export type FulfilmentMode = "automatic" | "manual";

/** How soon a carrier that has not decided on a refund is asked again, and how long an order may wait for a person. */
const UNDECIDED_MS = 4 * 60 * 60_000;
const PATIENCE_MS = 24 * 60 * 60_000;

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
  readonly #isAutomatic: boolean;
  readonly #intervalMs: number;

  constructor(options: ShippingDeskOptions) {
    const { provider, inventory, database, commit, fulfilment, trackingIntervalMs, from, service } = options;
    this.#provider = provider;
    this.#books = booksOf(database, provider.name, commit);
    this.#labels = new Labels({ provider, inventory, books: this.#books, from, service });
    this.#isAutomatic = fulfilment !== "manual";
    this.#intervalMs = trackingIntervalMs ?? UNDECIDED_MS;
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
    const { shipments, soonest } = await this.#track(order, current, signal);
    const until = this.#nextLook(shipments, soonest);
    const left = unplanned(order.lines, shipments);
    const planned = this.#isAutomatic && left.length > 0 ? [this.#planned(order, shipments, left)] : [];
    const all = [...shipments, ...planned];
    const toBook = all.filter(isWanted);
    const isComplete =
      unplanned(order.lines, all).length === 0 && all.every((each) => !isToBePacked(each) || isWanted(each));
    try {
      // The carrier takes nothing for that. So no money is taken for what it can't deliver, or while it is away.
      const announced = new Map<Shipment, Announced>();
      for (const each of toBook)
        announced.set(each, await this.#labels.announce(request, each, planned.includes(each)));
      if (toBook.length > 0 || isComplete) {
        const unpaid = await request.beforeBuying?.();
        if (unpaid) return unpaid;
      }
      const [[last, parcel] = []] = announced;
      if (isComplete && announced.size === 1 && last && parcel) {
        const others = shipments.filter((each) => each !== last);
        const pieces = stockedLines(linesOf(order.lines, last.lines));
        const { again } = fromStock(order.lines, pieces, others);
        // Its goods leave the stock with the order's status, and it is written with it, too.
        if (again.length === 0) {
          const change = bookedBy(last, await this.#labels.buy(request, last, parcel));
          const stock = { key: shipmentReference(last), lines: notGone(order.lines, others) };
          return { shipments: [...others, change], change, stock };
        }
      }
      for (const each of planned) await offTheClock(signal, () => this.#books.open(each));
      const now: Shipment[] = [];
      for (const each of all) {
        const ready = announced.get(each);
        now.push(ready ? await this.#labels.book(request, each, ready) : each);
      }
      if (isComplete && !now.some(isToBePacked)) {
        if (planned.length === 0) await this.#giveBackUnwritten(order, known, signal);
        return { shipments: now, stock: { key: `${order.id}:ship:rest`, lines: notGone(order.lines, now) } };
      }
    } catch (error) {
      return waitForAddress(error, until);
    }
    return { waitFor: whoShips(order.lines, all, false), until };
  }

  async deliver(request: OrderParcelsRequest): Promise<Delivered> {
    const { order, signal } = request;
    const waits = stillWaits(request);
    if (waits) return waits;
    let booked = await this.#voidWanted(order, await this.#list(order, signal), signal);
    try {
      for (const wanted of booked.filter(isWanted)) {
        const announced = await this.#labels.announce(request, wanted, false);
        const now = await this.#labels.book(request, wanted, announced);
        booked = booked.map((each) => (each === wanted ? now : each));
      }
    } catch (error) {
      return waitForAddress(error, this.#nextLook(booked, []));
    }
    const { shipments, soonest, arrivedAt, last } = await this.#track(order, booked, signal);
    if (last !== undefined) return { at: arrivedAt, change: last };
    if (hasArrived(order.lines, shipments)) return { at: arrivedAt };
    const until = this.#nextLook(shipments, soonest);
    if (unplanned(order.lines, shipments).length > 0 || shipments.some(isToBePacked))
      return { waitFor: whoShips(order.lines, shipments, true), until };
    const troubled = shipments.filter(isTroubled);
    if (troubled.length > 0) {
      const what = `${OPERATOR}${troubled.map(inWords).join(", ")}; the carrier may still deliver it`;
      return { waitFor: shortened(what), until };
    }
    if (soonest.length > 0) return { snooze: Math.min(...soonest) };
    const count = shipments.filter(isOnItsWay).length;
    return { waitFor: `the carrier to deliver the ${count === 1 ? "parcel" : "parcels"}`, until };
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

  /**
   * Asks where the parcels are that are on their way, if it is time, and writes it down.
   *
   * @returns them as they are then; `last` is the last one of the order to arrive, yet to be written with the order's status
   */
  async #track(
    order: Order,
    known: readonly Shipment[],
    signal: AbortSignal,
  ): Promise<{
    readonly shipments: readonly Shipment[];
    /** When the carrier wants to be asked again, in milliseconds from now. */
    readonly soonest: readonly number[];
    readonly arrivedAt: Date | null;
    readonly last?: Shipment;
  }> {
    let shipments = known;
    const soonest: number[] = [];
    let arrivedAt: Date | null = null;
    /** What was lost, and replaced meanwhile, stays lost. */
    const write = async (before: Shipment, now: Shipment) => {
      const stored = await this.#write(order, before, now, signal);
      shipments = shipments.map((each) => (each === now && stored ? stored : each));
    };
    const followed = known.filter((each) => isOnItsWay(each) || mayTurnUp(order.lines, each, known));
    for (const shipment of followed.filter((each) => this.#isDue(each))) {
      // News that come while the carrier answers are not in the answer.
      const askedAt = timestamp();
      const tracking = await this.#provider.track({ ...named(shipment), signal });
      if (tracking.askAgainIn !== null && tracking.state !== "DELIVERED") soonest.push(tracking.askAgainIn);
      const now = trackedBy(shipment, tracking, askedAt);
      if (now.state === "DELIVERED") arrivedAt = latest(arrivedAt, tracking.at);
      shipments = shipments.map((each) => (each === shipment ? now : each));
      if (now.state === "DELIVERED" && holdsPieces(shipment) && hasArrived(order.lines, shipments))
        return { shipments, soonest, arrivedAt, last: now };
      if (now.state !== shipment.state || tracking.askAgainIn === null) await write(shipment, now);
    }
    return { shipments, soonest, arrivedAt };
  }

  /** When an order that waits for somebody is looked at again. */
  #nextLook(shipments: readonly Shipment[], soonest: readonly number[]): Date {
    const now = nowMs();
    const asked = this.#provider.tells ? shipments.filter(isOnItsWay).map((each) => this.#dueAt(each)) : [];
    return new Date(Math.min(now + PATIENCE_MS, ...asked, ...soonest.map((ms) => now + ms)));
  }

  #list(order: Order, signal: AbortSignal): Promise<Shipment[]> {
    return offTheClock(signal, () => this.#books.list(order));
  }

  /** Voids a shipment of an order that is being cancelled. */
  async #callOff(order: Order, shipment: Shipment, signal: AbortSignal): Promise<void> {
    if (shipment.closedAt !== null || (hasLeft(shipment) && !holdsPieces(shipment))) return;
    if (shipment.state === "VOIDED") {
      // A worker presumed dead may have bought its label since.
      if (shipment.carrierId !== null && !this.#provider.keepsKeys)
        await this.#labels.giveBack(shipment, signal);
      return;
    }
    if (shipment.voiding === "pending" && !this.#isToBeVoided(shipment)) throw notVoided(shipment, null);
    const { state, voiding, reason } = await this.#labels.void(order, shipment, signal);
    if (state !== "VOIDED")
      throw notVoided(shipment, voiding === "refused" ? (reason ?? "it was refused") : null);
  }

  /** Gives back the labels that an operator wants voided, or that a carrier has to decide on. */
  async #voidWanted(order: Order, shipments: readonly Shipment[], signal: AbortSignal): Promise<Shipment[]> {
    const now: Shipment[] = [];
    for (const shipment of shipments)
      now.push(this.#isToBeVoided(shipment) ? await this.#labels.void(order, shipment, signal) : shipment);
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

  #planned(order: Order, known: readonly Shipment[], lines: Shipment["lines"]): Shipment {
    const now = timestamp();
    const next = { orderId: order.id, number: known.length + 1, lines, carrier: this.#provider.name };
    return { ...newShipment(next, now), bookRequestedAt: now };
  }

  async #write(order: Order, before: Shipment, now: Shipment, signal: AbortSignal) {
    const { state, expectedAt, reason, askedAt } = now;
    const turnsUp = !holdsPieces(before) && holdsPieces(now);
    const update = {
      change: { state, expectedAt, reason, askedAt },
      heard: true as const,
      ...(turnsUp && { unlessReplaced: order.lines }),
    };
    return (await offTheClock(signal, () => this.#books.change(before, update)))?.shipment;
  }

  /** Whether the carrier is to be asked where it is. */
  #isDue(shipment: Shipment): boolean {
    return !this.#provider.tells || shipment.nudgedAt !== null || this.#dueAt(shipment) <= nowMs();
  }

  #dueAt({ askedAt, updatedAt }: Shipment): number {
    return (askedAt ?? updatedAt).getTime() + this.#intervalMs;
  }

  /** Whether a label is to be given back now, or asked for what has become of that. */
  #isToBeVoided(shipment: Shipment): boolean {
    const { state, voiding, nudgedAt, updatedAt } = shipment;
    if (state === "VOIDED") return false;
    if (voiding === "requested") return true;
    if (voiding !== "pending") return false;
    return nudgedAt !== null || updatedAt.getTime() + this.#intervalMs <= nowMs();
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

function trackedBy(shipment: Shipment, tracking: Tracking, askedAt: Date): Shipment {
  const { state, expectedAt, reason } = tracking;
  const isNews = mayBecome(SHIPMENT_STATES, shipment.state, state);
  return {
    ...shipment,
    ...(isNews && { state, reason, updatedAt: timestamp() }),
    expectedAt: expectedAt ?? shipment.expectedAt,
    askedAt,
  };
}

/** @param reason of the refusal; null if the carrier has not decided yet. */
function notVoided({ number }: Shipment, reason: string | null): Error {
  return reason === null
    ? new UndecidedError(`the carrier to decide on the label of parcel ${number}`, UNDECIDED_MS, {
        stands: true,
      })
    : new UndoRefusedError(`parcel ${number} can't be called off: ${reason}`);
}

/** `parcel 2 is LOST`, for those who have to act. */
function inWords({ number, state, reason }: Shipment): string {
  return `parcel ${number} is ${state}${reason === null ? "" : ` (${reason})`}`;
}

function piecesLeft(lines: readonly OrderLine[], shipments: readonly Shipment[]): string {
  const count = unplanned(lines, shipments).reduce((sum, { quantity }) => sum + quantity, 0);
  if (count === 0) return "parcels are planned, and not booked";
  return count === 1 ? "1 piece is to be shipped" : `${count} pieces are to be shipped`;
}

/** Whom an order waits for whose parcels are not all booked. @param isShipped whether all were, once */
function whoShips(lines: readonly OrderLine[], shipments: readonly Shipment[], isShipped: boolean): string {
  const left = unplanned(lines, shipments).length > 0;
  const gone = left ? shipments.filter((each) => hasLeft(each) && !holdsPieces(each)) : [];
  const told = [...gone, ...shipments.filter(isTroubled)];
  const who = (left && isShipped) || told.length > 0 ? OPERATOR : "the warehouse: ";
  return shortened([who + piecesLeft(lines, shipments), ...told.map(inWords)].join(", "));
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

/** Whether its carrier has it, or is to get it. */
function isOnItsWay(shipment: Shipment): boolean {
  return holdsPieces(shipment) && hasLeft(shipment) && !isSettled(shipment);
}

/** Whether it was lost and nothing has replaced it, so that it may be found. */
function mayTurnUp(lines: readonly OrderLine[], shipment: Shipment, known: readonly Shipment[]): boolean {
  return shipment.state === "LOST" && shipment.closedAt === null && areFree(lines, shipment.lines, known);
}

function latest(a: Date | null, b: Date): Date {
  return a !== null && a > b ? a : b;
}
