import { and, asc, count, desc, eq, gt, inArray, isNotNull, max, min, or } from "drizzle-orm";
import type {
  BoundedCount,
  FailedPage,
  FailedPlace,
  FailureFilter,
  NewAction,
  OrderFailure,
} from "../src/engine/ports.ts";
import { failedIn, recovered, resumed } from "../src/order/change.ts";
import { CANCEL } from "../src/order/lifecycle.ts";
import type { Database } from "./database.ts";
import { countIn, FAILED, stagesWith } from "./marked.ts";
import { insertAction } from "./operator-actions.ts";
import { insertUnmoved } from "./order-events.ts";
import { lockOrders } from "./order-states.ts";
import type { Reads } from "./queries.ts";
import { shortened } from "./reason.ts";
import { orders } from "./schema.ts";
import { columnsOf } from "./standing.ts";
import { timestamp } from "../src/platform/clock.ts";

/** Implements `OrderStore.markFailed`. @throws {DatabaseError} */
export async function markFailed(database: Database, failure: OrderFailure): Promise<void> {
  const { whileIn, ...event } = failure;
  const { orderId, at } = failure;
  const reason = shortened(failure.reason);
  await database.transaction(async (queries) => {
    const { status, cancelRequestedAt } = (await lockOrders(queries, [orderId])).get(orderId) ?? {};
    if (status === undefined || !whileIn.includes(status)) return;
    // Whichever step finds a cancellation request carries it out; it is the cancelling that has failed, and is resumed.
    const stage = cancelRequestedAt === null ? failure.stage : CANCEL.name;
    await queries
      .update(orders)
      .set(columnsOf(failedIn({ stage, reason, at })))
      .where(eq(orders.id, orderId));
    await queries.commit(insertUnmoved("failed", [{ ...event, stage, status, reason }]));
  });
}

/** Clears an order's failure, and its wait, while its stage runs again. @throws {DatabaseError} */
export async function clearFailed(database: Database, orderId: string): Promise<void> {
  await database.transaction(async (queries) =>
    queries.commit([
      queries
        .update(orders)
        .set(columnsOf(recovered(timestamp())))
        .where(eq(orders.id, orderId)),
    ]),
  );
}

/** Implements `OperatorStore.listFailed`. Reads only the page's rows. @throws {DatabaseError} */
export async function listFailed(
  database: Database,
  { stage, reason, before }: FailureFilter,
  page: { readonly limit: number; readonly after?: FailedPlace | undefined },
): Promise<FailedPage> {
  const after = page.after ?? { stage: stage ?? "", id: "" };
  const sameStage = and(eq(orders.failedStage, after.stage), gt(orders.id, after.id));
  const rows = await database.query((queries) =>
    queries
      .select({
        id: orders.id,
        status: orders.status,
        stage: orders.failedStage,
        reason: orders.failedReason,
        at: orders.failedAt,
        cancelRequestedAt: orders.cancelRequestedAt,
      })
      .from(orders, { forceIndex: "orders_by_failure" })
      .where(stage === undefined ? or(gt(orders.failedStage, after.stage), sameStage) : sameStage)
      // Not by a single stage, or MariaDB would sort rows that are in order.
      .orderBy(...(stage === undefined ? [asc(orders.failedStage)] : []), asc(orders.id))
      .limit(page.limit),
  );
  const isChosen = (row: (typeof rows)[number]) =>
    (reason === undefined || isOfKind(row.reason, reason)) &&
    (before === undefined || (row.at !== null && row.at < before));
  const last = rows.length === page.limit ? rows.at(-1) : undefined;
  return {
    orders: rows.filter(isChosen).map(({ id, status, cancelRequestedAt }) => ({
      id,
      status,
      cancelRequested: cancelRequestedAt !== null,
    })),
    looked: rows.length,
    next: last && { stage: last.stage ?? "", id: last.id },
  };
}

/**
 * Implements `OperatorStore.resumeOrders`. `updated_at` stays, so that the sweeper finds at once that their
 * jobs have ended. Of concurrent callers, only the first counts an order. @throws {DatabaseError}
 */
