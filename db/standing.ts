import type { Standing } from "../src/order/change.ts";
import type { Waiting } from "../src/order/order.ts";
import type { orders } from "./schema.ts";

type OrderColumns = Pick<
  typeof orders.$inferSelect,
  | "status"
  | "failedStage"
  | "failedReason"
  | "failedAt"
  | "waitingStage"
  | "waitingFor"
  | "waitingSince"
  | "waitingUntil"
  | "wokenAt"
  | "cancelRequestedAt"
  | "cancelReason"
  | "updatedAt"
>;

/** An order's state, read from its row. */
export function standingOf(row: OrderColumns): Standing {
  const { failedStage, failedReason, failedAt, cancelRequestedAt, cancelReason } = row;
  return {
    status: row.status,
    failed:
      failedStage === null || failedAt === null
        ? null
        : { stage: failedStage, reason: failedReason ?? "", at: failedAt },
    waiting: waitingOf(row),
    wokenAt: row.wokenAt,
    cancellation:
      cancelRequestedAt === null ? null : { reason: cancelReason ?? "", requestedAt: cancelRequestedAt },
    updatedAt: row.updatedAt,
  };
}

/** What an order waits for, read from its row. */
export function waitingOf({
  waitingStage: stage,
  waitingFor,
  waitingSince: since,
  waitingUntil: until,
}: Pick<OrderColumns, "waitingStage" | "waitingFor" | "waitingSince" | "waitingUntil">): Waiting | null {
  if (stage === null || since === null) return null;
  return { stage, for: waitingFor ?? "", since, until };
}

/** The columns that a change writes to an order's row. */
export function columnsOf({
  status,
  failed,
  waiting,
  wokenAt,
  cancellation,
  updatedAt,
}: Partial<Standing>): Partial<OrderColumns> {
  return {
    ...(status !== undefined && { status }),
    ...(failed !== undefined && {
      failedStage: failed?.stage ?? null,
      failedReason: failed?.reason ?? null,
      failedAt: failed?.at ?? null,
    }),
    ...(waiting !== undefined && {
      waitingStage: waiting?.stage ?? null,
      waitingFor: waiting?.for ?? null,
      waitingSince: waiting?.since ?? null,
      waitingUntil: waiting?.until ?? null,
    }),
    ...(wokenAt !== undefined && { wokenAt }),
    ...(cancellation !== undefined && {
      cancelRequestedAt: cancellation?.requestedAt ?? null,
      cancelReason: cancellation?.reason ?? null,
    }),
    ...(updatedAt !== undefined && { updatedAt }),
  };
}
