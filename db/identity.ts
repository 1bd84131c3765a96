import type { Database } from "./database.ts";
import { installation } from "./schema.ts";

/**
 * The identity of this database: a UUID created by its migration. A copy of the database has the same one.
 *
 * @throws {DatabaseError}
 */
export async function readInstallationId(database: Database): Promise<string> {
  const [row] = await database.query((queries) => queries.select({ id: installation.id }).from(installation));
  if (row === undefined) throw new Error("the table installation has lost its row");
  return row.id;
}

/** The secret of this database, from which tokens are derived: hexadecimal digits. @throws {DatabaseError} */
export async function readInstallationSecret(database: Database): Promise<string> {
  const [row] = await database.query((queries) =>
    queries.select({ secret: installation.secret }).from(installation),
  );
  if (!row?.secret) throw new Error("the table installation has lost its secret");
  return row.secret;
}
