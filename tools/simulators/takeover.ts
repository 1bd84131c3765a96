import { createConnection, type Connection, type RowDataPacket } from "mysql2/promise";
import { mysqlAddress } from "../../src/platform/mysql-url.ts";
import type { Entry, Ledger } from "./ledger.ts";

/** The tables of earlier versions, whose workers simulated the providers themselves. */
const LEDGER = "provider_ledger";
const STATES = "provider_states";
/** The ledger's name while it is taken over: workers that still run can't write to it. */
const TAKEN = "provider_ledger_taken";
const PAGE = 10_000;
const NO_SUCH_TABLE = 1146;

type Row = RowDataPacket & Entry;

/**
 * Moves the books that an earlier version kept in its database to the ledger, so that what was charged can be refunded and
 * what was labelled voided. Then drops the tables. Does nothing where there are none. After an interruption, run it again:
 * entries that the ledger has are skipped.
 *
 * @param keep waits until the ledger's entries are safe; called before the tables are dropped.
 * @returns the number of entries that were moved
 * @throws {Error} of the driver
 */
export async function takeOver(databaseUrl: string, ledger: Ledger, keep: () => void): Promise<number> {
  const connection = await createConnection({
    ...mysqlAddress(databaseUrl),
    timezone: "Z",
    charset: "utf8mb4",
  });
  try {
    // What an interrupted run has left.
    let moved = await moveEntries(connection, ledger, keep);
    if (await exists(connection, `RENAME TABLE ${LEDGER} TO ${TAKEN}`))
      moved += await moveEntries(connection, ledger, keep);
    await connection.query(`DROP TABLE IF EXISTS ${STATES}`);
    return moved;
  } finally {
    await connection.end();
  }
}

/** Whether the database has books that {@link takeOver} would move. @throws {Error} of the driver */
export async function hasOldBooks(databaseUrl: string): Promise<boolean> {
  const connection = await createConnection(mysqlAddress(databaseUrl));
  try {
    for (const table of [LEDGER, TAKEN])
      if (await exists(connection, `SELECT 1 FROM ${table} LIMIT 1`)) return true;
    return false;
  } finally {
    await connection.end();
  }
}

async function moveEntries(connection: Connection, ledger: Ledger, keep: () => void): Promise<number> {
  if (!(await exists(connection, `SELECT 1 FROM ${TAKEN} LIMIT 1`))) return 0;
  let moved = 0;
  for (let after = "", isLast = false; !isLast;) {
    const [rows] = await connection.query<Row[]>(SELECT_PAGE, [after, PAGE]);
    for (const row of rows.filter(({ key }) => ledger.get(key) === undefined)) {
      ledger.put(entryOf(row));
      moved++;
    }
    after = rows.at(-1)?.key ?? after;
    isLast = rows.length < PAGE;
  }
  keep();
  await connection.query(`DROP TABLE ${TAKEN}`);
  return moved;
}

/** An order had one charge and one label; their reversals did not name them. */
const SELECT_PAGE = `
  SELECT entry.idempotency_key AS \`key\`, entry.kind, entry.order_id AS orderId, entry.amount, entry.currency,
    entry.outcome, entry.provider_id AS providerId, reversed.idempotency_key AS reverses, entry.attempts,
    entry.created_at AS at
  FROM ${TAKEN} AS entry LEFT JOIN ${TAKEN} AS reversed ON reversed.order_id = entry.order_id
    AND reversed.kind = CASE entry.kind WHEN 'refund' THEN 'charge' WHEN 'label-void' THEN 'label' END
  WHERE entry.idempotency_key > ? ORDER BY entry.idempotency_key LIMIT ?`;

/** Without ids of charges that were never made: only what was approved has one. */
function entryOf({ providerId, outcome, ...row }: Row): Entry {
  const { key, kind, orderId, amount, currency, reverses, attempts, at } = row;
  const id = outcome === "approved" ? providerId : "";
  return { key, kind, orderId, amount, currency, outcome, providerId: id, reverses, attempts, at };
}

/** Runs a statement about a table. @returns whether there is that table */
async function exists(connection: Connection, statement: string): Promise<boolean> {
  try {
    await connection.query(statement);
    return true;
  } catch (error) {
    const errno = error instanceof Error && "errno" in error ? error.errno : undefined;
    if (errno === NO_SUCH_TABLE) return false;
    throw error;
  }
}
