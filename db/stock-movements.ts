import { and, desc, eq, lt } from "drizzle-orm";
import type { Database } from "./database.ts";
import type { Statement } from "./queries.ts";
import { stockMovements } from "./schema.ts";
import { insertInto } from "./statements.ts";

/** Why the stock on hand of a SKU changed. */
export type StockMovement = Readonly<typeof stockMovements.$inferSelect>;

/** A movement to be recorded. */
export type NewMovement = Pick<StockMovement, "sku" | "at" | "kind" | "delta"> &
  Partial<Pick<StockMovement, "orderId" | "reason" | "reference" | "actor">>;

const insertRows = insertInto(stockMovements, [
  "sku",
  "at",
  "kind",
  "delta",
  "orderId",
  "reason",
  "reference",
  "actor",
]);

/** The INSERT of movements, to commit with the levels that they explain. */
export function insertMovements(movements: readonly NewMovement[]): Statement[] {
  return movements.length > 0 ? [insertRows(movements)] : [];
}

/** The movements of a SKU before this one, newest first. @throws {DatabaseError} */
export async function listMovements(
  database: Database,
  sku: string,
  page: { readonly limit: number; readonly before?: number | undefined },
): Promise<{ readonly items: readonly StockMovement[]; readonly older: number | null }> {
  const { sku: column, id } = stockMovements;
  const rows = await database.query((queries) =>
    queries
      .select()
      .from(stockMovements)
      .where(and(eq(column, sku), page.before === undefined ? undefined : lt(id, page.before)))
      .orderBy(desc(id))
      .limit(page.limit + 1),
  );
  const items = rows.slice(0, page.limit);
  return { items, older: rows.length > page.limit ? (items.at(-1)?.id ?? null) : null };
}
