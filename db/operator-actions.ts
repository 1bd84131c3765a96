import { desc, eq, lt, sql } from "drizzle-orm";
import type { ActionProgress, NewAction } from "../src/engine/ports.ts";
import type { Database } from "./database.ts";
import type { Statement } from "./queries.ts";
import { operatorActions } from "./schema.ts";
import { insertInto } from "./statements.ts";
import { timestamp } from "../src/platform/clock.ts";

/** An operator's action, finished or in progress. */
export type OperatorAction = Readonly<typeof operatorActions.$inferSelect>;

/** Records an action. @returns its id. @throws {DatabaseError} */
export async function recordAction(database: Database, action: NewAction): Promise<number> {
  const [{ insertId }] = await database.transaction((queries) =>
    queries.insert(operatorActions).values(rowOf(action)),
  );
  return insertId;
}

const insertRows = insertInto(operatorActions, [
  "at",
  "actor",
  "action",
  "target",
  "details",
  "state",
  "done",
  "total",
  "updatedAt",
]);

/** The INSERT of an action, to commit with the change it describes. */
export function insertAction(action: NewAction): Statement {
  return insertRows([rowOf(action)]);
}

function rowOf(action: NewAction) {
  const at = timestamp();
  return { state: "done" as const, done: 0, ...action, at, updatedAt: at };
}

/** Records an action's progress. @throws {DatabaseError} */
export async function updateAction(database: Database, id: number, progress: ActionProgress): Promise<void> {
  await database.transaction(async (queries) =>
    queries.commit([
      queries
        .update(operatorActions)
        .set({ ...progress, updatedAt: timestamp() })
        .where(eq(operatorActions.id, id)),
    ]),
  );
}

/** @throws {DatabaseError} */
export async function findAction(database: Database, id: number): Promise<OperatorAction | undefined> {
  const [action] = await database.query((queries) =>
    queries.select().from(operatorActions).where(eq(operatorActions.id, id)),
  );
  return action;
}

/** The actions before this one, newest first. @throws {DatabaseError} */
export async function listActions(
  database: Database,
  page: { readonly limit: number; readonly before?: number | undefined },
): Promise<{ readonly items: readonly OperatorAction[]; readonly older: number | null }> {
  const rows = await database.query((queries) =>
    queries
      .select()
      .from(operatorActions)
      .where(page.before === undefined ? sql`TRUE` : lt(operatorActions.id, page.before))
      .orderBy(desc(operatorActions.id))
      .limit(page.limit + 1),
  );
  const items = rows.slice(0, page.limit);
  return { items, older: rows.length > page.limit ? (items.at(-1)?.id ?? null) : null };
}
