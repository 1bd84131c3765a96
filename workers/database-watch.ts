import { sql } from "drizzle-orm";
import type { Database } from "../db/database.ts";
import type { Logger } from "../src/log.ts";

/** Milliseconds between two questions whether MySQL is back. */
const PROBE_INTERVAL_MS = 500;
const REASON = "MySQL is away";

/** What stands still while MySQL is away. */
export interface Pausable {
  hold(reason: string): Promise<void>;
  release(reason: string): Promise<void>;
}

/**
 * MySQL's absence is no order's failure: while it lasts, the workers of this process stand still, and go on when MySQL
 * answers again.
 */
export class DatabaseWatch {
  readonly #database: Database;
  readonly #log: Logger;
  readonly #paused: Pausable[] = [];
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: { readonly database: Database; readonly log: Logger }) {
    this.#database = options.database;
    this.#log = options.log;
  }

  /** From now on, pauses this one too. */
  add(pausable: Pausable): void {
    this.#paused.push(pausable);
  }

  /** Somebody found MySQL away. Said again while it is away, it changes nothing. */
  reportAway(): void {
    if (this.#timer !== undefined || this.#stopped) return;
    this.#log.warn("MySQL does not answer: taking no jobs until it does");
    void Promise.all(this.#paused.map((each) => each.hold(REASON)));
    this.#probeLater();
  }

  /** Asks no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #probeLater(): void {
    this.#timer = setTimeout(() => {
      this.#database
        .query((queries) => queries.execute(sql`SELECT 1`))
        .then(
          () => this.#goOn(),
          () => this.#stopped || this.#probeLater(),
        );
    }, PROBE_INTERVAL_MS);
  }

  #goOn(): void {
    this.#timer = undefined;
    if (this.#stopped) return;
    this.#log.info("MySQL answers again: taking jobs");
    void Promise.all(this.#paused.map((each) => each.release(REASON)));
  }
}
