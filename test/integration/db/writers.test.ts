import { expect, test } from "@jest/globals";
import { createConnection } from "mysql2/promise";
import { Database } from "../../../db/database.ts";
import { hasSeveralWriters } from "../../../db/writers.ts";
import { probeMysql } from "../../../tools/launcher/servers/probe.ts";
import { startTestMysql } from "../../support/servers.ts";

/* A Galera cluster: see galera.test.ts. */

test("a group of MySQL servers that all take writes is several writers, and one with a primary is one", async () => {
  const isMysql = (await probeMysql(process.env["TEST_MYSQL_URL"]!)).startsWith("MySQL");
  const mysql = await startTestMysql({ args: isMysql ? ["--log-bin", "--performance-schema=ON"] : [] });
  const admin = await createConnection(mysql.url);
  const database = new Database({ url: `${mysql.url}/mysql` });
  try {
    expect(await hasSeveralWriters(database)).toBe(false);
    // MariaDB has none.
    if (!isMysql) return;
    await admin.query("INSTALL PLUGIN group_replication SONAME 'group_replication.so'");
    expect(await hasSeveralWriters(database)).toBe(false);
    await admin.query("SET GLOBAL group_replication_single_primary_mode = OFF");
    expect(await hasSeveralWriters(database)).toBe(true);
  } finally {
    admin.destroy();
    await database.close();
    await mysql.stop();
  }
});
