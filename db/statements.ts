import { getTableColumns, getTableName } from "drizzle-orm";
import type { MySqlColumn, MySqlTable } from "drizzle-orm/mysql-core";
import type { ResultSetHeader, RowDataPacket } from "mysql2";
import type { Queries, Reads, Statement } from "./queries.ts";

/*
 * The statements on the hot path, for many orders at once. A query builder would build every value of every row
 * each time, which took a third of a worker's time; here the text is built once, from the same tables, and the
 * driver fills in the values. Independent statements share a round trip.
 */

type Key<Table extends MySqlTable> = keyof Table["$inferSelect"] & string;
type Inserted<Table extends MySqlTable, K extends string> = Pick<
  Table["$inferInsert"],
  K & keyof Table["$inferInsert"]
>;

/**
 * Builds `INSERT`s of these columns, for at least one row.
 *
 * @param onDuplicate SQL for rows with an existing key, such as `state = VALUES(state)`; without it they are
 * errors.
 */
export function insertInto<Table extends MySqlTable, K extends Key<Table>>(
  table: Table,
  keys: readonly K[],
  onDuplicate?: string,
): (rows: readonly Inserted<Table, K>[]) => Statement {
  const columns = columnsOf(table, keys);
  const names = columns.map(({ column }) => quoted(column.name)).join(", ");
  const update = onDuplicate === undefined ? "" : ` ON DUPLICATE KEY UPDATE ${onDuplicate}`;
  const sql = `INSERT INTO ${quoted(getTableName(table))} (${names}) VALUES ?${update}`;
  return (rows) => {
    if (rows.length === 0) throw new Error("an INSERT needs at least one row");
    const values = rows.map((row: Readonly<Record<string, unknown>>) => {
      const inserted: unknown[] = [];
      for (const { key, column } of columns) inserted.push(toDriver(column, row[key]));
      return inserted;
    });
    return { sql, values: [values] };
  };
}

/** The `SET` of an `UPDATE` that writes these columns. */
export function assignmentsOf<Table extends MySqlTable>(
  table: Table,
  change: Readonly<Partial<Table["$inferSelect"]>>,
): Statement {
  const values: Readonly<Record<string, unknown>> = change;
  const columns = columnsOf(table, Object.keys(change));
  return {
    sql: columns.map(({ column }) => `${quoted(column.name)} = ?`).join(", "),
    values: columns.map(({ key, column }) => toDriver(column, values[key])),
  };
}

/** Connections in a transaction whose statements must not share a round trip. */
const oneByOne = new WeakSet<object>();

/** Has statements that would share a round trip sent one after another, until the connection is given back. */
export function sendOneByOne(connection: object): void {
  oneByOne.add(connection);
}

/** A statement that returns rows. */
export interface Selection<Row> extends Statement {
  /** Converts the driver's rows to the table's types. */
  readonly shape: (rows: Row[]) => Row[];
}

/**
 * Builds `SELECT`s of these columns. The result takes the placeholders' values; an array becomes a list.
 *
 * @param rest of the statement, from `WHERE` on, with MySQL's column names.
 */
export function selectFrom<Table extends MySqlTable, K extends Key<Table>>(
  table: Table,
  keys: readonly K[],
  rest: string,
): (...values: readonly unknown[]) => Selection<Pick<Table["$inferSelect"], K>> {
  const columns = columnsOf(table, keys);
  const names = columns.map(({ key, column }) => `${quoted(column.name)} AS ${quoted(key)}`).join(", ");
  const sql = `SELECT ${names} FROM ${quoted(getTableName(table))} ${rest}`;
  const documents = columns.filter(({ column }) => column.dataType === "json").map(({ key }) => key);
  const shape = <Row extends Record<string, unknown>>(rows: Row[]): Row[] => {
    for (const key of documents) parseDocuments(rows, key);
    return rows;
  };
  return (...values) => ({ sql, values, shape });
}

/** The same, twice: `lock` also locks the rows until the transaction ends. */
export function selectsFrom<Table extends MySqlTable, K extends Key<Table>>(
  table: Table,
  keys: readonly K[],
  rest: string,
) {
  return { read: selectFrom(table, keys, rest), lock: selectFrom(table, keys, `${rest} FOR UPDATE`) };
}

/** @returns the affected rows as MySQL counts them: 2 for a row updated instead of inserted. */
export async function execute(queries: Queries, { sql, values }: Statement): Promise<number> {
  const [result] = await queries.$client.query<ResultSetHeader>(sql, [...values]);
  return result.affectedRows;
}

/** @returns the rows. */
export async function read<Row>(queries: Reads, { sql, values, shape }: Selection<Row>): Promise<Row[]> {
  const [rows] = await queries.$client.query<(RowDataPacket & Row)[]>(sql, [...values]);
  return shape(rows);
}

/** Runs two selections in one round trip. @returns the rows of each. */
export async function readBoth<First, Second>(
  queries: Reads,
  first: Selection<First>,
  second: Selection<Second>,
): Promise<[First[], Second[]]> {
  if (oneByOne.has(queries.$client)) return [await read(queries, first), await read(queries, second)];
  const [[firstRows, secondRows]] = await queries.$client.query<[Rows<First>, Rows<Second>]>(
    ...together(first, second),
  );
  return [first.shape(firstRows), second.shape(secondRows)];
}

/** Runs three selections in one round trip. @returns the rows of each. */
export async function readThree<First, Second, Third>(
  queries: Reads,
  first: Selection<First>,
  second: Selection<Second>,
  third: Selection<Third>,
): Promise<[First[], Second[], Third[]]> {
  if (oneByOne.has(queries.$client))
    return [await read(queries, first), await read(queries, second), await read(queries, third)];
  const [[firstRows, secondRows, thirdRows]] = await queries.$client.query<
    [Rows<First>, Rows<Second>, Rows<Third>]
  >(...together(first, second, third));
  return [first.shape(firstRows), second.shape(secondRows), third.shape(thirdRows)];
}

type Rows<Row> = (RowDataPacket & Row)[];

function together(...statements: readonly Statement[]): [sql: string, values: unknown[]] {
  return [statements.map(({ sql }) => sql).join(";\n"), statements.flatMap(({ values }) => values)];
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

/** Parses a column of JSON. MariaDB's is text, which only some versions of its protocol mark as JSON. @returns the rows */
export function parseDocuments<Row extends object>(rows: Row[], key: keyof Row & string): Row[] {
  for (const row of rows) {
    const value: unknown = row[key];
    if (typeof value === "string") Object.assign(row, { [key]: JSON.parse(value) });
  }
  return rows;
}

function quoted(name: string): string {
  return `\`${name}\``;
}
