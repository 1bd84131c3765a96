import type { RowDataPacket } from "mysql2";

// The drivers are imported when they are needed: loading them takes longer than the servers take to start, and so
// goes on beside it.
const CONNECT_TIMEOUT_MS = 2000;

/**
 * Asks a MySQL or MariaDB for its name and version: "MariaDB 10.11.6".
 *
 * @param url mysql://user:password@host:port/database; the database has to exist when one is given
 * @throws the driver's error when it can't be reached or refuses the login
 */
export async function probeMysql(url: string): Promise<string> {
  const { createConnection } = await import("mysql2/promise");
  const connection = await createConnection({ uri: url, connectTimeout: CONNECT_TIMEOUT_MS });
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
 * Asks a Redis or Valkey for its name and version: "Redis 7.0.15".
 *
 * @param url redis://:password@host:port/database
 * @throws the driver's error when it can't be reached, refuses the login, or is still loading its data
 */
export async function probeRedis(url: string): Promise<string> {
  const { Redis } = await import("ioredis");
  const redis = new Redis(url, {
    connectTimeout: CONNECT_TIMEOUT_MS,
    // ioredis keeps a timer this long, and with it the process, after a refused connection.
    disconnectTimeout: 100,
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  let failure: unknown;
  // Tells more than the "connection is closed" that commands end with.
  redis.on("error", (error) => (failure = error));
  try {
    await redis.connect();
    // It may be connected all the same, to database 0 instead of the one that the address names.
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
