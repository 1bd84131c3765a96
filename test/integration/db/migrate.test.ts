import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { is, sql } from "drizzle-orm";
import { getTableConfig, MySqlTable } from "drizzle-orm/mysql-core";
import { DatabaseLease } from "../../../db/leases.ts";
import { countPendingMigrations, migrateDatabase } from "../../../db/migrate.ts";
import * as schema from "../../../db/schema.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { start } from "../../support/processes.ts";
import { waitFor } from "../../support/wait-for.ts";

/** When the migration was written that gives leases their tokens. */
const LEASE_TOKENS = 1795435000006;

/** When the migration was written that gives orders adjustments, people and notes. */
const ORDER_DETAILS = 1795435000009;

let environment: TestEnvironment;
beforeEach(async () => {
  environment = await createTestEnvironment({ migrated: false });
});
afterEach(() => environment.close());

/** The rows of a query whose columns are all text. */
async function rows(query: ReturnType<typeof sql>): Promise<Record<string, string>[]> {
  const [found] = await environment.database.query((queries) => queries.execute(query));
  if (!Array.isArray(found)) throw new Error("not a SELECT");
  return found.map((row) =>
    Object.fromEntries(Object.entries(row).map(([name, value]) => [name, String(value)])),
  );
}

describe("migrating", () => {
  test("brings an empty database up to date, and does nothing the second time", async () => {
    const pending = await countPendingMigrations(environment.database);
    expect(pending).toBeGreaterThan(0);
    expect(await migrateDatabase({ url: environment.databaseUrl })).toBe(pending);
    expect(await countPendingMigrations(environment.database)).toBe(0);
    expect(await migrateDatabase({ url: environment.databaseUrl })).toBe(0);
  });

  test("is safe when several processes call it at once", async () => {
    const processes = Array.from({ length: 4 }, () => start("tools/cli/migrate.ts", environment));
    const statuses = await Promise.all(processes.map((each) => each.process.exited));
    expect(statuses.map((status) => status.code)).toEqual([0, 0, 0, 0]);
    const told = processes.flatMap((each) => each.lines).toSorted();
    expect(told.filter((line) => line.startsWith("applied"))).toHaveLength(1);
    expect(told.filter((line) => line === "the database is up to date")).toHaveLength(3);
  });

  test("goes on where a run was cut short between a statement and its note", async () => {
    await migrateDatabase({ url: environment.databaseUrl });
    await environment.database.query((queries) =>
      queries.execute(sql`DELETE FROM __drizzle_migrations ORDER BY created_at DESC LIMIT 3`),
    );
    expect(await migrateDatabase({ url: environment.databaseUrl })).toBe(3);
    expect(await countPendingMigrations(environment.database)).toBe(0);
  });

  test("gives the leases of the version before their tokens, and keeps who holds them", async () => {
    await migrateDatabase({ url: environment.databaseUrl });
    const holder = randomUUID();
    for (const statement of [
      sql`ALTER TABLE leases DROP COLUMN token`,
      sql`ALTER TABLE leases MODIFY COLUMN holder char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL`,
      sql`INSERT INTO leases (name, holder, expires_at) VALUES ('webhooks', ${holder}, NOW(3) + INTERVAL 1 HOUR)`,
      sql`DELETE FROM __drizzle_migrations WHERE created_at >= ${LEASE_TOKENS}`,
    ])
      await environment.database.transaction((queries) => queries.execute(statement));
    await migrateDatabase({ url: environment.databaseUrl });
    expect(await rows(sql`SELECT holder, token FROM leases`)).toEqual([{ holder, token: "0" }]);
    const lease = new DatabaseLease(environment.database, "webhooks");
    expect(await lease.hold()).toBeUndefined();
    await environment.database.transaction((queries) =>
      queries.execute(sql`UPDATE leases SET expires_at = NOW(3)`),
    );
    expect(await lease.hold()).toBeGreaterThan(0);
  });

  test("lets orders pass while somebody reads a table that it has to alter, and alters it afterwards", async () => {
    await migrateDatabase({ url: environment.databaseUrl });
    await environment.database.transaction((queries) =>
      queries.execute(
        sql`ALTER TABLE orders DROP COLUMN adjustments, DROP COLUMN customer, DROP COLUMN bill_to, DROP COLUMN metadata, DROP COLUMN note`,
      ),
    );
    await environment.database.transaction((queries) =>
      queries.execute(sql`DELETE FROM __drizzle_migrations WHERE created_at >= ${ORDER_DETAILS}`),
    );
    let migrated = false;
    const told: number[] = [];
    const migrating = await environment.database.transaction(async (queries) => {
      // As a backup does, for as long as it takes.
      await queries.execute(sql`SELECT COUNT(*) FROM orders`);
      const done = migrateDatabase(
        { url: environment.databaseUrl },
        { onBusy: (seconds) => told.push(seconds) },
      ).finally(() => (migrated = true));
      await waitFor("the migration waits for the table", async () => {
        const waiting = await rows(
          sql`SELECT 1 AS one FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata lock%'`,
        );
        return waiting.length > 0;
      });
      const startedAt = performance.now();
      await rows(sql`SELECT id FROM orders LIMIT 1`);
      expect(performance.now() - startedAt).toBeLessThan(2_500);
      await waitFor("the migration to say that it waits", () => told.length > 1);
      expect(migrated).toBe(false);
      return { done };
    });
    expect(await migrating.done).toBeGreaterThan(0);
    expect(await rows(sql`SELECT note FROM orders`)).toEqual([]);
  });

  test("refuses a database that cannot be reached, in one line", async () => {
    const url = new URL(environment.databaseUrl);
    url.pathname = "/no_such_database";
    const child = start("tools/cli/migrate.ts", { ...environment, databaseUrl: url.href });
    expect((await child.process.exited).code).toBe(1);
    expect(child.lines).toHaveLength(1);
    expect(child.lines[0]).toMatch(/DATABASE_URL.*ER_/);
  });
});

