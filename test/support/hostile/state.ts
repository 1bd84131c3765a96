import { createHash } from "node:crypto";
import { createConnection, type RowDataPacket } from "mysql2/promise";
import type { TestEnvironment } from "../environment.ts";

/** A digest of every table in MySQL and of every key in Redis, by name: nothing was written if it is as before. */
export async function stateOf({ databaseUrl, redis }: TestEnvironment): Promise<Record<string, string>> {
  const state: Record<string, string> = {};
  const mysql = await createConnection(databaseUrl);
  try {
    const [tables] = await mysql.query<RowDataPacket[]>("SHOW TABLES");
    for (const name of tables.map((table) => String(Object.values(table)[0]))) {
      const [rows] = await mysql.query<RowDataPacket[]>("SELECT * FROM ??", [name]);
      state[`table ${name}`] = digest(
        rows
          // Asking for readiness writes down when it was asked.
          .map(({ written_at: _writtenAt, ...row }) => JSON.stringify(row))
          .toSorted()
          .join("\n"),
      );
    }
  } finally {
    await mysql.end();
  }
  for (const key of await redis.keys("*")) {
    state[`key ${key}`] = digest((await redis.dumpBuffer(key)) ?? "");
  }
  return state;
}

function digest(content: string | Buffer): string {
  return createHash("sha256").update(content).digest("base64");
}
