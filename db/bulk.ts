import { getTableColumns, getTableName } from "drizzle-orm";
import type { MySqlColumn, MySqlTable } from "drizzle-orm/mysql-core";
import type { ResultSetHeader, RowDataPacket } from "mysql2";
import type { Queries } from "./database.ts";

/*
 * The statements on every order's way, for many orders at once. A query builder composes each value of each row anew,
 * which took a third of a worker's time; here the text is made once, from the same tables, and the driver fills in the
 * values.
 */

type Key<Table extends MySqlTable> = keyof Table["$inferSelect"] & string;
type Inserted<Table extends MySqlTable, K extends string> = Pick<
  Table["$inferInsert"],
  K & keyof Table["$inferInsert"]
>;

/** An `INSERT` of rows. @returns affected rows, as MySQL counts them: a row that was updated instead counts as two. */
export type BulkInsert<Row> = (queries: Queries, rows: readonly Row[]) => Promise<number>;

/**
 * Makes an `INSERT` of these columns.
 *
 * @param onDuplicate SQL for rows whose key is there already, such as `state = VALUES(state)`; without it they are refused.
 */
export function bulkInsert<Table extends MySqlTable, K extends Key<Table>>(
  table: Table,
  keys: readonly K[],
  onDuplicate?: string,
): BulkInsert<Inserted<Table, K>> {
  const columns = columnsOf(table, keys);
  const names = columns.map(({ column }) => quoted(column.name)).join(", ");
  const update = onDuplicate === undefined ? "" : ` ON DUPLICATE KEY UPDATE ${onDuplicate}`;
  const sql = `INSERT INTO ${quoted(getTableName(table))} (${names}) VALUES ?${update}`;
  return async (queries, rows) => {
    if (rows.length === 0) return 0;
    const values = rows.map((row: Readonly<Record<string, unknown>>) =>
      columns.map(({ key, column }) => toDriver(column, row[key])),
    );
    const [result] = await queries.$client.query<ResultSetHeader>(sql, [values]);
    return result.affectedRows;
  };
}

/** A `SELECT` of rows. @param values for the placeholders, in order; an array stands for a list in brackets. */
export type BulkSelect<Row> = (queries: Queries, values: readonly unknown[]) => Promise<Row[]>;

/** Makes a `SELECT` of these columns. @param rest of the statement, from `WHERE` on: the columns as MySQL calls them. */
export function bulkSelect<Table extends MySqlTable, K extends Key<Table>>(
  table: Table,
  keys: readonly K[],
  rest: string,
): BulkSelect<Pick<Table["$inferSelect"], K>> {
  const columns = columnsOf(table, keys);
  const names = columns.map(({ key, column }) => `${quoted(column.name)} AS ${quoted(key)}`).join(", ");
  const sql = `SELECT ${names} FROM ${quoted(getTableName(table))} ${rest}`;
  const documents = columns.filter(({ column }) => column.dataType === "json").map(({ key }) => key);
  return async (queries, values) => {
    const [rows] = await queries.$client.query<(RowDataPacket & Pick<Table["$inferSelect"], K>)[]>(sql, [
      ...values,
    ]);
    for (const key of documents) parseDocuments(rows, key);
    return rows;
  };
}

function columnsOf(table: MySqlTable, keys: readonly string[]): { key: string; column: MySqlColumn }[] {
  const columns: Readonly<Record<string, MySqlColumn>> = getTableColumns(table);
  return keys.map((key) => {
    const column = columns[key];
    if (column === undefined) throw new Error(`${getTableName(table)} has no column ${key}`);
    return { key, column };
  });
}

function toDriver(column: MySqlColumn, value: unknown): unknown {
  return value === null || value === undefined ? null : column.mapToDriverValue(value);
}

/** MariaDB's JSON is text, which some versions of its protocol say to be JSON and others not. */
function parseDocuments(rows: readonly Record<string, unknown>[], key: string): void {
  for (const row of rows) {
    const value = row[key];
    if (typeof value === "string") row[key] = JSON.parse(value);
  }
}

function quoted(name: string): string {
  return `\`${name}\``;
}
