import type { OrderEvent } from "../../../db/order-events.ts";
import { CANCEL } from "../../order/lifecycle.ts";
import type { StoredOrder } from "../../order/order.ts";

/** One thing that happened to an order, or that it waits for, with the time that it took. */
export interface Entry {
  readonly kind: "created" | "done" | "attempt" | "failed" | "resumed" | "cancelling" | "cancelled" | "now";
  readonly title: string;
  readonly reason: string | null;
  readonly actor: string | null;
  readonly attempt: number | null;
  /** What the stage left behind. */
  readonly record: OrderEvent["record"];
  readonly at: Date;
  /** When the time that the entry tells of began: the wait, and after that the work. Milliseconds since 1970. */
  readonly from: number;
  /** When work began; the same as the end where there was none. */
  readonly workFrom: number;
  readonly to: number;
}

/** What happened to an order, in order, and what it waits for now. */
export function timelineOf(
  order: Pick<StoredOrder, "status" | "failed">,
  events: readonly OrderEvent[],
  next: { readonly title: string; readonly workingSince: Date | undefined } | undefined,
  now = Date.now(),
): Entry[] {
  const entries: Entry[] = [];
  let since = events[0]?.at.getTime() ?? now;
  for (const event of events) {
    // Machines may disagree on the time: what came later in the log came later.
    const to = Math.max(event.at.getTime(), since);
    const workFrom = Math.min(Math.max(event.startedAt?.getTime() ?? to, since), to);
    entries.push({
      ...described(event),
      reason: event.reason,
      actor: event.actor,
      attempt: event.attempt,
      record: event.record,
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

function described({ type, from, to, stage }: OrderEvent): Pick<Entry, "kind" | "title"> {
  const step = stage ?? "a stage";
  switch (type) {
    case "status":
      if (from === null) return { kind: "created", title: "Created" };
      if (stage === null) return { kind: "cancelled", title: `${CANCEL.name}: ${from} → ${to}` };
      return { kind: "done", title: `${stage}: ${from} → ${to}` };
    case "attempt-failed":
      return { kind: "attempt", title: `${step}: an attempt failed` };
    case "failed":
      return { kind: "failed", title: `${step}: failed, and rested` };
    case "resumed":
      return { kind: "resumed", title: `${step}: put back to work` };
    case "cancel-requested":
      return { kind: "cancelling", title: "Cancellation asked for" };
  }
}
