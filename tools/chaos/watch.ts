import { setTimeout as delay } from "node:timers/promises";
import type { Ledger } from "./ledger.ts";
import { number, text, type Sql } from "./sql.ts";

const LOOK_EVERY_MS = 400;
/** Adding up all that was shipped takes longer, the more there is. */
const ADD_UP_EVERY_MS = 5_000;
/** Ids asked for in one statement. */
const PAGE = 500;
const WITHIN_MS = 5_000;

const ENDED = new Set(["DELIVERED", "CANCELLED"]);

/** Looks at the orders and the stock from the outside, all through the run. */
export class Watch {
  readonly #sql: Sql;
  readonly #ledger: Ledger;
  /** Pieces loaded at the beginning, by SKU. */
  readonly #loaded: ReadonlyMap<string, number>;
  /** Looks at every SKU's level. */
  stockSamples = 0;
  /** Looks that added up all that is on hand, held and shipped. */
  sums = 0;
  /** What was found wrong with the stock at some moment. */
  readonly breaches: string[] = [];
  #addedUpAt = 0;

  constructor(sql: Sql, ledger: Ledger, loaded: ReadonlyMap<string, number>) {
    this.#sql = sql;
    this.#ledger = ledger;
    this.#loaded = loaded;
  }

  /** Looks again and again until it is aborted. */
  async keepLooking(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // A database that is away is not the watcher's to judge.
      await this.look().catch(() => {});
      await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  /** One look at all. @throws {Error} of the driver while MySQL is away. */
  async look(): Promise<void> {
    await this.#lookAtStock();
    if (Date.now() - this.#addedUpAt > ADD_UP_EVERY_MS) {
      await this.#addUp();
      this.#addedUpAt = Date.now();
    }
    await this.#lookAtOrders();
  }

  async #lookAtOrders(): Promise<void> {
    const { open } = this.#ledger;
    for (let start = 0; start < open.length; start += PAGE) {
      const ids = open.slice(start, start + PAGE).map(({ id }) => id);
      const rows = await this.#sql.rows("SELECT id, status FROM orders WHERE id IN (?)", [ids], WITHIN_MS);
      const now = Date.now();
      for (const row of rows) {
        const order = this.#ledger.accepted.get(text(row["id"]));
        if (order && ENDED.has(text(row["status"]))) order.endedAt ??= now;
      }
    }
  }

  async #lookAtStock(): Promise<void> {
    const rows = await this.#sql.rows("SELECT sku, on_hand, reserved FROM stock", [], WITHIN_MS);
    this.stockSamples += 1;
    for (const row of rows) {
      const onHand = number(row["on_hand"]);
      const reserved = number(row["reserved"]);
      if (reserved >= 0 && onHand >= reserved) continue;
      this.#breach(`${text(row["sku"])}: ${onHand} on hand, ${reserved} reserved`);
    }
  }

  /** Every piece that was loaded is on hand or shipped, and what is reserved is what orders hold. */
  async #addUp(): Promise<void> {
    const { stock, moved } = await this.#sql.snapshot(async () => ({
      stock: await this.#sql.rows("SELECT sku, on_hand, reserved FROM stock", [], WITHIN_MS),
      moved: await this.#sql.rows(
        `SELECT order_lines.sku AS sku, reservations.state AS state, SUM(order_lines.quantity) AS pieces
           FROM reservations JOIN order_lines ON order_lines.order_id = reservations.order_id
          WHERE reservations.state IN ('HELD', 'SHIPPED')
          GROUP BY order_lines.sku, reservations.state`,
        [],
        WITHIN_MS,
      ),
    }));
    this.sums += 1;
    const pieces = new Map(
      moved.map((row) => [`${text(row["state"])} ${text(row["sku"])}`, number(row["pieces"])]),
    );
    for (const row of stock) {
      const sku = text(row["sku"]);
      const onHand = number(row["on_hand"]);
      const reserved = number(row["reserved"]);
      const shipped = pieces.get(`SHIPPED ${sku}`) ?? 0;
      const held = pieces.get(`HELD ${sku}`) ?? 0;
      const loaded = this.#loaded.get(sku) ?? 0;
      if (onHand + shipped === loaded && reserved === held) continue;
      this.#breach(
        `${sku}: ${onHand} on hand and ${shipped} shipped of ${loaded}, ${reserved} reserved and ${held} held`,
      );
    }
  }

  #breach(what: string): void {
    this.breaches.push(`${new Date().toISOString()} ${what}`);
  }
}
