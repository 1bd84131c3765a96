import { RefusedError, UnreachableError, type ConveyorClient } from "../client.ts";
import { concurrently } from "../concurrently.ts";
import type { Invoice } from "./invoices.ts";

/** An invoice that was placed as an order. */
export interface PlacedInvoice {
  readonly invoice: Invoice;
  /** Pence, from the service's answer. */
  readonly total: number;
}

/** The result for each invoice. Updated while sending, so that it survives an interruption. */
export class Ledger {
  /** Orders made by this run, by order id. */
  readonly accepted = new Map<string, PlacedInvoice>();
  /** Orders made by an earlier run under the same Idempotency-Key, by order id. */
  readonly alreadyThere = new Map<string, PlacedInvoice>();
  readonly refused: { readonly invoice: Invoice; readonly why: string }[] = [];
  /** Milliseconds that sending took. */
  took = 0;

  get answered(): number {
    return this.accepted.size + this.alreadyThere.size + this.refused.length;
  }
}

/**
 * Places every invoice as an order, with its number as the Idempotency-Key. Refused ones don't stop the rest.
 * @throws {Failure} if the service is away or no longer accepts the API key.
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

/** Whether the error concerns only this order, and not the API key or the whole service. */
function isAboutThisOrder(error: unknown): error is RefusedError | UnreachableError {
  if (error instanceof RefusedError) return error.status !== 401 && error.status !== 403;
  return error instanceof UnreachableError && error.othersWereAnswered;
}
