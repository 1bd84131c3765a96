import { and, eq, inArray, isNull } from "drizzle-orm";
import type { CancellationRequest, CancellationsRequest, NewAction } from "../src/engine/ports.ts";
import { cancellationRequested } from "../src/order/change.ts";
import type { Database } from "./database.ts";
import { insertAction } from "./operator-actions.ts";
import { insertUnmoved } from "./order-events.ts";
import { isHeld, lockOrders } from "./order-states.ts";
import { shortened } from "./reason.ts";
import { orders } from "./schema.ts";
import { columnsOf } from "./standing.ts";

/** Implements `OrderStore.requestCancellation`. @throws {DatabaseError} */
export async function requestCancellation(
  database: Database,
  request: CancellationRequest,
  action?: NewAction,
): Promise<boolean> {
  const inStatus = and(eq(orders.id, request.orderId), inArray(orders.status, [...request.whileIn]));
  const reason = shortened(request.reason);
  return database.transaction(async (queries) => {
    const [noted] = await queries
      .update(orders)
      .set(columnsOf(cancellationRequested({ reason, at: request.at })))
      .where(and(inStatus, isNull(orders.cancelRequestedAt)));
    const [order] = await queries
      .select({ at: orders.cancelRequestedAt, status: orders.status })
      .from(orders)
      .where(inStatus);
    if (order && noted.affectedRows === 1) {
      const { whileIn, stage = null, ...event } = request;
      await queries.commit([
        ...insertUnmoved("cancel-requested", [{ ...event, status: order.status, stage, reason }]),
        ...(action ? [insertAction(action)] : []),
      ]);
    }
    return order !== undefined && order.at !== null;
  });
}

/** Implements `OrderStore.requestCancellations`. @throws {DatabaseError} */
export async function requestCancellations(
  database: Database,
  request: CancellationsRequest,
): Promise<number> {
  if (request.orderIds.length === 0) return 0;
  const { status, at } = request;
  const reason = shortened(request.reason);
  return database.transaction(async (queries) => {
    const current = await lockOrders(queries, request.orderIds);
    const ids = [...current.values()].flatMap((order) =>
      order.status === status && order.cancelRequestedAt === null && !isHeld(order) ? [order.id] : [],
    );
    if (ids.length === 0) return 0;
    await queries
      .update(orders)
      .set(columnsOf(cancellationRequested({ reason, at })))
      .where(inArray(orders.id, ids));
    const events = ids.map((orderId) => ({ orderId, status, stage: null, reason, at }));
    await queries.commit(insertUnmoved("cancel-requested", events));
    return ids.length;
  });
}
