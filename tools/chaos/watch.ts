import { setTimeout as delay } from "node:timers/promises";
import type { Ledger } from "./ledger.ts";
import { number, text, type Sql } from "./sql.ts";

const SAMPLE_EVERY_MS = 400;
/** Summing up takes longer the more was shipped. */
const ADD_UP_EVERY_MS = 5_000;
/** Ids per statement. */
const PAGE = 500;
const WITHIN_MS = 5_000;

/** A shipment's pieces as rows. */
const PIECES =
  "JSON_TABLE(shipments.lines, '$[*]' COLUMNS (sku VARCHAR(64) PATH '$.sku', quantity INT PATH '$.quantity')) AS pieces";

const ENDED = new Set(["DELIVERED", "CANCELLED"]);

/** Samples the orders and the stock from the outside, throughout the run. */
export class Watch {
  readonly #sql: Sql;
  readonly #ledger: Ledger;
  /** Stock loaded at the start, by SKU. */
  readonly #loaded: ReadonlyMap<string, number>;
  /** Samples of every SKU's level. */
  stockSamples = 0;
  /** Samples that summed up everything on hand, held and shipped. */
  sums = 0;
  /** Faults found in the stock. */
  readonly breaches: string[] = [];
  #addedUpAt = 0;

  constructor(sql: Sql, ledger: Ledger, loaded: ReadonlyMap<string, number>) {
    this.#sql = sql;
    this.#ledger = ledger;
    this.#loaded = loaded;
  }

  /** Samples repeatedly until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // MySQL may be away.
      await this.sample().catch(() => {});
      await delay(SAMPLE_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  /** Takes one sample. @throws {Error} of the driver while MySQL is away */
  async sample(): Promise<void> {
    await this.#sampleStock();
    if (Date.now() - this.#addedUpAt > ADD_UP_EVERY_MS) {
      await this.#addUp();
      this.#addedUpAt = Date.now();
    }
    await this.#sampleOrders();
  }

  async #sampleOrders(): Promise<void> {
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

  async #sampleStock(): Promise<void> {
    const rows = await this.#sql.rows("SELECT sku, on_hand, reserved FROM stock", [], WITHIN_MS);
    this.stockSamples += 1;
    for (const row of rows) {
      const onHand = number(row["on_hand"]);
      const reserved = number(row["reserved"]);
      if (reserved >= 0 && onHand >= reserved) continue;
      this.#breach(`${text(row["sku"])}: ${onHand} on hand, ${reserved} reserved`);
    }
  }

  /** Checks that on hand plus shipped equals loaded, and that reserved equals held. */
  async #addUp(): Promise<void> {
    const { stock, moved } = await this.#sql.snapshot(async () => ({
      stock: await this.#sql.rows("SELECT sku, on_hand, reserved FROM stock", [], WITHIN_MS),
      moved: await this.#sql.rows(
        // More may have been sent of an order than it ordered, once more for what was lost.
        `SELECT sku, SUM(shipped) AS shipped, SUM(GREATEST(0, ordered - shipped)) AS held FROM (
           SELECT order_id, sku, SUM(ordered) AS ordered, SUM(shipped) AS shipped FROM (
             SELECT order_lines.order_id, order_lines.sku, 0 AS shipped,
                    order_lines.quantity - COALESCE(CAST(JSON_VALUE(details, '$.cancelled') AS SIGNED), 0) AS ordered
               FROM reservations JOIN order_lines ON order_lines.order_id = reservations.order_id
              WHERE reservations.state <> 'RELEASED'
             UNION ALL
             SELECT shipments.order_id, pieces.sku, pieces.quantity, 0
               FROM shipments JOIN ${PIECES}
              WHERE shipments.state NOT IN ('PLANNED', 'VOIDED')
           ) AS moves GROUP BY order_id, sku
         ) AS of_orders GROUP BY sku`,
        [],
        WITHIN_MS,
      ),
    }));
    this.sums += 1;
    const bySku = new Map(moved.map((row) => [text(row["sku"]), row]));
    for (const row of stock) {
      const sku = text(row["sku"]);
      const onHand = number(row["on_hand"]);
      const reserved = number(row["reserved"]);
      const shipped = number(bySku.get(sku)?.["shipped"] ?? 0);
      const held = number(bySku.get(sku)?.["held"] ?? 0);
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
