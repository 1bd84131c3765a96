import type { OrderTransition, TransitionResult } from "../src/engine/ports.ts";
import { movedTo } from "../src/order/change.ts";
import { CANCELLED } from "../src/order/lifecycle.ts";
import { groupBy } from "../src/platform/group-by.ts";
import type { Locks } from "../src/platform/contention.ts";
import { UnexpectedCountError } from "./commit.ts";
import type { Database } from "./database.ts";
import { insertEvents, type NewOrderEvent } from "./order-events.ts";
import { countCancelled } from "./cancelled-pieces.ts";
import { deleteBackorders, insertBackorders } from "./backorders.ts";
import { lockOrders } from "./order-states.ts";
import { paymentEvent, writePayments } from "./payments.ts";
import type { Statement, Transaction, Write } from "./queries.ts";
import { InvalidMoveError, lockWarehouse, STOCK_ROWS, stockKeysOf, type StockMove } from "./reservations.ts";
import { rowLocks } from "./row-locks.ts";
import { orders } from "./schema.ts";
import { shipmentEvent } from "./shipment-events.ts";
import { ordersWithOthers, tellOf, writeShipments } from "./shipments.ts";
import { columnsOf } from "./standing.ts";
import { assignmentsOf } from "./statements.ts";

/* Moves orders to their next status in batches, so that concurrent callers can share a transaction. */

/**
 * Implements `OrderStore.applyTransitions`, with the events and the stock in the same transaction.
 *
 * @throws {InvalidMoveError} {DatabaseError}
 */
export async function applyTransitions(
  database: Database,
  transitions: readonly OrderTransition[],
  beforeCommit?: () => void,
): Promise<TransitionResult[]> {
  try {
    return await apply(database, transitions, { beforeCommit, ordersFirst: false });
  } catch (error) {
    // Nearly always all apply, so orders are read first only after one did not.
    if (!(error instanceof UnexpectedCountError || error instanceof InvalidMoveError)) throw error;
    return apply(database, transitions, { beforeCommit, ordersFirst: true });
  }
}

/** @param ordersFirst reads each order; otherwise assumes that it is as expected. @throws {UnexpectedCountError} */
function apply(
  database: Database,
  transitions: readonly OrderTransition[],
  {
    ordersFirst,
    beforeCommit,
  }: { readonly ordersFirst: boolean; readonly beforeCommit?: (() => void) | undefined },
): Promise<TransitionResult[]> {
  const work = async (transaction: Transaction): Promise<TransitionResult[]> => {
    const moves = transitions.flatMap(moveOf);
    const warehouse = moves.length > 0 ? await lockWarehouse(transaction, moves) : undefined;
    const orderIds = transitions.map(({ orderId }) => orderId);
    const found = ordersFirst ? await lockOrders(transaction, orderIds) : undefined;
    // Only a change of the order cancels pieces.
    const changed = transitions.filter(
      ({ orderId, cancelledPieces }) =>
        cancelledPieces !== undefined && (found?.get(orderId)?.changedAt ?? null) !== null,
    );
    const cancelled = await countCancelled(
      transaction,
      changed.map(({ orderId }) => orderId),
    );
    const replanned = await ordersWithOthers(
      transaction,
      changed.flatMap(({ shipment }) => shipment ?? []),
    );
    const results = transitions.map((transition): TransitionResult => {
      const { orderId, from, to, unlessCancelled, cancelledPieces } = transition;
      const order = found ? found.get(orderId) : { status: from, cancelRequestedAt: null, changedAt: null };
      const toBeCancelled = order !== undefined && order.cancelRequestedAt !== null;
      if (order?.status !== from || (unlessCancelled && toBeCancelled)) return { made: false, toBeCancelled };
      if (cancelledPieces !== undefined && cancelledPieces !== (cancelled.get(orderId) ?? cancelledPieces))
        return { made: false, toBeCancelled, isStale: true };
      if (replanned.has(orderId)) return { made: false, toBeCancelled, isStale: true };
      for (const move of moveOf(transition)) {
        const moved = warehouse?.make(move);
        if (moved?.ok === false) return { made: false, toBeCancelled, soldOut: moved.soldOut };
      }
      // A second transition of the same order finds the new status.
      order.status = to;
      return {
        made: true,
        toBeCancelled: toBeCancelled || to === CANCELLED,
        ...(order.changedAt !== null && { isChanged: true }),
      };
    });
    const applied = transitions.filter((_, index) => results[index]?.made);
    const stale = transitions.filter((_, index) => results[index]?.isStale);
    const update = ordersFirst ? updateGroup : updateUncancelled;
    const updates = groupsOf(applied).map((group) => mustMove(group, update(group)));
    beforeCommit?.();
    await transaction.commit([
      ...updates,
      ...writePayments(applied.flatMap(({ payment }) => payment ?? [])),
      ...writeShipments(applied.flatMap(({ shipment }) => shipment ?? [])),
      ...tellOf(stale.flatMap(({ shipment }) => shipment ?? [])),
      ...insertEvents(eventsOf(applied)),
      ...(warehouse?.writes() ?? []),
      ...backorderWrites(transitions, results),
    ]);
    return results;
  };
  return database.transaction(work, { lockWaits: 1 });
}

