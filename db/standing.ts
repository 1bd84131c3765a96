import type { Standing } from "../src/order/change.ts";
import type { orders } from "./schema.ts";

type OrderColumns = Pick<
  typeof orders.$inferSelect,
  "status" | "failedStage" | "failedReason" | "failedAt" | "cancelRequestedAt" | "cancelReason" | "updatedAt"
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
    cancellation:
      cancelRequestedAt === null ? null : { reason: cancelReason ?? "", requestedAt: cancelRequestedAt },
    updatedAt: row.updatedAt,
  };
}

/** The columns that a change writes to an order's row. */
export function columnsOf({
  status,
  failed,
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
    ...(cancellation !== undefined && {
      cancelRequestedAt: cancellation?.requestedAt ?? null,
      cancelReason: cancellation?.reason ?? null,
    }),
    ...(updatedAt !== undefined && { updatedAt }),
  };
}
