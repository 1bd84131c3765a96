import type { PoolConnection } from "mysql2/promise";
import { afterCommitWasSent, CONNECTION_CLOSED, DatabaseError, TIMEOUT, withoutValues } from "./errors.ts";
import type { Builder, Statement, Write } from "./queries.ts";

/* The only place that commits. */

/** One of a transaction's last writes affected an unexpected number of rows. Nothing was committed. */
export class UnexpectedCountError extends Error {
  override name = "UnexpectedCountError";

  constructor() {
    super("a statement affected an unexpected number of rows: nothing was committed");
  }
}

/**
 * Sends the last statements of a transaction together with COMMIT.
 *
 * @throws {UnexpectedCountError} @throws {DatabaseError} which `isUnknown` unless certainly nothing was
 * committed.
 */
export async function commitTogether(
  connection: PoolConnection,
  writes: readonly (Write | Builder)[],
  { fence, deadline }: { readonly fence: Statement; readonly deadline: number },
): Promise<void> {
  const last = [...writes.map(asWrite).flatMap(checked), fence];
  refuseLate(deadline);
  try {
    await say(
      connection,
      [...last.map(({ sql }) => sql), "COMMIT"].join(";\n"),
      last.flatMap(({ values }) => values),
    );
  } catch (error) {
    if (isOutOfRange(error) && last.some(isCheck)) throw new UnexpectedCountError();
    throw afterCommitWasSent(error);
  }
}

/**
 * Sends each of the last statements of a transaction once the one before was answered, and then COMMIT: see
 * {@link Session.isGalera}. The fence must not be passed before the server froze, and COMMIT be carried out when it wakes up.
 * So both are in one compound statement, which ends at the first error; only MariaDB knows these outside of procedures.
 *
 * @throws {UnexpectedCountError} @throws {DatabaseError} which `isUnknown` unless certainly nothing was
 * committed.
 */
export async function commitOneByOne(
  connection: PoolConnection,
  writes: readonly (Write | Builder)[],
  { fence, deadline }: { readonly fence: Statement; readonly deadline: number },
): Promise<void> {
  for (const { sql, values, mustAffect } of writes.map(asWrite)) {
    const [result] = await say(connection, sql, values);
    if (mustAffect !== undefined && affectedBy(result) !== mustAffect) throw new UnexpectedCountError();
  }
  refuseLate(deadline);
  try {
    await say(connection, `BEGIN NOT ATOMIC\n${fence.sql};\nCOMMIT;\nEND`, fence.values);
  } catch (error) {
    throw afterCommitWasSent(error);
  }
}

/** Runs a statement. @throws {DatabaseError} also if the connection was closed in the meantime. */
export async function say(
  connection: PoolConnection,
  statement: string,
  values: readonly unknown[] = [],
): Promise<[unknown, unknown]> {
  try {
    return await connection.query(statement, [...values]);
  } catch (error) {
    const failure = withoutValues(error);
    throw failure instanceof DatabaseError ? failure : new DatabaseError(CONNECTION_CLOSED, undefined);
  }
}

/** A timeout before COMMIT is sent has a known outcome. */
function refuseLate(deadline: number): void {
  if (performance.now() >= deadline) throw new DatabaseError(TIMEOUT, undefined);
}

function asWrite(write: Write | Builder): Write {
  if (!("toSQL" in write)) return write;
  const { sql, params } = write.toSQL();
  return { sql, values: params };
}

function checked(write: Write): Statement[] {
  return write.mustAffect === undefined ? [write] : [write, mustHaveAffected(write.mustAffect)];
}

const CHECK = "SET @affected = 9223372036854775807 + (ROW_COUNT() <> ?)";

/**
 * Aborts the statements and the transaction unless the previous statement affected this many rows. SQL has no
 * conditions outside procedures, but a number beyond BIGINT is an error in MySQL and MariaDB. (Not in a `DO`,
 * which hides errors.)
 */
function mustHaveAffected(rows: number): Statement {
  return { sql: CHECK, values: [rows] };
}

function isCheck({ sql }: Statement): boolean {
  return sql === CHECK;
}

function isOutOfRange(error: unknown): boolean {
  const failure = withoutValues(error);
  return failure instanceof DatabaseError && failure.isOutOfRange;
}

function affectedBy(result: unknown): unknown {
  return typeof result === "object" && result !== null ? Reflect.get(result, "affectedRows") : undefined;
}
