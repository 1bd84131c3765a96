import { createConnection, type RowDataPacket } from "mysql2/promise";
import { createAccount, createDatabase } from "../../chaos/sql.ts";
import { migrateDatabase } from "../../db/migrate.ts";
import { startTestMysql, type TestServer } from "./servers.ts";

/** A private MySQL with a migrated database, for a test that does to it what a service's account could not. */
export interface OwnMysql {
  readonly server: TestServer;
  /** With the account that a service should have: it may do everything in its database, and nothing else. */
  readonly databaseUrl: string;
  /** Says something as somebody who may do everything, over a connection of its own. @returns the rows, if any. */
  admin(statement: string): Promise<Record<string, unknown>[]>;
  stop(): Promise<void>;
}

/** The name of the service's account. */
export const ACCOUNT = "service";

export async function startOwnMysql(options: { args?: string[] } = {}): Promise<OwnMysql> {
  const server = await startTestMysql(options);
  const adminUrl = await createDatabase(server.url, "shop");
  await migrateDatabase({ url: adminUrl });
  return {
    server,
    databaseUrl: await createAccount(adminUrl, ACCOUNT),
    async admin(statement) {
      const connection = await createConnection(adminUrl);
      try {
        const [rows] = await connection.query<RowDataPacket[]>(statement);
        return rows;
      } finally {
        await connection.end();
      }
    },
    stop: () => server.stop(),
  };
}
