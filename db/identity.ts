import type { Database } from "./database.ts";
import { installation } from "./schema.ts";

/**
 * What tells this database from every other: a UUID that its migration made. A copy of the database has the same one.
 *
 * @throws {DatabaseError}
 */
export async function readInstallationId(database: Database): Promise<string> {
  const [row] = await database.query((queries) => queries.select({ id: installation.id }).from(installation));
  if (row === undefined) throw new Error("the table installation has lost its row");
  return row.id;
}
