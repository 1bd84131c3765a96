import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { createConnection } from "mysql2/promise";
import { UnexpectedCountError } from "../../../db/commit.ts";
import { Database, type DatabaseOptions } from "../../../db/database.ts";
import type { Queries, Reads } from "../../../db/queries.ts";
import { DatabaseError, LateCommitError } from "../../../db/errors.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { startTestMysql } from "../../support/servers.ts";
import { untilStopped } from "../../support/stopped.ts";
import { waitFor } from "../../support/wait-for.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment({ migrated: false });
  await environment.database.query((queries) =>
    queries.execute(sql`CREATE TABLE numbers (id int PRIMARY KEY, value int)`),
  );
});
beforeEach(async () => {
  await environment.database.query((queries) =>
    queries.execute(sql`REPLACE INTO numbers VALUES (1, 0), (2, 0)`),
  );
});
afterAll(() => environment.close());

/** The first row's column `value`. */
async function value(queries: Reads, query: ReturnType<typeof sql>): Promise<unknown> {
  const [rows] = await queries.execute(query);
  return Array.isArray(rows) && rows[0] && "value" in rows[0] ? rows[0]["value"] : undefined;
}

const read = (id: number) =>
  environment.database.query((queries) => value(queries, sql`SELECT value FROM numbers WHERE id = ${id}`));
const add = (queries: Queries, id: number) =>
  queries.execute(sql`UPDATE numbers SET value = value + 1 WHERE id = ${id}`);

describe("a connection", () => {
  test.each([
    [sql`SELECT @@session.time_zone AS value`, "+00:00"],
    [sql`SELECT @@session.innodb_lock_wait_timeout AS value`, 1],
    [sql`SELECT @@session.sql_mode LIKE '%STRICT_ALL_TABLES%' AS value`, 1],
  ])("has the session that queries rely on", async (query, expected) => {
    expect(await environment.database.query((queries) => value(queries, query))).toBe(expected);
  });

  test("reads what others have committed, and does not lock gaps", async () => {
    const isolation = await environment.database.query((queries) =>
      queries.execute(sql`SHOW VARIABLES LIKE 't%_isolation'`),
    );
    expect(JSON.stringify(isolation)).toContain("READ-COMMITTED");
  });
});

describe("a transaction", () => {
  test("is there as a whole when its work returns", async () => {
    const result = await environment.database.transaction(async (queries) => {
      await add(queries, 1);
      await add(queries, 2);
      return "done";
    });
    expect(result).toBe("done");
    expect([await read(1), await read(2)]).toEqual([1, 1]);
  });

  test("has never been when its work throws, and gives the error as it was thrown", async () => {
    const error = new RangeError("business says no");
    const failed = environment.database.transaction(async (queries) => {
      await add(queries, 1);
      throw error;
    });
    await expect(failed).rejects.toBe(error);
    expect(await read(1)).toBe(0);
  });

  const raise = (ids: readonly number[]) => ({
    sql: "UPDATE numbers SET value = value + 1 WHERE id IN (?)",
    values: [ids],
  });

  test("sends what needs no answer with COMMIT, if all of it affects as many rows as it must", async () => {
    await environment.database.transaction((queries) =>
      queries.commit([{ ...raise([1]), mustAffect: 1 }, { ...raise([1, 2]), mustAffect: 2 }, raise([3])]),
    );
    expect([await read(1), await read(2)]).toEqual([2, 1]);
  });

  test.each([
    ["fewer", [2, 3], 2],
    ["more", [1, 2], 1],
  ])("does nothing when a statement affects %s rows than it must", async (_, ids, must) => {
    const failed = environment.database.transaction((queries) =>
      queries.commit([
        { ...raise([1]), mustAffect: 1 },
        { ...raise(ids), mustAffect: must },
        { sql: "INSERT INTO numbers VALUES (4, ?)", values: [4] },
      ]),
    );
    await expect(failed).rejects.toThrow(UnexpectedCountError);
    expect([await read(1), await read(2), await read(4)]).toEqual([0, 0, undefined]);
  });

  test("has failed when its COMMIT has, also where its work does not tell", async () => {
    const failed = environment.database.transaction(async (queries) => {
      await queries.commit([{ ...raise([3]), mustAffect: 1 }]).catch(() => undefined);
      return "done";
    });
    await expect(failed).rejects.toThrow(UnexpectedCountError);
  });

  test("commits once", async () => {
    const failed = environment.database.transaction(async (queries) => {
      await queries.commit([raise([1])]);
      await queries.commit([raise([2])]);
    });
    await expect(failed).rejects.toThrow("the transaction was already committed");
    expect([await read(1), await read(2)]).toEqual([1, 0]);
  });

  test("tells a number that is too large from a count that is not right", async () => {
    const failed = environment.database.transaction((queries) =>
      queries.commit([
        { sql: "UPDATE numbers SET value = 9223372036854775807 + 1 WHERE id = ?", values: [1] },
      ]),
    );
    await expect(failed).rejects.toMatchObject({ code: "ER_DATA_OUT_OF_RANGE", isOutOfRange: true });
  });

  test("runs again as a whole after a deadlock", async () => {
    let runs = 0;
    let bothHoldOne: () => void = () => {};
    const gate = new Promise<void>((resolve) => (bothHoldOne = resolve));
    let holding = 0;
    const crosswise = (first: number, second: number) =>
      environment.database.transaction(async (queries) => {
        runs++;
        await add(queries, first);
        if (++holding === 2) bothHoldOne();
        await gate;
        await add(queries, second);
      });
    await Promise.all([crosswise(1, 2), crosswise(2, 1)]);
    expect([await read(1), await read(2)]).toEqual([2, 2]);
    expect(runs).toBe(3);
  });

  test("gives every connection back, whatever happens", async () => {
    const small = new Database({ url: environment.databaseUrl, poolSize: 2 });
    try {
      for (let round = 0; round < 6; round++) {
        await small
          .transaction(async (queries) => queries.execute(sql`SELECT nonsense`))
          .catch(() => undefined);
        await small.transaction(async () => Promise.reject(new Error("no"))).catch(() => undefined);
        // A connection that is lost within, so that ROLLBACK fails as well.
        await small
          .transaction(async (queries) => queries.execute(sql`KILL CONNECTION_ID()`))
          .catch(() => undefined);
      }
      await small.transaction((queries) => add(queries, 1));
      expect(await read(1)).toBe(1);
    } finally {
      await small.close();
    }
  });
});