test("the migrations make the columns and indexes that the schema declares", async () => {
  await migrateDatabase({ url: environment.databaseUrl });
  const declared = Object.values(schema)
    .flatMap((value) => (is(value, MySqlTable) ? [value as MySqlTable] : []))
    .map((table) => getTableConfig(table));
  const columns = await rows(
    sql`SELECT TABLE_NAME AS tableName, COLUMN_NAME AS name, COLUMN_TYPE AS type, IS_NULLABLE AS nullable
        FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT LIKE '\\_\\_%'`,
  );
  const made = columns.map(
    ({ tableName, name, type, nullable }) => `${tableName}.${name} ${plain(type)} ${nullable}`,
  );
  const wanted = declared.flatMap(({ name: table, columns: each }) =>
    each.map(
      (column) => `${table}.${column.name} ${plain(column.getSQLType())} ${column.notNull ? "NO" : "YES"}`,
    ),
  );
  expect(made.toSorted()).toEqual(wanted.toSorted());

  const indexes = await rows(
    sql`SELECT DISTINCT TABLE_NAME AS tableName, INDEX_NAME AS name FROM information_schema.STATISTICS
        WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT LIKE '\\_\\_%' AND INDEX_NAME <> 'PRIMARY'`,
  );
  const wantedIndexes = declared.flatMap(({ name: table, indexes: each }) =>
    each.map((index) => `${table}.${index.config.name}`),
  );
  expect(indexes.map(({ tableName, name }) => `${tableName}.${name}`).toSorted()).toEqual(
    wantedIndexes.toSorted(),
  );
});

/** Types as both sides write them: MariaDB keeps JSON as text, and integers may show a width. */
function plain(type = ""): string {
  return type.replace(/^longtext$/, "json").replace(/^(bigint|int)\(\d+\)$/, "$1");
}
