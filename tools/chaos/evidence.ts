import type { Redis } from "ioredis";
import { z } from "zod";
import type { ProviderBooks } from "../simulators/providers.ts";
import { shipmentReference } from "../../src/order/shipment.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import type { Ledger } from "./ledger.ts";
import { instant, number, text, textOrNull, type Sql } from "./sql.ts";
import type { Watch } from "./watch.ts";

export interface OrderRow {
  readonly id: string;
  readonly status: string;
  /** Minor units. */
  readonly total: number;
  readonly currency: string;
  /** For an order sent without a key, its reference, which is the same text. */
  readonly idempotencyKey: string | null;
  /** The stage and reason of the failure; null if the order has not failed. */
  readonly failed: string | null;
  readonly cancelReason: string | null;
}

export interface EventRow {
  readonly id: number;
  readonly orderId: string;
  readonly from: string | null;
  readonly to: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** A failed attempt at a stage that counted against the order. */
export interface FailedAttemptRow {
  readonly orderId: string;
  readonly stage: string;
  readonly reason: string;
  /** When the attempt began and when it was recorded, milliseconds since 1970. */
  readonly startedAt: number;
  readonly at: number;
}

export interface LineRow {
  readonly orderId: string;
  readonly sku: string;
  readonly quantity: number;
  /** Pieces that were refunded before they were in a parcel. */
  readonly cancelled?: number;
}

export interface ShipmentRow {
  readonly orderId: string;
  /** Our name for it, which the carrier knows: `<order id>:ship:2`. */
  readonly reference: string;
  readonly number: number;
  readonly state: string;
  readonly pieces: readonly { readonly sku: string; readonly quantity: number }[];
  readonly trackingNumber: string | null;
  /** Whether an operator settled it: nobody waits for it any more. */
  readonly isClosed: boolean;
}

export interface StockRow {
  readonly sku: string;
  readonly onHand: number;
  readonly reserved: number;
}

/** The books of all parties at the end of a run. */
export interface Evidence {
  readonly orders: readonly OrderRow[];
  readonly lines: readonly LineRow[];
  /** In order of id. */
  readonly events: readonly EventRow[];
  readonly failedAttempts: readonly FailedAttemptRow[];
  readonly stock: readonly StockRow[];
  readonly shipments: readonly ShipmentRow[];
  /** State by order id. */
  readonly reservations: ReadonlyMap<string, string>;
  readonly books: Pick<ProviderBooks, "charges" | "refunds" | "labels" | "declines">;
  /** Remaining jobs, by queue and state: `reserve waiting`. */
  readonly jobs: ReadonlyMap<string, number>;
  /** Stock loaded at the start, by SKU. */
  readonly loaded: ReadonlyMap<string, number>;
  readonly customers: Pick<
    Ledger,
    "sent" | "accepted" | "cancelled" | "refunded" | "contradictions" | "surprises" | "repeated202s"
  >;
  readonly samples: Pick<Watch, "stockSamples" | "sums" | "breaches">;
}

/** Rows per statement: few round trips, but little memory. */
const PAGE = 20_000;

/**
 * Reads MySQL and Redis from the outside, with plain SQL and plain commands. Reads MySQL in one snapshot, since
 * an order that has not settled may still change.
 *
 * @throws {Error} of the drivers
 */
export async function gatherEvidence(
  sql: Sql,
  redis: Redis,
  rest: Pick<Evidence, "books" | "loaded" | "customers" | "samples">,
): Promise<Evidence> {
  const tables = await sql.snapshot(() => readTables(sql));
  return { ...rest, ...tables, jobs: await countJobs(redis) };
}

type Tables = Pick<
  Evidence,
  "orders" | "lines" | "events" | "failedAttempts" | "stock" | "reservations" | "shipments"
>;

async function readTables(sql: Sql): Promise<Tables> {
  return {
    orders: (await sql.rows("SELECT * FROM orders ORDER BY id")).map((row) => ({
      id: text(row["id"]),
      status: text(row["status"]),
      total: number(row["total"]),
      currency: text(row["currency"]),
      idempotencyKey: textOrNull(row["idempotency_key"] ?? row["reference"]),
      failed:
        row["failed_stage"] === null ? null : `${text(row["failed_stage"])}: ${text(row["failed_reason"])}`,
      cancelReason: textOrNull(row["cancel_reason"]),
    })),
    lines: (await sql.rows("SELECT order_id, sku, quantity, details FROM order_lines")).map((row) => ({
      orderId: text(row["order_id"]),
      sku: text(row["sku"]),
      quantity: number(row["quantity"]),
      cancelled: lineDetails.parse(jsonOf(row["details"]))?.cancelled ?? 0,
    })),
    events: await readEvents(sql),
    failedAttempts: (
      await sql.rows(
        "SELECT order_id, stage, reason, started_at, at FROM order_events WHERE type IN ('attempt-failed', 'failed') AND started_at IS NOT NULL ORDER BY id",
      )
    ).map((row) => ({
      orderId: text(row["order_id"]),
      stage: text(row["stage"]),
      reason: text(row["reason"]),
      startedAt: instant(row["started_at"]),
      at: instant(row["at"]),
    })),
    stock: (await sql.rows("SELECT sku, on_hand, reserved FROM stock")).map((row) => ({
      sku: text(row["sku"]),
      onHand: number(row["on_hand"]),
      reserved: number(row["reserved"]),
    })),
    shipments: (await sql.rows("SELECT * FROM shipments ORDER BY order_id, number")).map((row) => {
      const [orderId, position] = [text(row["order_id"]), number(row["number"])];
      return {
        orderId,
        reference: shipmentReference({ orderId, number: position }),
        number: position,
        state: text(row["state"]),
        pieces: piecesOf(row["lines"]),
        trackingNumber: textOrNull(row["tracking_number"]),
        isClosed: row["closed_at"] !== null,
      };
    }),
    reservations: new Map(
      (await sql.rows("SELECT order_id, state FROM reservations")).map((row) => [
        text(row["order_id"]),
        text(row["state"]),
      ]),
    ),
  };
}

const pieces = z.array(z.object({ sku: z.string(), quantity: z.number() }));
const lineDetails = z.object({ cancelled: z.number().optional() }).nullable();

function piecesOf(lines: unknown): z.output<typeof pieces> {
  return pieces.parse(jsonOf(lines));
}

/** MariaDB's driver returns JSON as text. */
function jsonOf(value: unknown): unknown {
  return typeof value === "string" ? JSON.parse(value) : value;
}

/** All transitions, in order of id. @throws {Error} of the driver */
async function readEvents(sql: Sql): Promise<EventRow[]> {
  const events: EventRow[] = [];
  for (;;) {
    const rows = await sql.rows(
      "SELECT id, order_id, from_status, to_status, at FROM order_events WHERE id > ? AND type = 'status' ORDER BY id LIMIT ?",
      [events.at(-1)?.id ?? 0, PAGE],
    );
    for (const row of rows)
      events.push({
        id: number(row["id"]),
        orderId: text(row["order_id"]),
        from: textOrNull(row["from_status"]),
        to: text(row["to_status"]),
        at: instant(row["at"]),
      });
    if (rows.length < PAGE) return events;
  }
}

/** The states of unfinished jobs; completed jobs may stay. */
const STATES = ["wait", "paused", "active", "delayed", "prioritized", "waiting-children", "failed"];
const LISTS = new Set(["wait", "paused", "active"]);

/** Counts unfinished jobs by queue and BullMQ state. @throws {Error} of the driver */
export async function countJobs(redis: Redis): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const queue of await findQueues(redis)) {
    for (const state of STATES) {
      const key = `{${queue}}:${queue}:${state}`;
      counts.set(`${queue} ${state}`, await (LISTS.has(state) ? redis.llen(key) : redis.zcard(key)));
    }
  }
  return counts;
}

/** The expected queues and those that exist. */
async function findQueues(redis: Redis): Promise<string[]> {
  const names = new Set(lifecycle.steps.map(({ name }) => name));
  for (const key of await redis.keys("{*}:*:meta")) {
    const name = /^\{(.+)\}:/.exec(key)?.[1];
    if (name !== undefined) names.add(name);
  }
  return [...names];
}
