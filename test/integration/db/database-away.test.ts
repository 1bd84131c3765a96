import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { Redis } from "ioredis";
import { Health } from "../../../src/api/readiness.ts";
import { startTcpProxy, type TcpProxy } from "../../../tools/shared/tcp-proxy.ts";
import { Database } from "../../../db/database.ts";
import type { Reads } from "../../../db/queries.ts";
import { checkWrites } from "../../../db/write-check.ts";
import { ACCOUNT, startOwnMysql, type OwnMysql } from "../../support/own-mysql.ts";
import { holdLocks } from "../../support/locks.ts";
import { waitFor } from "../../support/wait-for.ts";

jest.setTimeout(120_000);

let mysql: OwnMysql;
beforeAll(async () => {
  mysql = await startOwnMysql();
  await mysql.admin("CREATE TABLE numbers (id int PRIMARY KEY, value int CHECK (value < 100))");
  await mysql.admin("INSERT INTO numbers VALUES (1, 0)");
});
afterAll(() => mysql.stop());

const opened: Database[] = [];
/** What a test has done to the server, undone after it. */
const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const database of opened.splice(0)) await database.close();
  for (const each of undo.splice(0).toReversed()) await each();
});

function open(options: { url?: string; poolSize?: number } = {}): Database {
  const database = new Database({ url: mysql.databaseUrl, ...options });
  opened.push(database);
  return database;
}

const connectionId = async (queries: Reads): Promise<number> => {
  const [rows] = await queries.execute(sql`SELECT CONNECTION_ID() AS id`);
  return Array.isArray(rows) && rows[0] && "id" in rows[0] ? Number(rows[0]["id"]) : 0;
};
const add = (queries: Reads) => queries.execute(sql`UPDATE numbers SET value = value + 1 WHERE id = 1`);
const write = (database: Database) => database.transaction(add);
const read = (database: Database) =>
  database.query((queries) => queries.execute(sql`SELECT value FROM numbers`));
const value = async () => Number((await mysql.admin("SELECT value FROM numbers WHERE id = 1"))[0]?.["value"]);

/** Has the pool open so many connections, all idle afterwards. @returns their ids. */
async function fill(database: Database, count: number): Promise<number[]> {
  let arrived = 0;
  let go: () => void = () => {};
  const all = new Promise<void>((resolve) => (go = resolve));
  return Promise.all(
    Array.from({ length: count }, () =>
      database.query(async (queries) => {
        if (++arrived === count) go();
        await all;
        return connectionId(queries);
      }),
    ),
  );
}

async function readOnly(): Promise<void> {
  undo.push(() => mysql.admin("SET GLOBAL read_only = 0"));
  await mysql.admin("SET GLOBAL read_only = 1");
}

describe("a server that takes no writes", () => {
  test("is away for writes, and the connection is not used again; reads go on", async () => {
    const database = open({ poolSize: 1 });
    const before = await database.query(connectionId);
    await readOnly();
    await expect(write(database)).rejects.toMatchObject({
      errno: 1290,
      kind: "away",
      isReadOnly: true,
      message: "MySQL takes no writes: it is read-only (1290)",
    });
    await read(database);
    const id = await database.query(connectionId);
    expect(id).not.toBe(before);
    // Reads need no other connection.
    expect(await database.query(connectionId)).toBe(id);
    const ids = (await mysql.admin("SELECT id AS id FROM information_schema.processlist")).map(
      (row) => row["id"],
    );
    expect(ids).not.toContain(before);
  });

  test("says so when the transaction was declared read-only", async () => {
    const database = open();
    const failed = database.query(async (queries) => {
      await queries.execute(sql`SET SESSION TRANSACTION READ ONLY`);
      await add(queries);
    });
    await expect(failed).rejects.toMatchObject({ errno: 1792, kind: "away", isReadOnly: true });
    await write(database);
  });

  test("says so when a table is full", async () => {
    await mysql.admin(
      "CREATE TABLE small (text char(255)) ENGINE = MEMORY MAX_ROWS = 1 AS SELECT REPEAT('x', 255) AS text",
    );
    const database = open();
    const failed = database.transaction(async (queries) => {
      await queries.execute(sql`SET SESSION max_heap_table_size = 16384`);
      for (;;) await queries.execute(sql`INSERT INTO small SELECT * FROM small`);
    });
    await expect(failed).rejects.toMatchObject({
      errno: 1114,
      kind: "away",
      message: "MySQL takes no writes: the table is full (1114)",
    });
    await write(database);
  });
});

