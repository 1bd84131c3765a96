import { sql } from "drizzle-orm";
import type { Database } from "../../db/database.ts";

/** The id that the next event will get; 1 while none has been taken. */
export async function nextEventId(database: Database): Promise<number> {
  // Not from information_schema, where MySQL shows what it was when somebody first asked, for a day.
  const [rows] = await database.query((queries) => queries.execute(sql`SHOW CREATE TABLE order_events`));
  return Number(/ AUTO_INCREMENT=(\d+)/.exec(JSON.stringify(rows))?.[1] ?? 1);
}
