import { z } from "zod";
import { TRACKER_STATUSES } from "./shapes.ts";
import type { Delivery } from "./webhooks.ts";

/* What operators and tests say to the simulated EasyPost. */

/** How it behaves. */
export interface Behaviour {
  /** Milliseconds from the purchase of a label to the delivery of its parcel. */
  readonly transitMs: number;
  /** Milliseconds until a refund that was submitted is decided, and the share (0 to 1) of those that are rejected then. */
  readonly refundMs: number;
  readonly refundsRejected: number;
  /** The share of refunds that are refused at once, as for labels that were used. */
  readonly refundsRefused: number;
  /** The share of labels that are bought without an answer: the connection breaks after the work is done. */
  readonly purchasesUnanswered: number;
  /** The shares of parcels that get lost on their way, and that come back. */
  readonly parcelsLost: number;
  readonly parcelsReturned: number;
  readonly webhooks: Delivery;
}

export const STANDARD: Behaviour = {
  transitMs: 2_000,
  refundMs: 0,
  refundsRejected: 0,
  refundsRefused: 0,
  purchasesUnanswered: 0,
  parcelsLost: 0,
  parcelsReturned: 0,
  webhooks: { lost: 0, doubled: 0, early: 0, late: 0, lateMs: 0 },
};

const share = z.number().min(0).max(1);
const time = z.number().nonnegative();

/** `PUT /behaviour`: changes what is named. */
export const behaviourChange = z
  .strictObject({
    transitMs: time,
    refundMs: time,
    refundsRejected: share,
    refundsRefused: share,
    purchasesUnanswered: share,
    parcelsLost: share,
    parcelsReturned: share,
    webhooks: z.strictObject({
      lost: share,
      doubled: share,
      early: share.default(0),
      late: share,
      lateMs: time,
    }),
  } satisfies Record<keyof Behaviour, unknown>)
  .partial();
export type BehaviourChange = z.output<typeof behaviourChange>;

/** `PUT /clock` */
export const clockChange = z.union([
  z.strictObject({ advanceMs: time }),
  z.strictObject({ now: z.iso.datetime({ offset: true }) }),
]);

/** `PUT /parcels/:code`: where a parcel is. */
export const parcelMove = z.strictObject({
  status: z.enum(TRACKER_STATUSES),
  detail: z.string().default("status_update"),
});
