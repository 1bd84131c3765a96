import { inArray } from "drizzle-orm";
import type { OrderWait, WokenOrder } from "../src/engine/ports.ts";
import { waitingFor } from "../src/order/change.ts";
import { CANCEL } from "../src/order/lifecycle.ts";
import type { Database } from "./database.ts";
import { insertUnmoved } from "./order-events.ts";
import { lockOrders } from "./order-states.ts";
import { shortened } from "./reason.ts";
import { orders } from "./schema.ts";
import { columnsOf } from "./standing.ts";
import { assignmentsOf } from "./statements.ts";
import { nowMs } from "../src/platform/clock.ts";

/** Implements `OrderStore.markWaiting`. @throws {DatabaseError} */
export async function markWaiting(database: Database, waits: readonly OrderWait[]): Promise<boolean[]> {
  return database.transaction(
    async (queries) => {
      const current = await lockOrders(
        queries,
        waits.map(({ orderId }) => orderId),
      );
      const noted = waits.map(({ orderId, status, stage, wokenAt }) => {
        const order = current.get(orderId);
        return (
          order?.status === status &&
          (order.cancelRequestedAt !== null) === (stage === CANCEL.name) &&
          order.wokenAt?.getTime() === wokenAt?.getTime()
        );
      });
      const waiting = waits.filter((_, index) => noted[index]);
      const updates = waiting.map(({ orderId, stage, for: what, since, until, at }) => {
        const change = waitingFor({ stage, for: shortened(what), since, until, at });
        const { sql, values } = assignmentsOf(orders, columnsOf(change));
        return { sql: `UPDATE orders SET ${sql} WHERE id = ?`, values: [...values, orderId] };
      });
      const events = waiting
        .filter(({ isNew }) => isNew)
        .map(({ orderId, status, stage, for: what, at, attempt, startedAt }) => {
          return { orderId, status, stage, reason: shortened(what), at, attempt, startedAt };
        });
      await queries.commit([...updates, ...insertUnmoved("waiting", events)]);
      return noted;
    },
    { lockWaits: 1 },
  );
}

/** Implements `OrderStore.wakeOrders`. @throws {DatabaseError} */
export async function wakeOrders(
  database: Database,
  ids: readonly string[],
): Promise<(WokenOrder | undefined)[]> {
  return database.transaction(
    async (queries) => {
      const current = await lockOrders(queries, ids);
      const found = [...current.values()];
      if (found.length > 0) {
        // Later than any wake before, whatever the clocks say: a stage that was asked in between must notice this one.
        const latest = Math.max(...found.map(({ wokenAt }) => (wokenAt?.getTime() ?? 0) + 1), nowMs());
        await queries.commit([
          queries
            .update(orders)
            .set({ wokenAt: new Date(latest) })
            .where(
              inArray(
                orders.id,
                found.map(({ id }) => id),
              ),
            ),
        ]);
      }
      return ids.map((id) => {
        const order = current.get(id);
        if (order === undefined) return undefined;
        const { status, waitingStage, failedStage, cancelRequestedAt } = order;
        const isCancelled = cancelRequestedAt !== null;
        return {
          id,
          status,
          isWaiting: waitingStage !== null && isCancelled === (waitingStage === CANCEL.name),
          isCancelled,
          failedIn: failedStage,
        };
      });
    },
    { lockWaits: 1 },
  );
}
