import type { Database } from "../../db/database.ts";

/** Locks that a test holds as somebody else would: on a connection of its own, for as long as it wants. */
export interface HeldLocks {
  /** Rolls back what took them. */
  release(): Promise<void>;
}

/** Holds the locks that a statement takes, such as `SELECT … FOR UPDATE`; resolves when it has them. */
export async function holdLocks(database: Database, statement: string): Promise<HeldLocks> {
  let release: () => void = () => undefined;
  const told = new Promise<void>((resolve) => (release = resolve));
  let over: Promise<void> = Promise.resolve();
  await new Promise<void>((resolve, reject) => {
    over = database.withConnection(async (connection) => {
      try {
        await connection.query("START TRANSACTION");
        await connection.query(statement);
        resolve();
        await told;
        await connection.query("ROLLBACK");
      } catch (error) {
        reject(error);
      }
    });
  });
  return {
    async release() {
      release();
      await over;
    },
  };
}
