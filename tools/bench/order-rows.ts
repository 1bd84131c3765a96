import { setTimeout as delay } from "node:timers/promises";
import { number, text, type Sql } from "../chaos/sql.ts";
import { Failure } from "../shared/failure.ts";
import type { BenchProcess } from "./process.ts";

/** How often a drain is looked at. */
export const POLL_EVERY_MS = 20;
/** Counting a million orders takes a while. */
const COUNTED_WITHIN_MS = 300_000;
/** An order that is neither finished nor failed. Earlier versions have these columns too. */
const UNDER_WAY = "status NOT IN ('DELIVERED', 'CANCELLED') AND failed_stage IS NULL";

/** A shop's orders in MySQL, by plain SQL. */
export class OrderRows {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** The number of all orders. */
  count(): Promise<number> {
    return this.#count("1 = 1");
  }

  /** The number of orders that are not DELIVERED, of those placed until then. */
  countOpen(until = new Date()): Promise<number> {
    return this.#count("status <> 'DELIVERED' AND created_at <= ?", [until]);
  }

  /** Whether an order is neither finished nor failed. Looks at one row by its primary key. */
  async isUnderWay(orderId: string): Promise<boolean> {
    return (await this.#count(`id = ? AND ${UNDER_WAY}`, [orderId])) > 0;
  }

  /**
   * Waits until no order is under way. Fifty times a second it looks at the newest order alone, one of the last to be
   * delivered: that takes MySQL half a percent of a core, while counting would read the whole backlog each time. Once
   * that order is done, it counts the others, of which there are few in the index of statuses.
   *
   * @throws when aborted, or if one of the processes exits
   */
  async untilNoneIsUnderWay(
    processes: readonly Pick<BenchProcess, "assertRunning">[],
    signal: AbortSignal,
  ): Promise<void> {
    const [row] = await this.#sql.rows("SELECT COALESCE(MAX(id), '') AS newest FROM orders");
    const newest = text(row?.["newest"]);
    while ((await this.isUnderWay(newest)) || (await this.#count(UNDER_WAY)) > 0) {
      for (const process of processes) process.assertRunning();
      await delay(POLL_EVERY_MS, undefined, { signal });
    }
  }

  /** @throws {Failure} unless there are exactly this many orders and all are DELIVERED */
  async assertDelivered(orders: number): Promise<void> {
    const [all, open] = [await this.count(), await this.countOpen()];
    if (all !== orders || open > 0)
      throw new Failure(
        `expected ${orders} delivered orders, found ${all} of which ${open} are not delivered`,
      );
  }

  async #count(where: string, values: readonly unknown[] = []): Promise<number> {
    const statement = `SELECT COUNT(*) AS orders FROM orders WHERE ${where}`;
    const [row] = await this.#sql.rows(statement, values, COUNTED_WITHIN_MS);
    return number(row?.["orders"]);
  }
}
