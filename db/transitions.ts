import type { OrderTransition, TransitionResult } from "../src/engine/ports.ts";
import { movedTo } from "../src/order/change.ts";
import { CANCELLED } from "../src/order/lifecycle.ts";
import type { Locks } from "../src/platform/group-commit.ts";
import { UnexpectedCountError, type Database } from "./database.ts";
import { insertEvents } from "./order-events.ts";
import { lockOrders } from "./order-states.ts";
import type { Statement, Transaction, Write } from "./queries.ts";
import { rowLocks } from "./row-locks.ts";
import { orders } from "./schema.ts";
import { columnsOf } from "./standing.ts";
import { assignmentsOf } from "./statements.ts";

/*
 * Moves orders from one status to the next, many at once, so that callers can share a transaction.
 */

/**
 * Moves orders on, each only if it still has the status that it is moved from (compare-and-set), and appends their
 * events in the same transaction. A moved order is no longer marked as failed.
 *
 * @param beforeCommit called when all is ready, and nothing committed yet.
 * @returns for each transition what became of it. @throws {DatabaseError}
 */
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
    // Nearly always all of them apply: only when one does not, each order is read first.
    if (!(error instanceof UnexpectedCountError)) throw error;
    return applyLocked(database, transitions, beforeCommit);
  }
}

/** Does the same, but reads each order first. */
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
      // Two transitions of one order in one call: the second one finds a new status.
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

/** What transitions lock: the rows of their orders. */
export function transitionLocks(database: Database): Locks<OrderTransition> {
  const locks = rowLocks(database, { order: { table: orders, column: orders.id } });
  return { ...locks, keysOf: ({ orderId }) => [locks.key("order", orderId)] };
}

/** By what one statement can do; none is empty. */
function groupsOf(transitions: readonly OrderTransition[]): SameTransitions[] {
  const groups = new Map<string, [OrderTransition, ...OrderTransition[]]>();
  for (const transition of transitions) {
    const kind = `${transition.from} ${transition.to}`;
    const group = groups.get(kind);
    if (group) group.push(transition);
    else groups.set(kind, [transition]);
  }
  return [...groups.values()];
}

function mustMove({ length }: SameTransitions, update: Statement): Write {
  return { ...update, mustAffect: length };
}

type SameTransitions = readonly [OrderTransition, ...OrderTransition[]];

/**
 * Affects the orders that have the status which they are moved from, and of which nobody wants anything else: orders to
 * be cancelled are only ever moved to CANCELLED without a look at them.
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
