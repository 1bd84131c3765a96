import { CANCELLED } from "../../../src/order/lifecycle.ts";
import { isSettled, type OrderState } from "../client.ts";
import type { Invoice } from "./invoices.ts";
import type { Ledger, PlacedInvoice } from "./send.ts";
import { quantitiesOf, type Level, type Quantities } from "../stock.ts";

/** How the file's orders ended; each accepted order counts exactly once. */
export interface Endings {
  readonly delivered: number;
  /** By reason, up to its first colon. */
  readonly cancelled: ReadonlyMap<string, number>;
  /** By the stage that failed. */
  readonly failed: ReadonlyMap<string, number>;
  /** Still in progress when patience ran out, by status. */
  readonly unfinished: ReadonlyMap<string, number>;
  /** Accepted, but no longer found. */
  readonly lost: number;
}

/** Counts the ledger's orders by how they ended. */
export function endingsOf(ledger: Ledger, states: ReadonlyMap<string, OrderState>): Endings {
  const cancelled = new Map<string, number>();
  const failed = new Map<string, number>();
  const unfinished = new Map<string, number>();
  let delivered = 0;
  let lost = 0;
  for (const [id] of placedIn(ledger)) {
    const state = states.get(id);
    if (!state) lost += 1;
    else if (state.failed) countOne(failed, state.failed.stage);
    else if (!isSettled(state)) countOne(unfinished, state.status);
    else if (state.status === CANCELLED)
      countOne(cancelled, state.cancellation?.reason.split(":")[0] ?? "no reason given");
    else delivered += 1;
  }
  return { delivered, cancelled, failed, unfinished, lost };
}

/** The file's amounts against the service's, in pence. */
export interface MoneyReconciliation {
  /** All sales in the file. */
  readonly file: bigint;
  /** The part in invoices that were refused or not sent. */
  readonly notTaken: bigint;
  /** The sum of the orders' totals in the service. */
  readonly service: bigint;
  readonly differences: readonly {
    readonly invoice: string;
    readonly file: bigint;
    readonly service: bigint;
  }[];
}

/** Compares each order's total, and the sums. */
export function reconcileMoney(
  invoices: readonly Invoice[],
  ledger: Ledger,
  states: ReadonlyMap<string, OrderState>,
): MoneyReconciliation {
  const file = invoices.reduce((sum, { total }) => sum + total, 0n);
  let taken = 0n;
  let service = 0n;
  const differences: MoneyReconciliation["differences"][number][] = [];
  for (const [id, { invoice, total: answered }] of placedIn(ledger)) {
    const total = BigInt(states.get(id)?.total ?? answered);
    taken += invoice.total;
    service += total;
    if (total !== invoice.total)
      differences.push({ invoice: invoice.number, file: invoice.total, service: total });
  }
  return { file, notTaken: file - taken, service, differences };
}

/** A SKU with unexpected stock. */
export interface StockDifference {
  readonly sku: string;
  readonly expected: Level;
  readonly found: Level;
}

export interface StockReconciliation {
  readonly checked: number;
  /** SKUs not checked because an order for them has not ended. */
  readonly open: number;
  readonly differences: readonly StockDifference[];
}

/**
 * Compares every SKU. On hand should be the initial quantity plus what was loaded minus what this run's orders
 * shipped; reserved should be unchanged. Orders of earlier runs had settled before the initial count.
 */
export function reconcileStock(
  stock: {
    readonly before: ReadonlyMap<string, Level>;
    readonly loaded: Quantities;
    readonly after: ReadonlyMap<string, Level>;
  },
  ledger: Ledger,
  states: ReadonlyMap<string, OrderState>,
): StockReconciliation {
  const shippedOrders: Invoice["order"][] = [];
  const unsettled: Invoice["order"][] = [];
  for (const [id, { invoice }] of ledger.accepted) {
    const state = states.get(id);
    if (!state || state.failed || !isSettled(state)) unsettled.push(invoice.order);
    else if (state.status !== CANCELLED) shippedOrders.push(invoice.order);
  }
  const shipped = quantitiesOf(shippedOrders);
  const open = quantitiesOf(unsettled);
  const differences: StockDifference[] = [];
  for (const [sku, before] of stock.before) {
    const found = stock.after.get(sku);
    if (open.has(sku) || !found) continue;
    const onHand = before.onHand + (stock.loaded.get(sku) ?? 0) - (shipped.get(sku) ?? 0);
    if (found.onHand !== onHand || found.reserved !== before.reserved)
      differences.push({
        sku,
        expected: { onHand, reserved: before.reserved },
        found: { onHand: found.onHand, reserved: found.reserved },
      });
  }
  return { checked: stock.before.size - open.size, open: open.size, differences };
}

/**
 * Orders per second by the service's clock, from the first order's creation until the last one settled;
 * undefined if there are none.
 */
export function endToEndRate(ledger: Ledger, states: ReadonlyMap<string, OrderState>): number | undefined {
  let first = Number.POSITIVE_INFINITY;
  let last = 0;
  let ended = 0;
  for (const id of ledger.accepted.keys()) {
    const state = states.get(id);
    if (!state || !isSettled(state)) continue;
    ended += 1;
    first = Math.min(first, Date.parse(state.createdAt));
    last = Math.max(last, Date.parse(state.updatedAt));
  }
  return last > first ? ended / ((last - first) / 1000) : undefined;
}

function* placedIn(ledger: Ledger): Generator<[string, PlacedInvoice]> {
  yield* ledger.accepted;
  yield* ledger.alreadyThere;
}

function countOne(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
