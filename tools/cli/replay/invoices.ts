import type { OrderRequestBody } from "../../../src/api/schemas.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { shown } from "../../shared/text.ts";
import type { BadRow, Sale } from "./rows.ts";

/** The customer of rows without one. */
export const GUEST = "guest";
const CURRENCY = "GBP";
const PAYMENT_TOKEN = "tok_approved";

/** An invoice and its order. */
export interface Invoice {
  readonly number: string;
  readonly order: OrderRequestBody;
  /** Pence. A bigint, since it may exceed what the API accepts. */
  readonly total: bigint;
}

/** Groups rows by invoice; an invoice's rows need not be adjacent. */
export class InvoiceBook {
  readonly #invoices = new Map<string, { customer: string; sales: Goods[] }>();

  /** Adds a row to its invoice. Returns a fault if the row contradicts earlier rows. */
  add({ line, invoice, customer, sku, quantity, unitPrice, what }: Sale): BadRow | undefined {
    let entry = this.#invoices.get(invoice);
    if (!entry) this.#invoices.set(invoice, (entry = { customer, sales: [] }));
    // A row without a customer contradicts nothing.
    entry.customer ||= customer;
    if (customer !== "" && customer !== entry.customer)
      return {
        line,
        fault: `CustomerID ${shown(customer)} differs from ${shown(entry.customer)} on earlier rows of invoice ${shown(invoice)}`,
      };
    entry.sales.push({ sku, quantity, unitPrice, what });
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
        lines: merged(sales.filter(({ what }) => what !== "discount")),
        ...withDiscounts(sales.filter(({ what }) => what === "discount")),
      },
      total: sales.reduce((sum, sale) => sum + BigInt(sale.quantity) * BigInt(sale.unitPrice), 0n),
    }));
  }
}

type Goods = Pick<Sale, "sku" | "quantity" | "unitPrice" | "what">;
type Line = OrderRequestBody["lines"][number];

function withDiscounts(discounts: readonly Goods[]): Pick<OrderRequestBody, "adjustments"> {
  if (discounts.length === 0) return {};
  return {
    adjustments: discounts.map(({ sku, quantity, unitPrice }) => ({
      kind: "discount",
      label: sku,
      amount: quantity * unitPrice,
    })),
  };
}

/**
 * Merges rows of the same SKU and price into one line. Rows at different prices stay separate, since a common
 * price would change the total by pence; so do rows that together exceed a line's maximum quantity.
 */
function merged(sales: readonly Goods[]): Line[] {
  const lines: Line[] = [];
  const open = new Map<string, Line>();
  for (const { sku, quantity, unitPrice, what } of sales) {
    const key = `${unitPrice} ${sku}`;
    const line = open.get(key);
    if (line && line.quantity + quantity <= LIMITS.quantity) {
      line.quantity += quantity;
      continue;
    }
    const added = {
      sku,
      quantity,
      unitPrice,
      ...(what === "fee" && { stocked: false, requiresShipping: false }),
    };
    open.set(key, added);
    lines.push(added);
  }
  return lines;
}
