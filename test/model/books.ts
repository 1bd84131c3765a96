import type { Entry, Ledger } from "../../tools/simulators/ledger.ts";
import { createConnection, type Connection, type RowDataPacket } from "mysql2/promise";

export interface OrderRow extends RowDataPacket {
  readonly id: string;
  readonly status: string;
  readonly total: number;
  readonly idempotencyKey: string | null;
  readonly cancelRequestedAt: Date | null;
  readonly cancelReason: string | null;
  readonly failedAt: Date | null;
}

export interface EventRow extends RowDataPacket {
  readonly id: number;
  readonly orderId: string;
  readonly fromStatus: string | null;
  readonly toStatus: string;
}

export interface StockRow extends RowDataPacket {
  readonly sku: string;
  readonly onHand: number;
  readonly reserved: number;
}

export interface ReservationRow extends RowDataPacket {
  readonly orderId: string;
  readonly state: string;
}

/** What a provider has booked. */
export type LedgerRow = Pick<Entry, "orderId" | "kind" | "amount" | "outcome">;

/** All that is written down: what an auditor could see. */
export interface Books {
  readonly orders: readonly OrderRow[];
  /** In the order of writing. */
  readonly events: readonly EventRow[];
  readonly stock: readonly StockRow[];
  readonly reservations: readonly ReservationRow[];
  readonly ledger: readonly LedgerRow[];
}

const READ = `
  SELECT id, status, total, idempotency_key AS idempotencyKey, cancel_requested_at AS cancelRequestedAt,
    cancel_reason AS cancelReason, failed_at AS failedAt FROM orders;
  SELECT id, order_id AS orderId, from_status AS fromStatus, to_status AS toStatus FROM order_events
    WHERE type = 'status' ORDER BY id;
  SELECT sku, on_hand AS onHand, reserved FROM stock;
  SELECT order_id AS orderId, state FROM reservations`;

const CLEAR = [
  "orders",
  "order_lines",
  "order_events",
  "stock",
  "reservations",
  "payments",
  "refunds",
  "shipments",
]
  .map((table) => `DELETE FROM ${table}`)
  .join("; ");

/** Looks into the books past the service. They are read after each step, so it is done in one go. */
export class Auditor {
  readonly #connection: Connection;
  readonly #ledger: Ledger;

  /** @param ledger the providers' books */
  static async of(databaseUrl: string, ledger: Ledger): Promise<Auditor> {
    const options = { uri: databaseUrl, multipleStatements: true, timezone: "Z" };
    return new Auditor(await createConnection(options), ledger);
  }

  private constructor(connection: Connection, ledger: Ledger) {
    this.#connection = connection;
    this.#ledger = ledger;
  }

  /** Only of use while nothing is written. */
  async read(): Promise<Books> {
    const [[orders, events, stock, reservations]] =
      await this.#connection.query<[OrderRow[], EventRow[], StockRow[], ReservationRow[]]>(READ);
    return { orders, events, stock, reservations, ledger: this.#ledger.entries };
  }

  /** Empties the books, for another story to begin. */
  async clear(): Promise<void> {
    await this.#connection.query(CLEAR);
    this.#ledger.clear();
  }

  async close(): Promise<void> {
    await this.#connection.end();
  }
}
