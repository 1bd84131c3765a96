import type { RowDataPacket } from "mysql2";
import { mysqlAddress } from "../../../src/platform/mysql-url.ts";

// The drivers are imported on first use: loading them takes longer than starting the servers, so the two
// overlap.
const CONNECT_TIMEOUT_MS = 2000;

/**
 * Connects to a MySQL or MariaDB and returns its name and version: "MariaDB 10.11.6".
 *
 * @param url mysql://user:password@host:port/database; if a database is given, it must exist
 * @throws the driver's error if the server can't be reached or refuses the login
 */
export async function probeMysql(url: string): Promise<string> {
  const { createConnection } = await import("mysql2/promise");
  const connection = await createConnection({ ...mysqlAddress(url), connectTimeout: CONNECT_TIMEOUT_MS });
  try {
    const [rows] = await connection.query<RowDataPacket[]>("SELECT VERSION() AS version");
    const version = String(rows[0]?.["version"]);
    const number = /^[\d.]+/.exec(version.replace(/^5\.5\.5-/, ""))?.[0] ?? version;
    return `${/mariadb/i.test(version) ? "MariaDB" : "MySQL"} ${number}`;
  } finally {
    connection.destroy();
  }
}

/**
 * Connects to a Redis or Valkey and returns its name and version: "Redis 7.0.15".
 *
 * @param url what REDIS_URL takes
 * @throws the driver's error if the server can't be reached, refuses the login, or is still loading its data
 */
export async function probeRedis(url: string): Promise<string> {
  const { connectOnce, establish } = await import("../../../queues/connection.ts");
  const { reasonOf } = await import("../../../queues/errors.ts");
  const redis = connectOnce(url);
  let failure: unknown;
  // More specific than the "connection is closed" that commands fail with.
  redis.on("error", (error) => (failure = reasonOf(error)));
  try {
    await establish(redis);
    // Despite the error it may be connected, but to database 0 instead of the one in the URL.
    if (failure !== undefined) throw failure;
    const info = await redis.info("server");
    await redis.ping();
    const valkey = /^valkey_version:(\S+)/m.exec(info)?.[1];
    return valkey ? `Valkey ${valkey}` : `Redis ${/^redis_version:(\S+)/m.exec(info)?.[1] ?? "?"}`;
  } catch (error) {
    throw failure ?? error;
  } finally {
    redis.disconnect();
  }
}
