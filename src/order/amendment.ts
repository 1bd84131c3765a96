import type { EventType } from "./event.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { LIMITS } from "./limits.ts";
import type { Address, Contact, Hold, Metadata, StageRecord, StoredOrder } from "./order.ts";

/*
 * What clients and operators change of an order on its way, apart from cancelling it. Each change is decided on the order as
 * it stands, under its lock.
 */

/** The part of an order that can be changed so. */
export type Amendable = Pick<
  StoredOrder,
  "status" | "customer" | "shipTo" | "billTo" | "metadata" | "note" | "holds"
>;

/** A change of an order, and the event that tells of it. */
export interface Amendment {
  readonly set: Partial<Omit<Amendable, "status">>;
  readonly event: {
    readonly type: EventType;
    readonly reason: string | null;
    /** Names, never values. */
    readonly record: StageRecord;
  };
  /** Whether the order is looked at at once, if it waits. */
  readonly wakes: boolean;
  /** Whether it is made only if a parcel is to be sent: again, since all were sent once. */
  readonly ifToBeSent?: true;
}

/** The order can't be changed so. Nothing was changed. */
export class NotAmendableError extends Error {
  override name = "NotAmendableError";
  readonly kind: "ended" | "booked" | "no such hold" | "too much metadata";
  constructor(kind: NotAmendableError["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

/** Holds an order; nothing if it is held under this name already. @throws {NotAmendableError} once it has ended */
export function holding(
  lifecycle: Pick<Lifecycle, "hasEnded">,
  order: Amendable,
  hold: Hold,
): Amendment | undefined {
  if (lifecycle.hasEnded(order.status))
    throw new NotAmendableError("ended", `the order is ${order.status}, and can no longer be held`);
  if (order.holds.some(({ name }) => name === hold.name)) return undefined;
  return {
    set: { holds: [...order.holds, hold] },
    event: { type: "hold.placed", reason: hold.reason, record: { hold: hold.name } },
    // One that waits for somebody else waits for the release from now on.
    wakes: true,
  };
}

/** Releases a hold. With the last one the order goes on. @throws {NotAmendableError} if there is none of this name */
export function releasing(order: Amendable, name: string): Amendment {
  const holds = order.holds.filter((hold) => hold.name !== name);
  if (holds.length === order.holds.length)
    throw new NotAmendableError("no such hold", `the order has no hold ${name}`);
  return {
    set: { holds },
    event: { type: "hold.released", reason: null, record: { hold: name } },
    wakes: holds.length === 0,
  };
}

const PATCHED = ["customer", "shipTo", "billTo", "metadata", "note"] as const;

/** New values for an order: null removes one, and what is left out stays. An address is replaced as a whole. */
export interface Patch {
  readonly customer?: { readonly [Field in keyof Contact]?: Contact[Field] | null } | null | undefined;
  readonly shipTo?: Address | null | undefined;
  readonly billTo?: Address | null | undefined;
  readonly metadata?: Readonly<Record<string, string | null>> | null | undefined;
  readonly note?: string | null | undefined;
}

/**
 * Changes an order; nothing if all of it is so already.
 *
 * @throws {NotAmendableError} once its shipment is booked, but for the address of one that is to be sent again; or if it would have too many fields of metadata
 */
export function patching(
  lifecycle: Pick<Lifecycle, "canCancel" | "hasEnded">,
  order: Amendable,
  patch: Patch,
): Amendment | undefined {
  const { customer, shipTo, billTo, metadata, note } = patch;
  const isSent = !lifecycle.canCancel(order.status);
  const isForParcel = PATCHED.every((field) => (patch[field] === undefined) === (field !== "shipTo"));
  if (isSent && (lifecycle.hasEnded(order.status) || !isForParcel)) throw tooLate(order);
  const wanted: Amendment["set"] = {
    ...(customer !== undefined && { customer: merged(order.customer, customer) }),
    ...(shipTo !== undefined && { shipTo }),
    ...(billTo !== undefined && { billTo }),
    ...(metadata !== undefined && { metadata: mergedMetadata(order.metadata, metadata) }),
    ...(note !== undefined && { note }),
  };
  const changed = PATCHED.filter((field) => field in wanted && !isSame(order[field], wanted[field]));
  if (changed.length === 0) return undefined;
  return {
    set: Object.fromEntries(changed.map((field) => [field, wanted[field]])),
    event: { type: "changed", reason: null, record: { fields: changed.join(", ") } },
    // Whoever waits may wait for this, such as an address that can be delivered to.
    wakes: true,
    ...(isSent && { ifToBeSent: true }),
  };
}

/** The order's parcels were sent. */
export function tooLate({ status }: Pick<Amendable, "status">): NotAmendableError {
  return new NotAmendableError("booked", `the order is ${status}, and can no longer be changed`);
}

/** The fields with those of the patch; null if none is left. */
function merged<Value>(
  before: Readonly<Record<string, Value>> | object | null,
  patch: Readonly<Record<string, Value | null | undefined>> | object | null,
): Record<string, Value> | null {
  if (patch === null) return null;
  const fields: [string, Value | null | undefined][] = Object.entries({ ...before, ...patch });
  const left = fields.filter(
    (field): field is [string, Value] => field[1] !== null && field[1] !== undefined,
  );
  return left.length === 0 ? null : Object.fromEntries(left);
}

function mergedMetadata(
  before: Metadata | null,
  patch: NonNullable<Patch["metadata"]> | null,
): Metadata | null {
  const after = merged<string>(before, patch);
  const count = Object.keys(after ?? {}).length;
  if (count > LIMITS.metadata)
    throw new NotAmendableError(
      "too much metadata",
      `would have ${count} fields; at most ${LIMITS.metadata}`,
    );
  return after;
}

/** Whether both say the same, in whatever order. */
export function isSame(before: unknown, after: unknown): boolean {
  const text = (value: unknown) =>
    typeof value === "object" && value !== null
      ? JSON.stringify(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : JSON.stringify(value);
  return text(before) === text(after);
}
