import { CREATED } from "./lifecycle.ts";
import type { NewOrder, StageRecord, StoredOrder } from "./order.ts";

/*
 * What an order is after each change that can befall it. Whoever makes a change says it by these functions, be it in
 * MySQL, in memory, or in an answer.
 */

/** What changes of an order while it is on its way. */
export type Standing = Pick<StoredOrder, "status" | "failed" | "cancellation" | "updatedAt">;

/** An order that was just written down. */
export function placed(order: NewOrder): StoredOrder {
  return {
    ...order,
    records: {},
    status: CREATED,
    failed: null,
    cancellation: null,
    updatedAt: order.createdAt,
  };
}

/** It has moved to another status: whatever failed before is done now. */
export function movedTo({ to, at }: { readonly to: string; readonly at: Date }) {
  return { status: to, failed: null, updatedAt: at } satisfies Partial<Standing>;
}

/** It rests in a step's failed set. */
export function failedIn(failure: { readonly stage: string; readonly reason: string; readonly at: Date }) {
  const { stage, reason, at } = failure;
  return { failed: { stage, reason, at }, updatedAt: at } satisfies Partial<Standing>;
}

/** It has left the failed set, but not got any further. */
export function recovered(at: Date) {
  return { failed: null, updatedAt: at } satisfies Partial<Standing>;
}

/** Somebody has it go on. That is no change of the order: whoever looks for what has not moved finds it at once. */
export function resumed() {
  return { failed: null } satisfies Partial<Standing>;
}

/** It is to be cancelled. */
export function cancellationRequested({ reason, at }: { readonly reason: string; readonly at: Date }) {
  return { cancellation: { reason, requestedAt: at }, updatedAt: at } satisfies Partial<Standing>;
}

/** An order after a transition, with what its stage left behind. */
export function afterTransition(
  order: StoredOrder,
  transition: {
    readonly to: string;
    /** Null for a cancellation. */
    readonly stage: string | null;
    readonly record: StageRecord | null;
    readonly at: Date;
  },
): StoredOrder {
  const { stage, record } = transition;
  const records = stage === null || record === null ? order.records : { ...order.records, [stage]: record };
  return { ...order, ...movedTo(transition), records };
}
