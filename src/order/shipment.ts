import type { Address, OrderLine } from "./order.ts";
import { declareStates, mayBecome } from "./states.ts";

/*
 * The shipments below an order: parcels with some of its pieces. They have a small lifecycle, declared as one literal.
 */

/** A shipment's states, and what may follow each. Carriers correct themselves, so most may follow most. */
export const SHIPMENT_STATES = declareStates("shipment", {
  /** Written down; its label was not bought yet. */
  PLANNED: ["BOOKED", "VOIDED"],
  /** Its label was bought, and its goods have left the stock. */
  BOOKED: ["IN_TRANSIT", "OUT_FOR_DELIVERY", "DELIVERED", "EXCEPTION", "RETURNED", "LOST", "VOIDED"],
  IN_TRANSIT: ["OUT_FOR_DELIVERY", "DELIVERED", "EXCEPTION", "RETURNED", "LOST", "VOIDED"],
  /** The carrier brings it today, or has it ready to be picked up. */
  OUT_FOR_DELIVERY: ["IN_TRANSIT", "DELIVERED", "EXCEPTION", "RETURNED", "LOST"],
  DELIVERED: ["RETURNED"],
  /** Something went wrong on the way; the carrier may still deliver it. */
  EXCEPTION: ["IN_TRANSIT", "OUT_FOR_DELIVERY", "DELIVERED", "RETURNED", "LOST", "VOIDED"],
  /** It is back, or on its way back. */
  RETURNED: [],
  /** What was lost is found now and then. */
  LOST: ["IN_TRANSIT", "OUT_FOR_DELIVERY", "DELIVERED", "RETURNED"],
  /** It will never be sent. */
  VOIDED: [],
});

export type ShipmentState = keyof typeof SHIPMENT_STATES;

/** States of shipments that no longer bring their pieces to the customer, so that these may be shipped again. */
const GIVES_UP = new Set<ShipmentState>(["VOIDED", "RETURNED", "LOST"]);
const NOT_SENT = new Set<ShipmentState>(["PLANNED", "VOIDED"]);

/** What a request to void a label has come to, if there was one. Carriers answer some days later, and refuse used labels. */
export type Voiding = "requested" | "pending" | "refused";

/** Pieces of one line of an order. */
export interface ShipmentLine {
  /** The line's place in the order, from 0. */
  readonly position: number;
  readonly sku: string;
  readonly quantity: number;
}

/** A parcel: grams and millimetres. */
export interface Parcel {
  readonly weight?: number | undefined;
  readonly length?: number | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
}

/** What a carrier takes for a label, in minor units. */
export interface Cost {
  readonly amount: number;
  readonly currency: string;
}

/** A service that a carrier offers for a parcel. */
export interface Rate {
  /** Its name there: `USPS Priority`. */
  readonly service: string;
  readonly cost: Cost;
  /** Days until delivery; null if the carrier does not say. */
  readonly days: number | null;
}

/** A label that was bought. */
export interface Label {
  /** At most 100 printable ASCII characters. */
  readonly trackingNumber: string;
  /** The carrier's id of the shipment; null if the tracking number is all it has. */
  readonly carrierId: string | null;
  /** Who brings it, and how fast: `USPS Priority`. */
  readonly service: string | null;
  readonly cost: Cost | null;
  /** Where the customer can follow the parcel. */
  readonly trackingUrl: string | null;
  /** Where the label can be fetched. */
  readonly labelUrl: string | null;
}

