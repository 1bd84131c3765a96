import type { Order, OrderLine } from "../../order/order.ts";
import { areFree, hasArrived } from "../../order/pieces.ts";
import type { CarrierProvider } from "../../order/ports.ts";
import {
  hasLeft,
  holdsPieces,
  isSettled,
  SHIPMENT_STATES,
  type Shipment,
  type Tracking,
} from "../../order/shipment.ts";
import { mayBecome } from "../../order/states.ts";
import { nowMs, timestamp } from "../../platform/clock.ts";
import { offTheClock } from "../../platform/time-limit.ts";
import type { Books } from "./books.ts";
import { named } from "./labels.ts";

/** How long an order may wait for a person before it is looked at. Milliseconds. */
const PATIENCE_MS = 24 * 60 * 60_000;

export interface TrackerOptions {
  readonly provider: CarrierProvider;
  readonly books: Books;
  /** How long a carrier that tells of news by itself is left in peace. Milliseconds. */
  readonly intervalMs: number;
}

/** Where an order's parcels are. */
export interface Tracked {
  /** As they are then. */
  readonly shipments: readonly Shipment[];
  /** When the carrier wants to be asked again, in milliseconds from now. */
  readonly soonest: readonly number[];
  readonly arrivedAt: Date | null;
  /** The last one of the order to arrive, yet to be written with the order's status. */
  readonly last?: Shipment;
}

/** Follows parcels on their way: asks the carrier when it is time, and writes down what it says. */
export class Tracker {
  readonly #provider: CarrierProvider;
  readonly #books: Books;
  readonly #intervalMs: number;

  constructor({ provider, books, intervalMs }: TrackerOptions) {
    this.#provider = provider;
    this.#books = books;
    this.#intervalMs = intervalMs;
  }

  /** Asks where the parcels are that are on their way, if it is time, and writes it down. */
  async follow(order: Order, known: readonly Shipment[], signal: AbortSignal): Promise<Tracked> {
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
  nextLook(shipments: readonly Shipment[], soonest: readonly number[]): Date {
    const now = nowMs();
    const asked = this.#provider.tells ? shipments.filter(isOnItsWay).map((each) => this.#dueAt(each)) : [];
    return new Date(Math.min(now + PATIENCE_MS, ...asked, ...soonest.map((ms) => now + ms)));
  }

  /** Whether the carrier is to be asked what it has decided on a label that was given back. */
  mayHaveDecided({ nudgedAt, updatedAt }: Shipment): boolean {
    return nudgedAt !== null || updatedAt.getTime() + this.#intervalMs <= nowMs();
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
}

/** Whether its carrier has it, or is to get it. */
export function isOnItsWay(shipment: Shipment): boolean {
  return holdsPieces(shipment) && hasLeft(shipment) && !isSettled(shipment);
}

/** Whether it was lost and nothing has replaced it, so that it may be found. */
function mayTurnUp(lines: readonly OrderLine[], shipment: Shipment, known: readonly Shipment[]): boolean {
  return shipment.state === "LOST" && shipment.closedAt === null && areFree(lines, shipment.lines, known);
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

function latest(a: Date | null, b: Date): Date {
  return a !== null && a > b ? a : b;
}