describe("after a failover that leaves the old primary in its place", () => {
  let next: OwnMysql;
  let address: TcpProxy;
  beforeAll(async () => {
    next = await startOwnMysql();
    await next.admin("CREATE TABLE numbers (id int PRIMARY KEY, value int)");
    await next.admin("INSERT INTO numbers VALUES (1, 0)");
    const { password } = new URL(mysql.databaseUrl);
    for (const host of ["localhost", "127.0.0.1"])
      await next.admin(`ALTER USER '${ACCOUNT}'@'${host}' IDENTIFIED BY '${password}'`);
    address = await startTcpProxy(mysql.server.url);
  });
  afterAll(async () => {
    await address.close();
    await next.stop();
  });

  test("no transaction fails, however many connections lead to it", async () => {
    address.turnTo(mysql.server.port);
    const url = Object.assign(new URL(mysql.databaseUrl), { port: String(address.port) }).href;
    const database = open({ url, poolSize: 5 });
    await fill(database, 5);
    const before = await value();
    await readOnly();
    address.turnTo(next.server.port);
    for (let count = 0; count < 10; count++) await write(database);
    await Promise.all(Array.from({ length: 10 }, () => write(database)));
    expect(await value()).toBe(before);
    expect(await next.admin("SELECT value FROM numbers WHERE id = 1")).toEqual([{ value: 20 }]);
  });

  test("a write outside of a transaction fails once, and no other", async () => {
    address.turnTo(mysql.server.port);
    const url = Object.assign(new URL(mysql.databaseUrl), { port: String(address.port) }).href;
    const database = open({ url, poolSize: 5 });
    await fill(database, 5);
    await readOnly();
    address.turnTo(next.server.port);
    const outcomes: string[] = [];
    for (let count = 0; count < 10; count++)
      outcomes.push(
        await database.query(add).then(
          () => "done",
          () => "failed",
        ),
      );
    expect(outcomes).toEqual(["failed", ...Array.from({ length: 9 }, () => "done")]);
  });

  test("the check whether it takes writes finds the new primary at once", async () => {
    address.turnTo(mysql.server.port);
    const url = Object.assign(new URL(mysql.databaseUrl), { port: String(address.port) }).href;
    const database = open({ url, poolSize: 5 });
    await fill(database, 5);
    await readOnly();
    address.turnTo(next.server.port);
    await checkWrites(database);
  });
});

