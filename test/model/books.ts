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

export interface LedgerRow extends RowDataPacket {
  readonly orderId: string;
  readonly kind: string;
  readonly amount: number;
  readonly outcome: string;
}

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
  SELECT order_id AS orderId, state FROM reservations;
  SELECT order_id AS orderId, kind, amount, outcome FROM provider_ledger`;

const CLEAR = ["orders", "order_lines", "order_events", "stock", "reservations", "provider_ledger"]
  .map((table) => `DELETE FROM ${table}`)
  .join("; ");

/** Looks into the books past the service. They are read after each step, so it is done in one go. */
export class Auditor {
  readonly #connection: Connection;

  static async of(databaseUrl: string): Promise<Auditor> {
    return new Auditor(await createConnection({ uri: databaseUrl, multipleStatements: true, timezone: "Z" }));
  }

  private constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Only of use while nothing is written. */
  async read(): Promise<Books> {
    const [[orders, events, stock, reservations, ledger]] =
      await this.#connection.query<[OrderRow[], EventRow[], StockRow[], ReservationRow[], LedgerRow[]]>(READ);
    return { orders, events, stock, reservations, ledger };
  }

  /** Empties the books, for another story to begin. */
  async clear(): Promise<void> {
    await this.#connection.query(CLEAR);
  }

  async close(): Promise<void> {
    await this.#connection.end();
  }
}
