import { desc, eq, lt, sql } from "drizzle-orm";
import type { ActionDetails, ActionProgress, NewAction } from "../src/engine/ports.ts";
import type { Database } from "./database.ts";
import type { Statement } from "./queries.ts";
import { operatorActions } from "./schema.ts";
import { insertInto } from "./statements.ts";

/** Something that an operator did, or that is being done for one. */
export interface OperatorAction {
  readonly id: number;
  readonly at: Date;
  readonly actor: string;
  readonly action: string;
  /** What it was done to: an order's id, a stage, a queue. */
  readonly target: string;
  readonly details: ActionDetails | null;
  readonly state: "running" | "done" | "failed";
  /** Orders it was done to until now, and how many there are to be; null where that was not counted. */
  readonly done: number;
  readonly total: number | null;
  readonly updatedAt: Date;
}

/** Writes down who does what, and when. @returns its id. @throws {DatabaseError} */
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

/** Inserts it: for the transaction that does what it tells of to end with. */
export function insertAction(action: NewAction): Statement {
  return insertRows([rowOf(action)]);
}

function rowOf(action: NewAction) {
  const at = new Date();
  return { state: "done" as const, done: 0, ...action, at, updatedAt: at };
}

/** Writes down how far an action has come. @throws {DatabaseError} */
export async function updateAction(database: Database, id: number, progress: ActionProgress): Promise<void> {
  await database.transaction(async (queries) =>
    queries.commit([
      queries
        .update(operatorActions)
        .set({ ...progress, updatedAt: new Date() })
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

/** The newest actions before this one, the newest first. @throws {DatabaseError} */
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
