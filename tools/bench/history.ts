import { number, text, type Sql } from "../chaos/sql.ts";

/** Tables with rows for every order, and the columns that must differ in each copy. */
const TABLES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  orders: {
    id: "NEW_ID",
    // Random like clients' keys, so that lookups hit all parts of the index.
    idempotency_key: "LEFT(SHA2(NEW_ID, 256), 32)",
    reference: "CONCAT(reference, '-', COPY)",
  },
  order_lines: { order_id: "NEW_ID" },
  order_events: { order_id: "NEW_ID" },
  reservations: { order_id: "NEW_ID" },
};
/**
 * Distance between two copies in units of 65.5 s, which an id's first eight digits count: longer than it took
 * to make the originals.
 */
const APART = 16;
const WITHIN_MS = 1_800_000;

/**
 * Copies all orders of one database into another, `copies` times, as older orders, with their lines, events
 * and reservations. Ids remain UUIDs that sort by time.
 */
export async function copyOrders(
  sql: Sql,
  { from, to, copies }: { readonly from: string; readonly to: string; readonly copies: number },
): Promise<void> {
  for (const [table, differing] of Object.entries(TABLES)) {
    const columns = await columnsOf(sql, from, table);
    const indexes = await indexesOf(sql, to, table);
    // Rebuilding the indexes at the end is many times as fast as updating them in random order.
    for (const { name } of indexes) await sql.rows(`ALTER TABLE ${to}.${table} DROP INDEX ${name}`);
    for (let copy = copies; copy > 0; copy--) {
      const values = columns.map((column) => expressionOf(differing[column] ?? column, table, copy));
      await sql.rows(
        `INSERT INTO ${to}.${table} (${columns.join(", ")})
         SELECT ${values.join(", ")} FROM ${from}.${table} ORDER BY ${await primaryKeyOf(sql, from, table)}`,
        [],
        WITHIN_MS,
      );
    }
    const added = indexes.map(
      (index) => `ADD ${index.isUnique ? "UNIQUE " : ""}INDEX ${index.name} (${index.columns})`,
    );
    if (added.length > 0) await sql.rows(`ALTER TABLE ${to}.${table} ${added.join(", ")}`, [], WITHIN_MS);
    await sql.rows(`ANALYZE TABLE ${to}.${table}`, [], WITHIN_MS);
  }
}

function expressionOf(expression: string, table: string, copy: number): string {
  const id = table === "orders" ? "id" : "order_id";
  const first = `LPAD(LOWER(HEX(CONV(LEFT(${id}, 8), 16, 10) - ${copy * APART})), 8, '0')`;
  return expression
    .replaceAll("NEW_ID", `CONCAT(${first}, SUBSTRING(${id}, 9))`)
    .replaceAll("COPY", String(copy));
}

/** All columns except AUTO_INCREMENT ones. */
async function columnsOf(sql: Sql, database: string, table: string): Promise<string[]> {
  const rows = await sql.rows(
    `SELECT column_name AS name FROM information_schema.columns
      WHERE table_schema = ? AND table_name = ? AND extra NOT LIKE '%auto_increment%' ORDER BY ordinal_position`,
    [database, table],
  );
  return rows.map((row) => text(row["name"]));
}

async function primaryKeyOf(sql: Sql, database: string, table: string): Promise<string> {
  return (await statisticsOf(sql, database, table)).find(({ name }) => name === "PRIMARY")?.columns ?? "1";
}

async function indexesOf(sql: Sql, database: string, table: string) {
  return (await statisticsOf(sql, database, table)).filter(({ name }) => name !== "PRIMARY");
}

async function statisticsOf(
  sql: Sql,
  database: string,
  table: string,
): Promise<{ name: string; isUnique: boolean; columns: string }[]> {
  const rows = await sql.rows(
    `SELECT index_name AS name, MAX(non_unique) AS repeats,
            GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', ') AS columns_in_order
       FROM information_schema.statistics WHERE table_schema = ? AND table_name = ? GROUP BY index_name`,
    [database, table],
  );
  return rows.map((row) => ({
    name: text(row["name"]),
    isUnique: number(row["repeats"]) === 0,
    columns: text(row["columns_in_order"]),
  }));
}
