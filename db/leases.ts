import { and, eq, sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { leases } from "./schema.ts";

/**
 * Takes a lease that nobody holds, or keeps one's own, by the clock of MySQL. Who is refused has only read.
 *
 * @returns whether it is held now, for so many milliseconds from when this was asked. @throws {DatabaseError}
 */
export async function holdLease(
  database: Database,
  name: string,
  { holder, forMs }: { readonly holder: string; readonly forMs: number },
): Promise<boolean> {
  const mine = async () => {
    const [row] = await database.query((queries) =>
      queries
        .select({ holder: leases.holder, isFree: sql<number>`${leases.expiresAt} < NOW(3)` })
        .from(leases)
        .where(eq(leases.name, name)),
    );
    return row;
  };
  const held = await mine();
  if (held !== undefined && held.holder !== holder && held.isFree === 0) return false;
  const expiresAt = sql`NOW(3) + INTERVAL ${forMs * 1_000} MICROSECOND`;
  await database.transaction(async (queries) =>
    queries.commit([
      queries
        .insert(leases)
        .values({ name, holder, expiresAt })
        // MySQL sets columns from left to right: the second one sees the first one's new value.
        .onDuplicateKeyUpdate({
          set: {
            holder: sql`IF(${leases.holder} = ${holder} OR ${leases.expiresAt} < NOW(3), ${holder}, ${leases.holder})`,
            expiresAt: sql`IF(${leases.holder} = ${holder}, ${expiresAt}, ${leases.expiresAt})`,
          },
        }),
    ]),
  );
  return (await mine())?.holder === holder;
}

/** Lets another one take it at once. @throws {DatabaseError} */
export async function releaseLease(database: Database, name: string, holder: string): Promise<void> {
  await database.transaction(async (queries) =>
    queries.commit([queries.delete(leases).where(and(eq(leases.name, name), eq(leases.holder, holder)))]),
  );
}