/** A shipment. */
export interface Shipment {
  readonly orderId: string;
  /** Counts an order's shipments, from 1. */
  readonly number: number;
  readonly state: ShipmentState;
  readonly lines: readonly ShipmentLine[];
  readonly parcel: Parcel | null;
  /** The carrier's name in this installation, such as `easypost`. */
  readonly carrier: string;
  /** The carrier's id of the shipment, as soon as there is one. */
  readonly carrierId: string | null;
  /** The service that is wanted, until it is bought. */
  readonly service: string | null;
  readonly cost: Cost | null;
  readonly trackingNumber: string | null;
  readonly trackingUrl: string | null;
  readonly labelUrl: string | null;
  /** When the carrier expects to deliver it. */
  readonly expectedAt: Date | null;
  /** When the warehouse asked for the label; it is bought as soon as the carrier can be reached. */
  readonly bookRequestedAt: Date | null;
  readonly voiding: Voiding | null;
  /** Why something went wrong: one line, without personal data. */
  readonly reason: string | null;
  /** When the carrier was last asked where it is, and when it said that there is news; null once it was asked since. */
  readonly askedAt: Date | null;
  readonly nudgedAt: Date | null;
  /** When an operator settled what never arrives. */
  readonly closedAt: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** What has become of a shipment. */
export type ShipmentChange = Omit<Shipment, "createdAt">;

/**
 * Our own name for a shipment, which is the idempotency key of its label too: `<orderId>:ship`, and `<orderId>:ship:2` for
 * the second.
 */
export function shipmentReference({ orderId, number }: Pick<Shipment, "orderId" | "number">): string {
  return number === 1 ? `${orderId}:ship` : `${orderId}:ship:${number}`;
}

/** Where a carrier says that a parcel is. */
export interface Tracking {
  /** BOOKED while nobody has seen it. */
  readonly state: Exclude<ShipmentState, "PLANNED" | "VOIDED">;
  /** Since when. */
  readonly at: Date;
  readonly expectedAt: Date | null;
  /** Why it can't be delivered, in the carrier's words. */
  readonly reason: string | null;
  /** Milliseconds until the carrier wants to be asked again; null if it tells of news by itself. */
  readonly askAgainIn: number | null;
}

/** Whether the shipment brings its pieces to the customer, or has; or was closed. Its pieces are in no other one. */
export function holdsPieces({ state, closedAt }: Pick<Shipment, "state" | "closedAt">): boolean {
  return !GIVES_UP.has(state) || (closedAt !== null && state !== "VOIDED");
}

/** Whether its goods have left the stock. */
export function hasLeft({ state }: Pick<Shipment, "state">): boolean {
  return !NOT_SENT.has(state);
}

/** Whether its label is to be bought. */
export function isWanted({
  state,
  bookRequestedAt,
  voiding,
}: Pick<Shipment, "state" | "bookRequestedAt" | "voiding">): boolean {
  return state === "PLANNED" && bookRequestedAt !== null && voiding === null;
}

/** Whether a label may be asked for. One that the carrier does not take back may be used after all. */
export function mayBeBooked({
  state,
  bookRequestedAt,
  voiding,
  closedAt,
}: Pick<Shipment, "state" | "bookRequestedAt" | "voiding" | "closedAt">): boolean {
  if (state !== "PLANNED" || closedAt !== null) return false;
  return voiding === "refused" || (bookRequestedAt === null && voiding === null);
}

/**
 * Whether its label can't be bought as it is planned: the carrier does not take it, or its goods are sold out. An operator asks
 * for it once more, or calls it off and plans another.
 */
export function isBookingRefused({
  state,
  bookRequestedAt,
  voiding,
  reason,
}: Pick<Shipment, "state" | "bookRequestedAt" | "voiding" | "reason">): boolean {
  return state === "PLANNED" && bookRequestedAt === null && voiding === null && reason !== null;
}

/** Whether it may be called off, as far as the carrier agrees. */
export function mayBeVoided({
  state,
  voiding,
  closedAt,
}: Pick<Shipment, "state" | "voiding" | "closedAt">): boolean {
  const isAsked = voiding === "requested" || voiding === "pending";
  return mayBecome(SHIPMENT_STATES, state, "VOIDED") && closedAt === null && !isAsked;
}

/** Whether an operator may settle it: it was sent and does not arrive, or can't be called off. */
export function mayBeClosed(shipment: Pick<Shipment, "state" | "closedAt" | "voiding">): boolean {
  const { state, closedAt, voiding } = shipment;
  return closedAt === null && (voiding === "refused" || (state !== "DELIVERED" && hasLeft({ state })));
}

/** Whether nobody waits for it any more: it has arrived, or an operator has closed it. */
export function isSettled({ state, closedAt }: Pick<Shipment, "state" | "closedAt">): boolean {
  return state === "DELIVERED" || closedAt !== null;
}

/** How far an order's parcels are: of those that were planned and not voided, given up or replaced. */
export interface Fulfilment {
  readonly shipped: number;
  readonly delivered: number;
  readonly of: number;
}

export function fulfilmentOf(shipments: readonly Pick<Shipment, "state" | "closedAt">[]): Fulfilment {
  const counted = shipments.filter(holdsPieces);
  return {
    shipped: counted.filter(hasLeft).length,
    delivered: counted.filter(({ state }) => state === "DELIVERED").length,
    of: counted.length,
  };
}

/** Who sends parcels. */
export type Sender = Address & { readonly phone?: string | undefined; readonly company?: string | undefined };

/** What a carrier needs to know of a parcel. Personal data: never in a log line, a job or an error. */
export interface ParcelRequest {
  readonly orderId: string;
  /** Our own name for the shipment. */
  readonly reference: string;
  /** Null if the configuration has no sender. */
  readonly from: Sender | null;
  readonly to: Address | null;
  /** The customer's, for the one who delivers it; null if there is none. */
  readonly phone?: string | null | undefined;
  readonly parcel: Parcel | null;
  /** With what customs want to know of them, as far as the lines say it. */
  readonly items: readonly OrderLine[];
  /** Of the items' prices. */
  readonly currency: string;
}
