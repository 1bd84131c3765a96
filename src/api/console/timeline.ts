import type { OrderEvent } from "../../../db/order-events.ts";
import { CANCEL } from "../../order/lifecycle.ts";
import type { StoredOrder } from "../../order/order.ts";
import { nowMs } from "../../platform/clock.ts";

/** An event of an order, or what it waits for, with its duration. */
export interface Entry {
  readonly kind:
    | "created"
    | "done"
    | "attempt"
    | "failed"
    | "waiting"
    | "resumed"
    | "cancelling"
    | "cancelled"
    | "note"
    | "payment"
    | "now";
  readonly title: string;
  readonly reason: string | null;
  readonly actor: string | null;
  readonly attempt: number | null;
  /** The stage's record. */
  readonly record: OrderEvent["record"];
  readonly at: Date;
  /** Start of the entry, which is first waiting and then working. Milliseconds since 1970. */
  readonly from: number;
  /** When work started; equals `to` if there was none. */
  readonly workFrom: number;
  readonly to: number;
}

/** An order's events in order, and what it waits for now. */
export function timelineOf(
  order: Pick<StoredOrder, "status" | "failed">,
  events: readonly OrderEvent[],
  next: { readonly title: string; readonly workingSince: Date | undefined } | undefined,
  now = nowMs(),
): Entry[] {
  const entries: Entry[] = [];
  let since = events[0]?.at.getTime() ?? now;
  for (const event of events) {
    // Clocks may differ between machines; the log's order counts.
    const to = Math.max(event.at.getTime(), since);
    const workFrom = Math.min(Math.max(event.startedAt?.getTime() ?? to, since), to);
    entries.push({
      ...described(event),
      reason: event.reason,
      actor: event.actor,
      attempt: event.attempt,
      record: isAmendment(event) ? null : event.record,
      at: event.at,
      from: since,
      workFrom,
      to,
    });
    since = to;
  }
  if (next && !order.failed) {
    const to = Math.max(now, since);
    const at = new Date(to);
    const workFrom = Math.min(Math.max(next.workingSince?.getTime() ?? to, since), to);
    const nothing = { reason: null, actor: null, attempt: null, record: null };
    entries.push({ kind: "now", title: next.title, ...nothing, at, from: since, workFrom, to });
  }
  return entries;
}

/** Whether the title says all that the record does. */
function isAmendment({ type }: OrderEvent): boolean {
  return type === "changed" || type.startsWith("hold.");
}

function described({ type, from, to, stage, record }: OrderEvent): Pick<Entry, "kind" | "title"> {
  const step = stage ?? "a stage";
  switch (type) {
    case "status":
      if (from === null) return { kind: "created", title: "Created" };
      if (stage === null) return { kind: "cancelled", title: `${CANCEL.name}: ${from} → ${to}` };
      return { kind: "done", title: `${stage}: ${from} → ${to}` };
    case "attempt-failed":
      return { kind: "attempt", title: `${step}: attempt failed` };
    case "failed":
      return { kind: "failed", title: `${step}: failed, out of attempts` };
    case "changed":
      return { kind: "note", title: `changed: ${String(record?.["fields"])}` };
    case "hold.placed":
      return { kind: "note", title: `held: ${String(record?.["hold"])}` };
    case "hold.released":
      return { kind: "note", title: `released: ${String(record?.["hold"])}` };
    case "waiting":
      return { kind: "waiting", title: `${step}: waits for somebody else` };
    case "resumed":
      return { kind: "resumed", title: `${step}: resumed` };
    case "cancel-requested":
      return { kind: "cancelling", title: "Cancellation requested" };
    case "payment.pending":
      return { kind: "payment", title: "Payment: the customer has to confirm" };
    case "payment.authorized":
    case "payment.captured":
    case "payment.declined":
    case "payment.cancelled":
    case "payment.expired":
      return { kind: "payment", title: `Payment ${type.slice("payment.".length)}` };
    case "dispute.inquiry":
    case "dispute.closed":
    case "dispute.opened":
    case "dispute.won":
    case "dispute.lost":
      return { kind: "payment", title: `Dispute ${type.slice("dispute.".length)}` };
    case "refund.created":
    case "refund.succeeded":
    case "refund.failed":
      return { kind: "payment", title: `Refund ${type.slice("refund.".length)}` };
    case "shipment.planned":
    case "shipment.booked":
    case "shipment.in_transit":
    case "shipment.out_for_delivery":
    case "shipment.delivered":
      return { kind: "done", title: `parcel ${numberOf(record)}: ${words(type)}` };
    case "shipment.exception":
    case "shipment.returned":
    case "shipment.lost":
    case "shipment.booking_refused":
    case "shipment.void_refused":
      return { kind: "failed", title: `parcel ${numberOf(record)}: ${words(type)}` };
    case "shipment.voided":
    case "shipment.closed":
      return { kind: "cancelling", title: `parcel ${numberOf(record)}: ${words(type)}` };
  }
}

function numberOf(record: OrderEvent["record"]): string {
  return String(record?.["shipment"] ?? "");
}

/** `shipment.out_for_delivery` as people say it. */
function words(type: OrderEvent["type"]): string {
  return type.replace(/^.*\./, "").replaceAll("_", " ");
}