describe("a transaction that is given up", () => {
  const insert = (id: number) => ({ sql: "INSERT INTO numbers VALUES (?, 0)", values: [id] });

  test("is not committed later, when a server that stood still wakes up", async () => {
    const server = await startTestMysql();
    const url = Object.assign(new URL(server.url), { pathname: "/shop" }).href;
    const SIZE = 5;
    const database = await shopOn(server.url, { url, poolSize: SIZE, timeoutMs: 1_000 });
    const write = (id: number) => database.transaction((queries) => queries.commit([insert(id)]));
    try {
      // As many connections as there may be, open and idle.
      await Promise.all(Array.from({ length: SIZE }, (_, id) => write(id)));
      server.kill("SIGSTOP");
      await untilStopped(server.pid);
      const given = await Promise.allSettled(Array.from({ length: SIZE }, (_, id) => write(100 + id)));
      expect(given).toEqual(
        Array.from({ length: SIZE }, () => ({
          status: "rejected",
          reason: expect.objectContaining({ code: "TIMEOUT", isUnknown: true }),
        })),
      );
      server.kill("SIGCONT");
      await waitFor("it to write again, after all that it had before it", () =>
        database
          .transaction(async (queries) => {
            // Waits for whoever is still at the table.
            await queries.execute(sql`SELECT COUNT(*) FROM numbers FOR UPDATE`);
            await queries.commit([insert(200)]);
          })
          .then(
            () => true,
            () => false,
          ),
      );
      await waitFor("the connections that were given up to be gone", async () => {
        const open = await database.query((queries) =>
          value(queries, sql`SELECT COUNT(*) AS value FROM information_schema.processlist WHERE db = 'shop'`),
        );
        return Number(open) <= (database.use?.inUse ?? 0) + (database.use?.idle ?? 0) + 1;
      });
      expect(
        await database.query((queries) =>
          value(queries, sql`SELECT COUNT(*) AS value FROM numbers WHERE id BETWEEN 100 AND 199`),
        ),
      ).toBe(0);
    } finally {
      server.kill("SIGCONT");
      await database.close();
      await server.stop();
    }
  });

  test("is refused by the server when it comes to COMMIT too late, and nothing was done", async () => {
    const database = new Database({ url: environment.databaseUrl, timeoutMs: 1_000 });
    let runs = 0;
    try {
      const error = await waitFor("a COMMIT between the fence and this side's deadline", async () => {
        runs = 0;
        const failure: unknown = await database
          .transaction(async (queries) => {
            runs++;
            await queries.commit([insert(5), { sql: "SET @pause = SLEEP(0.93)", values: [] }]);
          })
          .catch((reason: unknown) => reason);
        return failure instanceof LateCommitError && failure;
      });
      expect(error).toMatchObject({ name: "LateCommitError", kind: "away", isUnknown: false });
      expect(runs).toBe(2);
      expect(await read(5)).toBeUndefined();
    } finally {
      await database.close();
    }
  });

  test("runs once more, and is committed, when the clocks have moved apart", async () => {
    const database = new Database({ url: environment.databaseUrl, poolSize: 1 });
    const real = performance.now.bind(performance);
    try {
      await database.transaction((queries) => add(queries, 1));
      let runs = 0;
      // As if this process had not run for an hour, or the server's clock had been set.
      jest.spyOn(performance, "now").mockImplementation(() => real() - 3_600_000);
      await database.transaction((queries) => {
        runs++;
        return add(queries, 1);
      });
      expect([runs, await read(1)]).toEqual([2, 2]);
      await database.transaction((queries) => {
        runs++;
        return add(queries, 1);
      });
      expect([runs, await read(1)]).toEqual([3, 3]);
    } finally {
      jest.restoreAllMocks();
      await database.close();
    }
  });

  test.each([
    ["within, is known to have done nothing", false],
    ["together with COMMIT, may have done it", true],
  ])("because its connection was killed %s", async (_, isLast) => {
    const kill = { sql: "KILL CONNECTION_ID()", values: [] };
    const killed = environment.database.transaction(async (queries) => {
      await add(queries, 1);
      if (isLast) await queries.commit([kill]);
      else await queries.$client.query(kill.sql);
    });
    await expect(killed).rejects.toMatchObject({ name: "DatabaseError", isUnknown: isLast });
  });
});

