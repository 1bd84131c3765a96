import { hostname } from "node:os";
import { and, eq, lte, sql, type SQL } from "drizzle-orm";
import type { Lease } from "../src/platform/lease.ts";
import type { Database } from "./database.ts";
import { COLUMN_LENGTHS } from "./column-lengths.ts";
import { leases } from "./schema.ts";

/** The leases, and the milliseconds after which each expires unless it is renewed. */
const LEASES = {
  sweeper: 8_000,
  refunds: 8_000,
  webhooks: 8_000,
  /** Longer than its rounds are apart, so that they are not made by every process in turn. */
  "missed-webhooks": 600_000,
  /** Short, since readers of the stream wait for the next holder. */
  stream: 4_000,
} as const;

/** The share of its duration after which a lease is renewed, and after which its holder no longer relies on it. */
const RENEW_AFTER = 1 / 4;
const SURE_FOR = 3 / 4;

const NOW = sql`NOW(3)`;
/** For operators. */
const HOLDER = `${hostname()} ${process.pid}`.slice(-COLUMN_LENGTHS.leaseHolder);

/**
 * A lease in MySQL, by MySQL's clock. Renewing it takes one round trip; trying to acquire one that another process holds
 * only reads. While MySQL is away, nobody can renew or acquire it, and its holder stops when its time is up.
 *
 * The row is kept after a release, since the next token must be greater. A token is the time in milliseconds at which the
 * lease was acquired, or one more than the last token if MySQL's clock was set back. So tokens grow even if the row is lost
 * or the database is restored from a backup.
 */
export class DatabaseLease implements Lease {
  readonly #database: Database;
  readonly #name: keyof typeof LEASES;
  readonly #forMs: number;
  #held: { readonly token: number; readonly since: number } | undefined;

  /** Sends no query before the first {@link hold}. */
  constructor(database: Database, name: keyof typeof LEASES) {
    this.#database = database;
    this.#name = name;
    this.#forMs = LEASES[name];
  }

  get token(): number | undefined {
    return this.#isYoungerThan(SURE_FOR) ? this.#held?.token : undefined;
  }

  /** @throws {DatabaseError} */
  async hold(): Promise<number | undefined> {
    if (this.#isYoungerThan(RENEW_AFTER)) return this.#held?.token;
    // When the request was sent, since the response may be slow.
    const since = performance.now();
    const held = this.#held?.token;
    const token = held !== undefined && (await this.#expire(this.#inTime, held)) ? held : await this.#take();
    this.#held = token === undefined ? undefined : { token, since };
    return token;
  }

  async release(): Promise<void> {
    const { token } = this;
    this.#held = undefined;
    if (token !== undefined) await this.#expire(NOW, token).catch(() => undefined);
  }

  #isYoungerThan(part: number): boolean {
    return this.#held !== undefined && performance.now() - this.#held.since < part * this.#forMs;
  }

  async #take(): Promise<number | undefined> {
    const own = eq(leases.name, this.#name);
    const isFree = lte(leases.expiresAt, NOW);
    const [held] = await this.#database.query((queries) =>
      queries
        .select({ isFree: sql<number>`${isFree}` })
        .from(leases)
        .where(own),
    );
    if (held?.isFree === 0) return undefined;
    if (held === undefined) await this.#insert();
    return this.#database.transaction(async (queries) => {
      const token = sql`GREATEST(${leases.token} + 1, FLOOR(1000 * UNIX_TIMESTAMP(NOW(3))))`;
      const [taken] = await queries
        .update(leases)
        .set({ holder: HOLDER, token, expiresAt: this.#inTime })
        .where(and(own, isFree));
      // Another process was faster.
      if (taken.affectedRows === 0) return undefined;
      const [row] = await queries.select({ token: leases.token }).from(leases).where(own);
      return row?.token;
    });
  }

  /** In its own transaction: together with the UPDATE, concurrent callers would wait for each other's locks. */
  async #insert(): Promise<void> {
    const free = { name: this.#name, holder: HOLDER, token: 0, expiresAt: NOW };
    await this.#database.transaction((queries) => queries.insert(leases).ignore().values(free));
  }

  /** When it expires if acquired or renewed now. */
  get #inTime(): SQL {
    return sql`NOW(3) + INTERVAL ${this.#forMs * 1_000} MICROSECOND`;
  }

  /** @returns false if another process has acquired it since. */
  async #expire(expiresAt: SQL, token: number): Promise<boolean> {
    // Versions from before tokens acquire a lease without changing its token.
    const held = and(eq(leases.name, this.#name), eq(leases.token, token), eq(leases.holder, HOLDER));
    return this.#database.transaction(async (queries) => {
      const [found] = await queries.update(leases).set({ expiresAt }).where(held);
      return found.affectedRows > 0;
    });
  }
}
