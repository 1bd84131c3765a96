import { RefusedError, UnreachableError, type ConveyorClient } from "../client.ts";
import { concurrently } from "../concurrently.ts";
import type { Invoice } from "./invoices.ts";

/** An invoice and the order it became. */
export interface PlacedInvoice {
  readonly invoice: Invoice;
  /** Pence, as the service answered. */
  readonly total: number;
}

/** What became of the invoices so far; sending writes it as it goes, so that an interruption loses no count. */
export class Ledger {
  /** By order id: made by this run. */
  readonly accepted = new Map<string, PlacedInvoice>();
  /** By order id: made by an earlier run, under the same Idempotency-Key. */
  readonly alreadyThere = new Map<string, PlacedInvoice>();
  readonly refused: { readonly invoice: Invoice; readonly why: string }[] = [];
  /** Milliseconds that sending took. */
  took = 0;

  get answered(): number {
    return this.accepted.size + this.alreadyThere.size + this.refused.length;
  }
}

/**
 * Sends every invoice as an order, with its number as Idempotency-Key. Refused ones don't stop the rest.
 * @throws {Failure} when the service is gone, or takes the key no longer.
 */
export async function sendInvoices(
  client: ConveyorClient,
  invoices: readonly Invoice[],
  concurrency: number,
  ledger: Ledger,
  onAnswer: (answered: number) => void,
): Promise<void> {
  const began = performance.now();
  try {
    await concurrently(invoices, concurrency, async (invoice) => {
      await send(client, invoice, ledger);
      ledger.took = performance.now() - began;
      onAnswer(ledger.answered);
    });
  } finally {
    ledger.took = performance.now() - began;
  }
}

async function send(client: ConveyorClient, invoice: Invoice, ledger: Ledger): Promise<void> {
  try {
    const { order, wasThere } = await client.placeOrder(invoice.order, invoice.number);
    const entry = { invoice, total: order.total };
    (wasThere ? ledger.alreadyThere : ledger.accepted).set(order.id, entry);
  } catch (error) {
    if (!isAboutThisOrder(error)) throw error;
    ledger.refused.push({ invoice, why: error.message });
  }
}

/** Whether the next order may fare better: not when the key is no longer taken, or nothing answers at all. */
function isAboutThisOrder(error: unknown): error is RefusedError | UnreachableError {
  if (error instanceof RefusedError) return error.status !== 401 && error.status !== 403;
  return error instanceof UnreachableError && error.othersWereAnswered;
}