/** An own database with the table that these tests use. */
async function shopOn(serverUrl: string, options: DatabaseOptions): Promise<Database> {
  const connection = await createConnection(serverUrl);
  await connection.query("CREATE DATABASE shop");
  await connection.query("CREATE TABLE shop.numbers (id int PRIMARY KEY, value int)");
  await connection.end();
  return new Database(options);
}

describe("an error of the database", () => {
  test("has the server's number and code, and none of the statement's values", async () => {
    const failed = environment.database.query((queries) =>
      queries.execute(sql`INSERT INTO numbers VALUES (${1}, ${424242})`),
    );
    await expect(failed).rejects.toMatchObject({ errno: 1062, code: "ER_DUP_ENTRY", kind: "item" });
    await expect(failed).rejects.not.toThrow("424242");
  });

  test("tells a server that is not reached from one that refuses", async () => {
    const url = new URL(environment.databaseUrl);
    url.port = "1";
    const nowhere = new Database({ url: url.href });
    const failed = nowhere.transaction((queries) => add(queries, 1));
    await expect(failed).rejects.toThrow(DatabaseError);
    await expect(failed).rejects.toMatchObject({ code: "ECONNREFUSED", kind: "away" });
    await nowhere.close();
  });

  test("comes when the server hangs, and the connection that hung is not used again", async () => {
    const server = await startTestMysql();
    const url = new URL(server.url);
    url.pathname = "/mysql";
    const database = new Database({ url: url.href, poolSize: 2, timeoutMs: 300 });
    const one = () => database.query((queries) => value(queries, sql`SELECT 1 AS value`));
    try {
      await Promise.all([one(), one()]);
      server.kill("SIGSTOP");
      // A signal takes a moment.
      await waitFor("it to hang", () =>
        one().then(
          () => false,
          () => true,
        ),
      );
      // More than there are connections: some wait for one.
      const answers = await Promise.allSettled(Array.from({ length: 6 }, one));
      expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 6 }, () => "rejected"));
      await expect(database.transaction((queries) => value(queries, sql`SELECT 1`))).rejects.toMatchObject({
        name: "DatabaseError",
        kind: "away",
      });
      server.kill("SIGCONT");
      expect(await waitFor("an answer", () => one().catch(() => undefined))).toBe(1);
    } finally {
      server.kill("SIGCONT");
      await database.close();
      await server.stop();
    }
  });

  test("comes when the statements of a transaction take too long together, and nothing of it stays", async () => {
    const url = new URL(environment.databaseUrl);
    const database = new Database({ url: url.href, timeoutMs: 1_000 });
    try {
      await database.query((queries) => queries.execute(sql`CREATE TABLE slow (step INT)`));
      const slow = database.transaction(async (queries) => {
        for (let step = 0; step < 10; step++) {
          await queries.execute(sql`INSERT INTO slow SELECT ${step} FROM (SELECT SLEEP(0.2)) AS pause`);
        }
      });
      await expect(slow).rejects.toMatchObject({ name: "DatabaseError", kind: "away" });
      expect(await database.query((queries) => value(queries, sql`SELECT COUNT(*) AS value FROM slow`))).toBe(
        0,
      );
    } finally {
      await database.close();
    }
  });

  test("comes when the server dies within, and the next transaction after its return works", async () => {
    const server = await startTestMysql();
    const url = new URL(server.url);
    url.pathname = "/mysql";
    const database = new Database({ url: url.href });
    try {
      const cut = database.transaction(async (queries) => {
        await queries.execute(sql`SELECT 1`);
        server.kill("SIGKILL");
        await queries.execute(sql`SELECT SLEEP(60)`);
      });
      await expect(cut).rejects.toMatchObject({ name: "DatabaseError", kind: "away" });
      await server.restart();
      const one = await waitFor("an answer", () =>
        database.transaction((queries) => value(queries, sql`SELECT 1 AS value`)).catch(() => undefined),
      );
      expect(one).toBe(1);
    } finally {
      await database.close();
      await server.stop();
    }
  });
});
