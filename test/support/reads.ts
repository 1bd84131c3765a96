import { sql } from "drizzle-orm";
import { Database } from "../../db/database.ts";

/** Counts the rows and index entries that MySQL looks at, whether or not it gives them. */
export interface CountingDatabase {
  readonly database: Database;
  /** How many it were for what `work` asked of `database`. */
  readonly readsOf: (work: () => Promise<unknown>) => Promise<number>;
}

/** A database of one connection, since MySQL keeps its counters by connection. */
export function countingDatabase(url: string): CountingDatabase {
  const database = new Database({ url, poolSize: 1 });
  const count = () =>
    database.query(async (queries) => {
      const [rows] = await queries.execute(
        // Index entries that are read and passed over are counted apart, by MariaDB only.
        sql`SHOW SESSION STATUS WHERE Variable_name LIKE 'Handler_read%' OR Variable_name = 'Handler_icp_attempts'`,
      );
      if (!Array.isArray(rows)) throw new Error("MySQL keeps no counters");
      return rows.reduce((sum, row) => sum + Number("Value" in row && row["Value"]), 0);
    });
  return {
    database,
    readsOf: async (work) => {
      const before = await count();
      await work();
      return (await count()) - before;
    },
  };
}
