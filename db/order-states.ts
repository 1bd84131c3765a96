import { and, asc, eq, gt } from "drizzle-orm";
import type { OrderState } from "../src/engine/ports.ts";
import type { Database } from "./database.ts";
import type { Queries } from "./queries.ts";
import { orders } from "./schema.ts";
import { read, selectFrom } from "./statements.ts";

/*
 * Where orders stand, without the rest of them: for those who look for late or lost ones, and for those who are about to
 * change them.
 */

/**
 * One page of the orders of a status, in order of id. However many there are, and whatever is the matter with them, it
 * reads the rows of the page and no others. @throws {DatabaseError}
 */
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
        updatedAt: orders.updatedAt,
        failedAt: orders.failedAt,
        cancelRequestedAt: orders.cancelRequestedAt,
      })
      // Left to itself, MariaDB looks up the status and then reads all of its entries up to the id.
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

/** In order of id, so that two batches with orders in common wait for each other and don't deadlock. */
const selectLocked = selectFrom(
  orders,
  ["id", "status", "cancelRequestedAt"],
  "WHERE id IN (?) ORDER BY id FOR UPDATE",
);

/** Locks the rows of these orders, as far as there are any, until the transaction ends. */
export async function lockOrders(queries: Queries, ids: readonly string[]) {
  const rows = await read(queries, selectLocked(ids));
  return new Map(rows.map((row) => [row.id, row]));
}

/** Orders looked at for the oldest one: those that have failed wait for somebody else. */
const LOOKED_AT_FOR_OLDEST = 100;

/**
 * The oldest order of a status that is on its way, as far as the first ones tell; undefined where there is none.
 * @throws {DatabaseError}
 */
export async function findOldest(
  database: Database,
  status: string,
): Promise<{ readonly id: string; readonly createdAt: Date; readonly updatedAt: Date } | undefined> {
  const first = database.query((queries) =>
    queries
      .select({
        id: orders.id,
        failedAt: orders.failedAt,
        createdAt: orders.createdAt,
        updatedAt: orders.updatedAt,
      })
      .from(orders, { forceIndex: "orders_by_status" })
      .where(eq(orders.status, status))
      .orderBy(asc(orders.id))
      .limit(LOOKED_AT_FOR_OLDEST),
  );
  return (await first).find(({ failedAt }) => failedAt === null);
}
