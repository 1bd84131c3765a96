import type { Json, TrackerStatus } from "./shapes.ts";
import { CARRIER_DETAIL, newId, publicUrl, scanOf, time } from "./shapes.ts";

/** A status that a parcel has from some time on. */
export interface Scan {
  readonly status: TrackerStatus;
  /** EasyPost's `status_detail`. */
  readonly detail: string;
  readonly at: Date;
}

/** Where a parcel is at which part of its way, unless somebody moves it. */
const WAY = [
  { part: 0.05, status: "pre_transit", detail: "label_created" },
  { part: 0.25, status: "in_transit", detail: "arrived_at_facility" },
  { part: 0.75, status: "out_for_delivery", detail: "out_for_delivery" },
] as const;

/** How a parcel's way ends. */
const ENDS = {
  delivered: { status: "delivered", detail: "arrived_at_destination" },
  lost: { status: "failure", detail: "lost" },
  returned: { status: "return_to_sender", detail: "return" },
} as const satisfies Record<string, Pick<Scan, "status" | "detail">>;
export type Fate = keyof typeof ENDS;

/** EasyPost's test codes: a tracker with one of them has this status at once. */
export const TEST_CODES: Readonly<
  Record<string, { readonly status: TrackerStatus; readonly detail: string }>
> = {
  EZ1000000001: { status: "pre_transit", detail: "status_update" },
  EZ2000000002: { status: "in_transit", detail: "status_update" },
  EZ3000000003: { status: "out_for_delivery", detail: "status_update" },
  EZ4000000004: { status: "delivered", detail: "status_update" },
  EZ5000000005: { status: "return_to_sender", detail: "status_update" },
  EZ6000000006: { status: "failure", detail: "status_update" },
  EZ7000000007: { status: "unknown", detail: "status_update" },
};

/** What makes a parcel. */
export interface StoredParcel {
  readonly trackerId: string;
  readonly code: string;
  readonly shipmentId: string | null;
  readonly bought: Date;
  readonly fate: Fate;
  readonly said: readonly Scan[];
}

/** A parcel on its way. Its statuses follow the clock until somebody says where it is. */
export class Parcel {
  readonly trackerId: string;
  readonly code: string;
  readonly shipmentId: string | null;
  readonly bought: Date;
  readonly #fate: Fate;
  /** Said by hand, oldest first; none after the first of them follows the clock. */
  readonly said: Scan[] = [];

  constructor(given: Pick<StoredParcel, "code" | "shipmentId" | "bought"> & Partial<StoredParcel>) {
    this.trackerId = given.trackerId ?? newId("trk");
    this.said.push(...(given.said ?? []));
    this.#fate = given.fate ?? "delivered";
    this.code = given.code;
    this.shipmentId = given.shipmentId;
    this.bought = given.bought;
  }

  /** As it is kept in a file. */
  toJSON(): StoredParcel {
    const { trackerId, code, shipmentId, bought, said } = this;
    return { trackerId, code, shipmentId, bought, said, fate: this.#fate };
  }

  /** Everything that has happened to it by then. @param transitMs how long its way takes */
  scans(now: Date, transitMs: number): readonly Scan[] {
    const until = this.said[0]?.at ?? now;
    const onItsWay = this.#way(transitMs).filter(({ at }) => at <= until && at <= now);
    return [...onItsWay, ...this.said];
  }

  /** The time of its next status; undefined if none follows. */
  next(now: Date, transitMs: number): Date | undefined {
    if (this.said.length > 0) return undefined;
    return this.#way(transitMs).find(({ at }) => at > now)?.at;
  }

  /** The tracker as EasyPost shows it. */
  tracker(now: Date, transitMs: number): Json {
    const scans = this.scans(now, transitMs);
    const last = scans.at(-1);
    const isTest = this.code in TEST_CODES;
    return {
      id: this.trackerId,
      object: "Tracker",
      mode: "test",
      tracking_code: this.code,
      status: last?.status ?? "unknown",
      status_detail: last?.detail ?? "unknown",
      created_at: time(this.bought),
      updated_at: time(last?.at ?? this.bought),
      signed_by: last?.status === "delivered" ? "John Tester" : null,
      weight: null,
      est_delivery_date:
        isTest || scans.length > 1 ? time(new Date(this.bought.getTime() + transitMs)) : null,
      shipment_id: this.shipmentId,
      carrier: "USPS",
      tracking_details: scans.map(({ status, detail, at }) => scanOf(status, detail, at)),
      fees: [],
      carrier_detail: isTest ? CARRIER_DETAIL : null,
      public_url: publicUrl(this.trackerId),
    };
  }

  #way(transitMs: number): Scan[] {
    const test = TEST_CODES[this.code];
    if (test) return [{ ...test, at: this.bought }];
    return [...WAY, { part: 1, ...ENDS[this.#fate] }].map(({ part, status, detail }) => ({
      status,
      detail,
      at: new Date(this.bought.getTime() + part * transitMs),
    }));
  }
}
