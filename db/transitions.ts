import type { AttemptMark } from "../src/order/event.ts";
import { CANCELLED } from "../src/order/lifecycle.ts";
import type { StageRecord } from "../src/order/order.ts";
import { UnexpectedCountError, type Database } from "./database.ts";
import { appendEvents } from "./order-events.ts";
import { lockOrders } from "./order-states.ts";
import type { Statement, Transaction } from "./queries.ts";
import { rowLocks, type Locks } from "./row-locks.ts";
import { orders } from "./schema.ts";

/*
 * Moves orders from one status to the next, many at once, so that callers can share a transaction.
 */

/** A move from one status to the next, or to CANCELLED. */
export interface StatusChange extends Partial<AttemptMark> {
  readonly orderId: string;
  readonly from: string;
  readonly to: string;
  /** The stage that did the work; null for a cancellation. */
  readonly stage: string | null;
  readonly reason: string | null;
  readonly record: StageRecord | null;
  /** Leaves the order alone when its cancellation was asked for meanwhile. */
  readonly unlessCancelled: boolean;
  readonly at: Date;
}

/** What became of a change. */
export interface ChangeResult {
  /** Whether it was made. */
  readonly made: boolean;
  /** Whether the order is to be cancelled, as far as anybody knew when it was moved. */
  readonly toBeCancelled: boolean;
}

/**
 * Moves orders on, each only if it still has the status that it is moved from (compare-and-set), and appends their
 * events in the same transaction. A moved order is no longer marked as failed.
 *
 * @param beforeCommit called when all is ready, and nothing committed yet.
 * @returns for each change what became of it. @throws {DatabaseError}
 */
export async function changeStatuses(
  database: Database,
  changes: readonly StatusChange[],
  beforeCommit?: () => void,
): Promise<ChangeResult[]> {
  try {
    return await database.transaction(
      async (transaction) => {
        for (const group of groupsOf(changes)) transaction.atCommit(moveGroup(group), group.length);
        appendChanges(transaction, changes);
        beforeCommit?.();
        return changes.map(({ to }) => ({ made: true, toBeCancelled: to === CANCELLED }));
      },
      { lockWaits: 1 },
    );
  } catch (error) {
    // Nearly always all of them apply: only when one does not, each order is looked at before.
    if (!(error instanceof UnexpectedCountError)) throw error;
    return changeLocked(database, changes, beforeCommit);
  }
}

/** The same with a look at each order before. */
async function changeLocked(
  database: Database,
  changes: readonly StatusChange[],
  beforeCommit?: () => void,
): Promise<ChangeResult[]> {
  const work = async (transaction: Transaction): Promise<ChangeResult[]> => {
    const current = await lockOrders(
      transaction,
      changes.map((change) => change.orderId),
    );
    const results = changes.map((change): ChangeResult => {
      const order = current.get(change.orderId);
      const toBeCancelled = order !== undefined && order.cancelRequestedAt !== null;
      const made = order?.status === change.from && !(change.unlessCancelled && toBeCancelled);
      // Two changes of one order in one call: the second one finds the status moved.
      if (made) order.status = change.to;
      return { made, toBeCancelled };
    });
    const applied = changes.filter((_, index) => results[index]?.made);
    for (const group of groupsOf(applied)) transaction.atCommit(moveLocked(group), group.length);
    appendChanges(transaction, applied);
    beforeCommit?.();
    return results;
  };
  return database.transaction(work, { lockWaits: 1 });
}

/** What changes of status lock: the rows of their orders. */
export function statusLocks(database: Database): Locks<StatusChange> {
  const locks = rowLocks(database, { order: { table: orders, column: orders.id } });
  return { ...locks, keysOf: ({ orderId }) => [locks.key("order", orderId)] };
}

/** By what one statement can do; none is empty. */
function groupsOf(changes: readonly StatusChange[]): Iterable<StatusChanges> {
  const groups = new Map<string, [StatusChange, ...StatusChange[]]>();
  for (const change of changes) {
    const kind = `${change.from} ${change.to}`;
    const group = groups.get(kind);
    if (group) group.push(change);
    else groups.set(kind, [change]);
  }
  return groups.values();
}

type StatusChanges = readonly [StatusChange, ...StatusChange[]];

/**
 * Affects the orders that have the status which they are moved from, and of which nobody wants anything else: orders to
 * be cancelled are only ever moved to CANCELLED without a look at them.
 */
function moveGroup(group: StatusChanges): Statement {
  const { sql, values } = moveLocked(group);
  return group[0].to === CANCELLED
    ? { sql, values }
    : { sql: `${sql} AND cancel_requested_at IS NULL`, values };
}

/** By the primary key, so that rows are locked in order of id. */
function moveLocked(group: StatusChanges): Statement {
  const { from, to } = group[0];
  return {
    sql: `UPDATE orders FORCE INDEX (PRIMARY)
      SET status = ?, updated_at = ?, failed_stage = NULL, failed_reason = NULL, failed_at = NULL
      WHERE id IN (?) AND status = ?`,
    values: [to, latest(group), group.map(({ orderId }) => orderId), from],
  };
}

function appendChanges(transaction: Transaction, changes: readonly StatusChange[]): void {
  appendEvents(
    transaction,
    changes.map(({ unlessCancelled, ...event }) => event),
  );
}

function latest(changes: readonly StatusChange[]): Date {
  return new Date(Math.max(...changes.map((change) => change.at.getTime())));
}
