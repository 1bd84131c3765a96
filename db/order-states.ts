import { and, asc, eq, gt, isNull, lt } from "drizzle-orm";
import type { OrderState } from "../src/engine/ports.ts";
import type { Database } from "./database.ts";
import type { Queries, Reads } from "./queries.ts";
import { orders } from "./schema.ts";
import { read, selectFrom } from "./statements.ts";

/* Orders' statuses without their other data, to find late or lost orders and to change them. */

/** Implements `OrderStore.listStates`. Reads only the page's rows. @throws {DatabaseError} */
export async function listStates(
  database: Database,
  page: { readonly status: string; readonly after?: string | undefined; readonly limit: number },
): Promise<OrderState[]> {
  return database.query((queries) =>
    queries
      .select({
        id: orders.id,
        status: orders.status,
        createdAt: orders.createdAt,
        dueFrom: orders.dueFrom,
        updatedAt: orders.updatedAt,
        failedAt: orders.failedAt,
        waitingSince: orders.waitingSince,
        waitingUntil: orders.waitingUntil,
        waitingFor: orders.waitingFor,
        wokenAt: orders.wokenAt,
        holds: orders.holds,
        cancelRequestedAt: orders.cancelRequestedAt,
      })
      // Otherwise MariaDB reads all entries of the status up to the id.
      .from(orders, { forceIndex: "orders_by_status" })
      .where(
        and(eq(orders.status, page.status), page.after === undefined ? undefined : gt(orders.id, page.after)),
      )
      .orderBy(asc(orders.id))
      .limit(page.limit),
  );
}

/** Every status that some order has. @throws {DatabaseError} */
export async function listStatuses(database: Database): Promise<string[]> {
  const rows = await database.query((queries) =>
    queries.selectDistinct({ status: orders.status }).from(orders),
  );
  return rows.map((row) => row.status);
}

/** In order of id, so that overlapping batches don't deadlock. */
const selectLocked = selectFrom(
  orders,
  ["id", "status", "failedStage", "cancelRequestedAt", "waitingStage", "wokenAt", "changedAt", "holds"],
  "WHERE id IN (?) ORDER BY id FOR UPDATE",
);

/** Locks the rows of these orders, where they exist, until the transaction ends. */
export async function lockOrders(queries: Queries, ids: readonly string[]) {
  const rows = await read(queries, selectLocked(ids));
  return new Map(rows.map((row) => [row.id, row]));
}

/** Whether somebody holds the order. */
export function isHeld({ holds }: { readonly holds: readonly object[] | null }): boolean {
  return holds !== null && holds.length > 0;
}

/** Whatever the clocks say: two changes never look like one. */
export function laterThan(before: Date | null, at: Date): Date {
  return before !== null && before >= at ? new Date(before.getTime() + 1) : at;
}

/** Maximum orders of a status to look at, since those that have failed or wait are skipped. */
const LOOKED_AT = 1_000;

/** The first orders of a status, by their ids and so by their age. */
function firstOf(queries: Reads, status: string) {
  return queries
    .select({
      id: orders.id,
      failedAt: orders.failedAt,
      waitingSince: orders.waitingSince,
      cancelRequestedAt: orders.cancelRequestedAt,
      createdAt: orders.createdAt,
      updatedAt: orders.updatedAt,
    })
    .from(orders, { forceIndex: "orders_by_status" })
    .where(eq(orders.status, status))
    .orderBy(asc(orders.id))
    .limit(LOOKED_AT)
    .as("first");
}

/**
 * The oldest order of a status that neither has failed nor waits for somebody else, among the first ones; undefined if
 * there is none. @throws {DatabaseError}
 */
export async function findOldest(
  database: Database,
  status: string,
): Promise<{ readonly id: string; readonly createdAt: Date; readonly updatedAt: Date } | undefined> {
  return database.query(async (queries) => {
    const first = firstOf(queries, status);
    const [oldest] = await queries
      .select({ id: first.id, createdAt: first.createdAt, updatedAt: first.updatedAt })
      .from(first)
      .where(and(isNull(first.failedAt), isNull(first.waitingSince)))
      .orderBy(asc(first.id))
      .limit(1);
    return oldest;
  });
}

/**
 * Orders of a status that nobody has touched since then, among the first ones, but for those that have failed or wait for
 * somebody else. @throws {DatabaseError}
 */
export async function findUntouched(
  database: Database,
  status: string,
  { since, limit }: { readonly since: Date; readonly limit: number },
): Promise<{ readonly id: string; readonly isCancelled: boolean }[]> {
  return database.query(async (queries) => {
    const first = firstOf(queries, status);
    const found = await queries
      .select({ id: first.id, cancelRequestedAt: first.cancelRequestedAt })
      .from(first)
      .where(and(lt(first.updatedAt, since), isNull(first.failedAt), isNull(first.waitingSince)))
      .orderBy(asc(first.id))
      .limit(limit);
    return found.map(({ id, cancelRequestedAt }) => ({ id, isCancelled: cancelRequestedAt !== null }));
  });
}