export async function resumeOrders(
  database: Database,
  ids: readonly string[],
  actor: string | null,
  action?: NewAction,
): Promise<number> {
  if (ids.length === 0) return 0;
  const at = timestamp();
  return database.transaction(async (queries) => {
    // Not by the indexed stage: MySQL might scan and lock all failed orders.
    const marked = await queries
      .select({ orderId: orders.id, status: orders.status, stage: orders.failedStage })
      .from(orders, { forceIndex: "PRIMARY" })
      .where(and(inArray(orders.id, [...ids]), isNotNull(orders.failedAt)))
      .orderBy(asc(orders.id))
      .for("update");
    if (marked.length === 0) return 0;
    await queries
      .update(orders)
      .set(columnsOf(resumed()))
      .where(
        inArray(
          orders.id,
          marked.map(({ orderId }) => orderId),
        ),
      );
    const events = marked.map((order) => ({ ...order, reason: null, at, actor }));
    await queries.commit([...insertUnmoved("resumed", events), ...(action ? [insertAction(action)] : [])]);
    return marked.length;
  });
}

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi;

/** A reason without ids, so that orders that failed for the same reason form one group. */
export function kindOfReason(reason: string): string {
  return reason.replaceAll(UUID, "…").trimEnd();
}

/** Orders that failed in the same stage for the same reason, ids aside. */
export interface FailureGroup {
  readonly stage: string;
  readonly reason: string;
  readonly count: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
}

/**
 * Groups the newest failed orders of each stage, up to `limit`, by reason; the largest groups first.
 *
 * @returns `more`: the stages with more failed orders than `limit`. @throws {DatabaseError}
 */
export async function groupFailures(
  database: Database,
  limit: number,
): Promise<{ readonly groups: readonly FailureGroup[]; readonly more: ReadonlySet<string> }> {
  return database.query(async (queries) => {
    const groups = new Map<string, FailureGroup>();
    const more = new Set<string>();
    for (const stage of await stagesWith(queries, FAILED)) {
      if ((await countIn(queries, FAILED, stage, limit)).more) more.add(stage);
      for (const { reason, count: failed, firstAt, lastAt } of await countReasons(queries, stage, limit)) {
        const kind = kindOfReason(reason);
        const key = `${stage} ${kind}`;
        const group = { stage, reason: kind, count: failed, firstAt, lastAt };
        groups.set(key, merged(groups.get(key), group));
      }
    }
    return { groups: [...groups.values()].toSorted((a, b) => b.count - a.count), more };
  });
}

function merged(known: FailureGroup | undefined, group: FailureGroup): FailureGroup {
  if (known === undefined) return group;
  return {
    ...group,
    count: known.count + group.count,
    firstAt: known.firstAt < group.firstAt ? known.firstAt : group.firstAt,
    lastAt: known.lastAt > group.lastAt ? known.lastAt : group.lastAt,
  };
}

/** Counts the reasons of a stage's newest `limit` failed orders, in MySQL. */
async function countReasons(
  queries: Reads,
  stage: string,
  limit: number,
): Promise<Pick<FailureGroup, "reason" | "count" | "firstAt" | "lastAt">[]> {
  const newest = queries
    .select({ reason: orders.failedReason, at: orders.failedAt })
    .from(orders, { forceIndex: "orders_by_failure" })
    .where(eq(orders.failedStage, stage))
    .orderBy(desc(orders.id))
    .limit(limit)
    .as("newest");
  const rows = await queries
    .select({ reason: newest.reason, count: count(), firstAt: min(newest.at), lastAt: max(newest.at) })
    .from(newest)
    .groupBy(newest.reason);
  return rows.map(({ reason, firstAt, lastAt, count: failed }) => ({
    reason: reason ?? "",
    count: failed,
    firstAt: firstAt ?? new Date(0),
    lastAt: lastAt ?? new Date(0),
  }));
}

function isOfKind(reason: string | null, kind: string): boolean {
  return kindOfReason(reason ?? "") === kindOfReason(kind);
}

/**
 * How many of a stage's newest `limit` failed orders have this reason, ids aside. Each may be anywhere in the
 * table. @returns `more`: whether the stage has more failed orders. @throws {DatabaseError}
 */
export async function countGroup(
  database: Database,
  { stage, reason }: { readonly stage: string; readonly reason: string },
  limit: number,
): Promise<BoundedCount> {
  return database.query(async (queries) => {
    const reasons = await countReasons(queries, stage, limit);
    const alike = reasons.filter((each) => isOfKind(each.reason, reason));
    const { more } = await countIn(queries, FAILED, stage, limit);
    return { count: alike.reduce((sum, each) => sum + each.count, 0), more };
  });
}

/** The number of a stage's failed orders. @throws {DatabaseError} */
export async function countStage(database: Database, stage: string, limit: number): Promise<BoundedCount> {
  return database.query((queries) => countIn(queries, FAILED, stage, limit));
}