describe("an account that is refused is away, and connections that work are used further", () => {
  test("when the password was changed", async () => {
    const database = open({ poolSize: 2 });
    const id = await database.query(connectionId);
    const { password } = new URL(mysql.databaseUrl);
    const set = async (to: string) => {
      for (const host of ["localhost", "127.0.0.1"])
        await mysql.admin(`ALTER USER '${ACCOUNT}'@'${host}' IDENTIFIED BY '${to}'`);
    };
    undo.push(() => set(password));
    await set("another");
    await expect(write(open())).rejects.toMatchObject({ errno: 1045, kind: "away" });
    // Both at once need a second connection, which is refused.
    const both = await Promise.allSettled([
      database.query((queries) => queries.execute(sql`SELECT SLEEP(0.2)`)),
      write(database),
    ]);
    expect(both).toMatchObject([{ status: "fulfilled" }, { reason: { errno: 1045, kind: "away" } }]);
    await write(database);
    expect(await database.query(connectionId)).toBe(id);
  });

  test("when it has as many connections as it may have", async () => {
    const limit = async (to: number) => {
      for (const host of ["localhost", "127.0.0.1"])
        await mysql.admin(`ALTER USER '${ACCOUNT}'@'${host}' WITH MAX_USER_CONNECTIONS ${to}`);
    };
    undo.push(() => limit(0));
    await limit(1);
    const database = open();
    const id = await waitFor("the one connection", () => database.query(connectionId).catch(() => undefined));
    await expect(write(open())).rejects.toMatchObject({ errno: 1226, kind: "away" });
    expect(await database.query(connectionId)).toBe(id);
  });

  test("when it may not write any more", async () => {
    const database = open();
    const grant = async (what: string) => {
      for (const host of ["localhost", "127.0.0.1"])
        await mysql.admin(what.replace("?", `'${ACCOUNT}'@'${host}'`));
    };
    undo.push(() => grant("GRANT ALL PRIVILEGES ON shop.* TO ?"));
    await grant("REVOKE UPDATE ON shop.* FROM ?");
    await expect(write(open())).rejects.toMatchObject({ errno: 1142, kind: "away" });
    await grant("GRANT UPDATE ON shop.* TO ?");
    await write(database);
  });
});

describe("a statement that was ended from outside is nobody's fault, and no other connection's", () => {
  /** Takes minutes, and looks now and then whether it is to end. */
  const SLOW = sql`SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b, information_schema.columns c`;

  async function endsWith(
    errnos: readonly number[],
    end: (queries: Reads, id: number, slow: () => Promise<unknown>) => Promise<unknown>,
  ): Promise<void> {
    const database = open({ poolSize: 2 });
    const [first, second] = await fill(database, 2);
    let used: number | undefined;
    const failed = await database
      .transaction(async (queries) => {
        used = await connectionId(queries);
        await end(queries, used, () => queries.execute(SLOW));
      })
      .catch((error: unknown) => error);
    expect(failed).toMatchObject({ name: "DatabaseError", kind: "away", doubtsConnections: false });
    expect(errnos).toContain(Object(failed).errno);
    expect(await database.query(connectionId)).toBe(used === first ? second : first);
  }

  test("when somebody has killed it", () =>
    endsWith([1317], async (_queries, id, slow) => {
      const running = slow();
      running.catch(() => undefined);
      await waitFor("it to run", async () => {
        const rows = await mysql.admin(
          `SELECT 1 FROM information_schema.processlist WHERE id = ${id} AND info LIKE '%COUNT%'`,
        );
        return rows.length > 0;
      });
      await mysql.admin(`KILL QUERY ${id}`);
      await running;
    }));

  test("when it took longer than the server lets it", () =>
    endsWith([1969, 3024], async (queries, _id, slow) => {
      const isMariadb = (await mysql.admin("SHOW VARIABLES LIKE 'max_statement_time'")).length > 0;
      const limit = isMariadb ? "max_statement_time = 0.2" : "max_execution_time = 200";
      await queries.execute(sql.raw(`SET SESSION ${limit}`));
      await slow();
    }));
});

test("a query that exceeds a limit of its own costs no other connection", async () => {
  const database = open({ poolSize: 2 });
  const ids = await fill(database, 2);
  const late = database.query((queries) => queries.execute(sql`SELECT SLEEP(3)`), { timeoutMs: 100 });
  await expect(late).rejects.toMatchObject({ code: "TIMEOUT" });
  expect(ids).toContain(await database.query(connectionId));
});

