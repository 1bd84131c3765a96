import type { OrderTransition, TransitionResult } from "../src/engine/ports.ts";
import { movedTo } from "../src/order/change.ts";
import { CANCELLED } from "../src/order/lifecycle.ts";
import { groupBy } from "../src/platform/group-by.ts";
import type { Locks } from "../src/platform/contention.ts";
import { UnexpectedCountError, type Database } from "./database.ts";
import { insertEvents } from "./order-events.ts";
import { lockOrders } from "./order-states.ts";
import type { Statement, Transaction, Write } from "./queries.ts";
import { rowLocks } from "./row-locks.ts";
import { orders } from "./schema.ts";
import { columnsOf } from "./standing.ts";
import { assignmentsOf } from "./statements.ts";

/* Moves orders to their next status in batches, so that concurrent callers can share a transaction. */

/** Implements `OrderStore.applyTransitions`, with the events in the same transaction. @throws {DatabaseError} */
export async function applyTransitions(
  database: Database,
  transitions: readonly OrderTransition[],
  beforeCommit?: () => void,
): Promise<TransitionResult[]> {
  try {
    return await database.transaction(
      async (transaction) => {
        const updates = groupsOf(transitions).map((group) => mustMove(group, updateUncancelled(group)));
        beforeCommit?.();
        await transaction.commit([...updates, ...insertTransitions(transitions)]);
        return transitions.map(({ to }) => ({ made: true, toBeCancelled: to === CANCELLED }));
      },
      { lockWaits: 1 },
    );
  } catch (error) {
    // Nearly always all apply, so orders are read first only after one did not.
    if (!(error instanceof UnexpectedCountError)) throw error;
    return applyLocked(database, transitions, beforeCommit);
  }
}

/** The same, but reads each order first. */
async function applyLocked(
  database: Database,
  transitions: readonly OrderTransition[],
  beforeCommit?: () => void,
): Promise<TransitionResult[]> {
  const work = async (transaction: Transaction): Promise<TransitionResult[]> => {
    const current = await lockOrders(
      transaction,
      transitions.map((transition) => transition.orderId),
    );
    const results = transitions.map((transition): TransitionResult => {
      const order = current.get(transition.orderId);
      const toBeCancelled = order !== undefined && order.cancelRequestedAt !== null;
      const made = order?.status === transition.from && !(transition.unlessCancelled && toBeCancelled);
      // A second transition of the same order finds the new status.
      if (made) order.status = transition.to;
      return { made, toBeCancelled };
    });
    const applied = transitions.filter((_, index) => results[index]?.made);
    const updates = groupsOf(applied).map((group) => mustMove(group, updateGroup(group)));
    beforeCommit?.();
    await transaction.commit([...updates, ...insertTransitions(applied)]);
    return results;
  };
  return database.transaction(work, { lockWaits: 1 });
}

/** The rows that transitions lock: their orders. */
export function transitionLocks(database: Database): Locks<OrderTransition> {
  const locks = rowLocks(database, { order: { table: orders, column: orders.id } });
  return { ...locks, keysOf: ({ orderId }) => [locks.key("order", orderId)] };
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
 * Matches orders that still have the expected status and no cancellation request. Orders with a request can
 * only move to CANCELLED without being read first.
 */
function updateUncancelled(group: SameTransitions): Statement {
  const { sql, values } = updateGroup(group);
  return group[0].to === CANCELLED
    ? { sql, values }
    : { sql: `${sql} AND cancel_requested_at IS NULL`, values };
}

/** By the primary key, so that rows are locked in order of id. */
function updateGroup(group: SameTransitions): Statement {
  const { from, to } = group[0];
  const { sql, values } = assignmentsOf(orders, columnsOf(movedTo({ to, at: latest(group) })));
  return {
    sql: `UPDATE orders FORCE INDEX (PRIMARY) SET ${sql} WHERE id IN (?) AND status = ?`,
    values: [...values, group.map(({ orderId }) => orderId), from],
  };
}

function insertTransitions(transitions: readonly OrderTransition[]): Statement[] {
  return insertEvents(transitions.map(({ unlessCancelled, ...event }) => event));
}

function latest(transitions: readonly OrderTransition[]): Date {
  return new Date(Math.max(...transitions.map((transition) => transition.at.getTime())));
}
