import type { OrderRequestBody } from "../../../src/api/schemas.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { shown } from "../../shared/text.ts";
import type { BadRow, Sale } from "./rows.ts";

/** The customer of rows that name none. */
export const GUEST = "guest";
const CURRENCY = "GBP";
const PAYMENT_TOKEN = "tok_approved";

/** One invoice as the order it becomes. */
export interface Invoice {
  readonly number: string;
  readonly order: OrderRequestBody;
  /** Pence, in full: also beyond what the API takes. */
  readonly total: bigint;
}

/** The rows of a file gathered by invoice: the rows of one need not stand together. */
export class InvoiceBook {
  readonly #invoices = new Map<string, { customer: string; sales: Goods[] }>();

  /** Takes a row into its invoice. Gives the fault when the row contradicts the invoice's earlier rows. */
  add({ line, invoice, customer, sku, quantity, unitPrice }: Sale): BadRow | undefined {
    let entry = this.#invoices.get(invoice);
    if (!entry) this.#invoices.set(invoice, (entry = { customer, sales: [] }));
    // A row without a customer contradicts nobody.
    entry.customer ||= customer;
    if (customer !== "" && customer !== entry.customer)
      return {
        line,
        fault: `CustomerID ${shown(customer)} differs from ${shown(entry.customer)}, whose invoice ${shown(invoice)} is`,
      };
    entry.sales.push({ sku, quantity, unitPrice });
    return undefined;
  }

  /** The invoices in the order of their first rows. */
  close(): Invoice[] {
    return Array.from(this.#invoices, ([number, { customer, sales }]) => ({
      number,
      order: {
        customerId: customer || GUEST,
        currency: CURRENCY,
        reference: number,
        paymentToken: PAYMENT_TOKEN,
        lines: merged(sales),
      },
      total: sales.reduce((sum, sale) => sum + BigInt(sale.quantity) * BigInt(sale.unitPrice), 0n),
    }));
  }
}

type Goods = Pick<Sale, "sku" | "quantity" | "unitPrice">;

/**
 * Rows of the same SKU at the same price become one line. At different prices they stay apart, as the API allows, since
 * one price for both would put the total off by pence; so do rows that together exceed what one line takes.
 */
function merged(sales: readonly Goods[]): Goods[] {
  const lines: { -readonly [Key in keyof Goods]: Goods[Key] }[] = [];
  const open = new Map<string, (typeof lines)[number]>();
  for (const { sku, quantity, unitPrice } of sales) {
    const key = `${unitPrice} ${sku}`;
    const line = open.get(key);
    if (line && line.quantity + quantity <= LIMITS.quantity) {
      line.quantity += quantity;
      continue;
    }
    const added = { sku, quantity, unitPrice };
    open.set(key, added);
    lines.push(added);
  }
  return lines;
}
