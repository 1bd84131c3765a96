import { randomBytes } from "node:crypto";
import { createConnection, type Connection, type RowDataPacket } from "mysql2/promise";

/** A result row, by column. */
export type Row = Readonly<Record<string, unknown>>;

const CONNECT_WITHIN_MS = 3_000;

/**
 * Plain SQL over a connection of its own, independent of the service's code. If the server is down or frozen, a
 * query fails after its timeout and the next one reconnects.
 */
export class Sql {
  readonly #url: string;
  #connection: Promise<Connection> | undefined;

  /** @param url mysql://user:password@host:port/database */
  constructor(url: string) {
    this.#url = url;
  }

  /** @throws {Error} of the driver, also if there is no answer within `withinMs` */
  async rows(statement: string, values: readonly unknown[] = [], withinMs = 30_000): Promise<Row[]> {
    const connecting = (this.#connection ??= this.#connect());
    try {
      const connection = await connecting;
      const [rows] = await connection.query<RowDataPacket[]>({
        sql: statement,
        values: [...values],
        timeout: withinMs,
      });
      return Array.isArray(rows) ? rows : [];
    } catch (error) {
      if (this.#connection === connecting) this.close();
      throw error;
    }
  }

  /** Runs several queries in one snapshot; no other query may run meanwhile. @throws {Error} of the driver */
  async snapshot<T>(read: () => Promise<T>): Promise<T> {
    await this.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT");
    try {
      return await read();
    } finally {
      await this.rows("COMMIT").catch(() => {});
    }
  }

  /** Closes the connection. */
  close(): void {
    this.#connection?.then(
      (connection) => connection.destroy(),
      () => undefined,
    );
    this.#connection = undefined;
  }

  async #connect(): Promise<Connection> {
    const connection = await createConnection({
      uri: this.#url,
      connectTimeout: CONNECT_WITHIN_MS,
      timezone: "Z",
      charset: "utf8mb4",
    });
    // The next query reports the error.
    connection.on("error", () => {});
    await connection.query("SET SESSION time_zone = '+00:00'");
    await connection.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    return connection;
  }
}

/** Creates an empty database. @returns its URL @throws {Error} of the driver */
export async function createDatabase(serverUrl: string, name: string): Promise<string> {
  const sql = new Sql(serverUrl);
  try {
    await sql.rows(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
  } finally {
    sql.close();
  }
  return Object.assign(new URL(serverUrl), { pathname: `/${name}` }).href;
}

/**
 * Creates an account with all rights on this database only, as a service should have: an account with SUPER
 * could write to a read-only server.
 *
 * @returns the database's URL for this account
 * @throws {Error} of the driver
 */
export async function createAccount(databaseUrl: string, name: string): Promise<string> {
  const sql = new Sql(databaseUrl);
  const password = randomBytes(12).toString("hex");
  try {
    for (const host of ["localhost", "127.0.0.1"]) {
      await sql.rows(`CREATE USER '${name}'@'${host}' IDENTIFIED BY '${password}'`);
      const database = new URL(databaseUrl).pathname.slice(1);
      await sql.rows(`GRANT ALL PRIVILEGES ON ${database}.* TO '${name}'@'${host}'`);
    }
  } finally {
    sql.close();
  }
  return Object.assign(new URL(databaseUrl), { username: name, password }).href;
}

/** @throws {Error} if the value is not a string */
export function text(value: unknown): string {
  if (typeof value !== "string") throw new Error(`not a text: ${JSON.stringify(value)}`);
  return value;
}

export function textOrNull(value: unknown): string | null {
  return value === null ? null : text(value);
}

/** Accepts strings, since MySQL returns sums as text. @throws {Error} if the value is not a number */
export function number(value: unknown): number {
  const parsed = typeof value === "number" ? value : Number(text(value));
  if (!Number.isFinite(parsed)) throw new Error(`not a number: ${JSON.stringify(value)}`);
  return parsed;
}

/** Milliseconds since 1970. @throws {Error} if the value is not a date */
export function instant(value: unknown): number {
  if (!(value instanceof Date)) throw new Error(`not a date: ${JSON.stringify(value)}`);
  return value.getTime();
}
