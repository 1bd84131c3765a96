import { getTableName } from "drizzle-orm";
import type { MySqlColumn, MySqlTable } from "drizzle-orm/mysql-core";
import type { RowDataPacket } from "mysql2";
import { groupBy } from "../src/platform/group-by.ts";
import type { Database } from "./database.ts";

/** A unique key by which rows are locked, and its index. */
export interface LockedBy {
  readonly table: MySqlTable;
  readonly column: MySqlColumn;
  /** Defaults to the primary key. */
  readonly index?: string;
}

/** Finds rows that other transactions have locked, and waits for them. Keys are `<name> <value of the column>`. */
export interface RowLocks<Name extends string> {
  readonly key: (name: Name, value: string | number) => string;
  /**
   * Those of these rows that another open transaction has locked or inserted. Does not wait for locks. @throws
   * {DatabaseError}
   */
  readonly held: (keys: readonly string[]) => Promise<ReadonlySet<string>>;
  /**
   * Locks a row and releases it at once. @throws {DatabaseError} of kind `contended` if it stays locked for
   * `innodb_lock_wait_timeout` (one second).
   */
  readonly wait: (key: string) => Promise<void>;
}

/** @param by the unique keys, by names without spaces. */
export function rowLocks<Name extends string>(
  database: Database,
  by: Readonly<Record<Name, LockedBy>>,
): RowLocks<Name> {
  const statements = new Map<string, ReturnType<typeof statementsFor>>();
  for (const [name, locked] of Object.entries<LockedBy>(by)) statements.set(name, statementsFor(locked));
  const statementsOf = (name: string) => {
    const found = statements.get(name);
    if (found === undefined) throw new Error(`nothing is locked by ${name}`);
    return found;
  };
  return {
    key: (name, value) => `${name} ${value}`,

    async held(keys) {
      const held = new Set<string>();
      for (const [name, values] of byName(keys)) {
        const { free, standing } = statementsOf(name);
        const [[unlocked, , all]] = await database.query((queries) =>
          queries.$client.query<[Row[], never, Row[]]>(
            // Uncommitted rows stand as well. The isolation level is for the next statement only.
            `${free};\nSET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;\n${standing}`,
            [values, values],
          ),
        );
        const open = new Set(unlocked.map(({ value }) => value));
        for (const { value } of all) if (!open.has(value)) held.add(`${name} ${value}`);
      }
      return held;
    },

    async wait(key) {
      const [[name, [value]] = ["", []]] = byName([key]);
      await database.query((queries) => queries.$client.query(statementsOf(name).wait, [value]));
    },
  };
}

type Row = RowDataPacket & { readonly value: string };

function statementsFor({ table, column, index = "PRIMARY" }: LockedBy) {
  const select = `SELECT CAST(\`${column.name}\` AS CHAR) AS value FROM \`${getTableName(table)}\` FORCE INDEX (\`${index}\`)`;
  return {
    free: `${select} WHERE \`${column.name}\` IN (?) FOR UPDATE SKIP LOCKED`,
    standing: `${select} WHERE \`${column.name}\` IN (?)`,
    wait: `${select} WHERE \`${column.name}\` = ? FOR UPDATE`,
  };
}

function byName(keys: readonly string[]): [name: string, values: string[]][] {
  const groups = groupBy(keys, (key) => key.slice(0, key.indexOf(" ")));
  return [...groups].map(([name, all]) => [name, all.map((key) => key.slice(name.length + 1))]);
}
