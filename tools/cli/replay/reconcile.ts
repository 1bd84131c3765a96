import { CANCELLED } from "../../../src/order/lifecycle.ts";
import { isAtRest, type OrderState } from "../client.ts";
import type { Invoice } from "./invoices.ts";
import type { Ledger, PlacedInvoice } from "./send.ts";
import { piecesOf, type Level, type Pieces } from "../stock.ts";

/** How the orders of a file ended; every order that the service took is in exactly one of these. */
export interface Endings {
  readonly delivered: number;
  /** By the kind of reason, which is what stands before its first colon. */
  readonly cancelled: ReadonlyMap<string, number>;
  /** By the stage in which they wait for a person. */
  readonly failed: ReadonlyMap<string, number>;
  /** Still moving when the patience ended, by status. */
  readonly unfinished: ReadonlyMap<string, number>;
  /** Accepted, and not to be found any more. */
  readonly lost: number;
}

/** Counts how the orders of the ledger stand. */
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
    else if (!isAtRest(state)) countOne(unfinished, state.status);
    else if (state.status === CANCELLED)
      countOne(cancelled, state.cancellation?.reason.split(":")[0] ?? "no reason given");
    else delivered += 1;
  }
  return { delivered, cancelled, failed, unfinished, lost };
}

/** The file's money against the service's, in pence. */
export interface MoneyReconciliation {
  /** All that is sold in the file. */
  readonly file: bigint;
  /** Of that, in invoices that the service refused or that were not sent. */
  readonly notTaken: bigint;
  /** The orders' totals, as the service has them. */
  readonly service: bigint;
  readonly differences: readonly {
    readonly invoice: string;
    readonly file: bigint;
    readonly service: bigint;
  }[];
}

/** Compares every order's total, and their sums. */
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

/** A SKU whose stock is not what it should be. */
export interface StockDifference {
  readonly sku: string;
  readonly expected: Level;
  readonly found: Level;
}

export interface StockReconciliation {
  readonly checked: number;
  /** SKUs of orders that have not ended: nobody can say yet how many there should be. */
  readonly open: number;
  readonly differences: readonly StockDifference[];
}

/**
 * Compares every SKU: on hand there should be what was before and was loaded, less what this run's orders took out of
 * the house; reserved should be what was before. Orders that an earlier run made had ended before the first look.
 */
export function reconcileStock(
  stock: {
    readonly before: ReadonlyMap<string, Level>;
    readonly loaded: Pieces;
    readonly after: ReadonlyMap<string, Level>;
  },
  ledger: Ledger,
  states: ReadonlyMap<string, OrderState>,
): StockReconciliation {
  const left: Invoice["order"][] = [];
  const unsettled: Invoice["order"][] = [];
  for (const [id, { invoice }] of ledger.accepted) {
    const state = states.get(id);
    if (!state || state.failed || !isAtRest(state)) unsettled.push(invoice.order);
    else if (state.status !== CANCELLED) left.push(invoice.order);
  }
  const gone = piecesOf(left);
  const open = piecesOf(unsettled);
  const differences: StockDifference[] = [];
  for (const [sku, before] of stock.before) {
    const found = stock.after.get(sku);
    if (open.has(sku) || !found) continue;
    const onHand = before.onHand + (stock.loaded.get(sku) ?? 0) - (gone.get(sku) ?? 0);
    if (found.onHand !== onHand || found.reserved !== before.reserved)
      differences.push({
        sku,
        expected: { onHand, reserved: before.reserved },
        found: { onHand: found.onHand, reserved: found.reserved },
      });
  }
  return { checked: stock.before.size - open.size, open: open.size, differences };
}

/** Orders a second, by the service's clock: from the first order made to the last one at rest; undefined of none. */
export function endToEndRate(ledger: Ledger, states: ReadonlyMap<string, OrderState>): number | undefined {
  let first = Number.POSITIVE_INFINITY;
  let last = 0;
  let ended = 0;
  for (const id of ledger.accepted.keys()) {
    const state = states.get(id);
    if (!state || !isAtRest(state)) continue;
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