describe("a server that refuses connections is away", () => {
  /** Says this to whoever connects, as a MySQL does before it asks who they are. */
  async function refusing(errno: number): Promise<{ server: Server; url: string }> {
    const message = Buffer.from("no");
    const body = Buffer.concat([Buffer.from([0xff, errno & 0xff, errno >> 8]), message]);
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.end(Buffer.concat([Buffer.from([body.length, 0, 0, 0]), body]));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    return { server, url: `mysql://anybody:secret@127.0.0.1:${port}/shop` };
  }

  test.each([
    ["since the host is blocked", 1129],
    ["since it has too many connections", 1040],
    ["since it shuts down", 1053],
  ])("%s", async (_, errno) => {
    const { server, url } = await refusing(errno);
    undo.push(async () => server.close());
    await expect(write(open({ url }))).rejects.toMatchObject({ errno, kind: "away" });
  });
});

describe("data that is refused is not away, and the connection is used further", () => {
  test.each([
    ["a number twice", sql`INSERT INTO numbers VALUES (1, 0)`, 1062],
    ["a number that is not allowed", sql`UPDATE numbers SET value = 1000`, expect.any(Number)],
    ["a number that does not fit", sql`UPDATE numbers SET value = 99999999999`, 1264],
    ["a number that is none", sql`UPDATE numbers SET value = 'x'`, 1366],
  ])("%s", async (_, statement, errno) => {
    const database = open({ poolSize: 1 });
    const id = await database.query(connectionId);
    const failed = database.transaction((queries) => queries.execute(statement));
    await expect(failed).rejects.toMatchObject({ errno, kind: "item" });
    expect(await database.query(connectionId)).toBe(id);
  });
});

describe("the check whether the database takes writes", () => {
  const writtenAt = async () =>
    String((await mysql.admin("SELECT CAST(written_at AS CHAR) AS at FROM installation"))[0]?.["at"]);

  test("writes, once for all who ask at about the same moment", async () => {
    const before = await writtenAt();
    const health = new Health({ database: open() });
    const answers = await Promise.all(Array.from({ length: 50 }, () => health.check()));
    const [first, ...others] = answers.map(({ checks }) => checks.mysql.detail);
    expect(first).toMatch(/^MySQL \d+\./);
    expect(new Set(others)).toEqual(new Set([first]));
    const after = await writtenAt();
    expect(after).not.toBe(before);
    await health.check();
    expect(await writtenAt()).toBe(after);
  });

  test("is told again for a second, and asked anew after that", async () => {
    const health = new Health({ database: open() });
    const askedAt = performance.now();
    const first = await health.check();
    const clock = jest.spyOn(performance, "now");
    try {
      clock.mockReturnValue(askedAt + 999);
      expect((await health.check()).checks.mysql).toBe(first.checks.mysql);
    } finally {
      clock.mockRestore();
    }
    await waitFor("another answer", async () => (await health.check()).checks.mysql !== first.checks.mysql);
  });

  test("of Redis says why there is no connection, as long as that is so", async () => {
    const redis = new Redis({ lazyConnect: true });
    const away = new Health({ database: open(), redis });
    const back = new Health({ database: open(), redis });
    try {
      redis.emit("error", new Error("connect ECONNREFUSED"));
      expect((await away.check()).checks.redis?.detail).toBe("not connected: connect ECONNREFUSED");
      redis.emit("ready");
      expect((await back.check()).checks.redis?.detail).toBe("not connected");
    } finally {
      redis.disconnect();
    }
  });

  test("waits for nobody who has its row locked, and still finds out", async () => {
    const database = open({ poolSize: 1 });
    const id = await database.query(connectionId);
    const held = await holdLocks(open(), "SELECT * FROM installation FOR UPDATE");
    try {
      const before = await writtenAt();
      await expect(checkWrites(database)).resolves.toMatch(/^\d+\./);
      expect(await writtenAt()).toBe(before);
      expect(await database.query(connectionId)).toBe(id);
      await readOnly();
      await expect(checkWrites(database)).rejects.toMatchObject({ errno: 1290 });
    } finally {
      await held.release();
    }
  });
});