/** Orders that begin to wait for stock, and those that have got theirs. */
function backorderWrites(
  transitions: readonly OrderTransition[],
  results: readonly TransitionResult[],
): Statement[] {
  const waiting = transitions.filter(({ stock }) => stock?.orWait);
  if (waiting.length === 0) return [];
  const hasGot = ({ orderId }: OrderTransition) =>
    results.some(({ made }, index) => made && transitions[index]?.orderId === orderId);
  const isSoldOut = (transition: OrderTransition) =>
    results[transitions.indexOf(transition)]?.soldOut !== undefined;
  return [
    ...insertBackorders(
      waiting.filter(isSoldOut).map(({ orderId, stock }) => ({ orderId, lines: stock?.lines ?? [] })),
    ),
    ...deleteBackorders(waiting.filter(hasGot).map(({ orderId }) => orderId)),
  ];
}

/** The move of stock that comes with a transition, if any. */
function moveOf({ orderId, stock }: OrderTransition): StockMove[] {
  return stock ? [{ orderId, operation: stock.operation, lines: stock.lines }] : [];
}

/** The rows that transitions lock: their orders, and what they move of the stock. */
export function transitionLocks(database: Database): Locks<OrderTransition> {
  const locks = rowLocks(database, { ...STOCK_ROWS, order: { table: orders, column: orders.id } });
  return {
    ...locks,
    keysOf: (transition) => [
      ...moveOf(transition).flatMap((move) => stockKeysOf(move, locks.key)),
      locks.key("order", transition.orderId),
    ],
  };
}

/** Groups that one statement can apply; none is empty. */
function groupsOf(transitions: readonly OrderTransition[]): SameTransitions[] {
  return [...groupBy(transitions, ({ from, to }) => `${from} ${to}`).values()];
}

function mustMove({ length }: SameTransitions, update: Statement): Write {
  return { ...update, mustAffect: length };
}

type SameTransitions = readonly [OrderTransition, ...OrderTransition[]];

/**
 * Matches orders that still have the expected status, no cancellation request, and were never changed. Others can only
 * move to CANCELLED without being read first.
 */
function updateUncancelled(group: SameTransitions): Statement {
  const { sql, values } = updateGroup(group);
  return group[0].to === CANCELLED
    ? { sql, values }
    : { sql: `${sql} AND cancel_requested_at IS NULL AND changed_at IS NULL`, values };
}

/** By the primary key, so that rows are locked in order of id. Each order is changed at its own time, as its event says. */
function updateGroup(group: SameTransitions): Statement {
  const { from, to, at } = group[0];
  const ids = group.map(({ orderId }) => orderId);
  const { updatedAt, ...same } = columnsOf(movedTo({ to, at }));
  const { sql, values } = assignmentsOf(orders, same);
  const times = group.map((transition) => transition.at);
  return {
    sql: `UPDATE orders FORCE INDEX (PRIMARY) SET ${sql}, updated_at = ELT(FIELD(id, ?), ?) WHERE id IN (?) AND status = ?`,
    values: [...values, ids, times, ids, from],
  };
}

/** The events of transitions, after those of the payments and shipments that come with them. */
function eventsOf(transitions: readonly OrderTransition[]): readonly NewOrderEvent[] {
  // Most have neither.
  if (transitions.every(({ payment, shipment }) => !payment && !shipment)) return transitions;
  return transitions.flatMap((transition) => {
    const { payment, shipment, from } = transition;
    return [
      ...(payment ? [paymentEvent(payment, from)] : []),
      ...(shipment ? [shipmentEvent(shipment, from)] : []),
      transition,
    ];
  });
}
