import type { z } from "zod";
import { customerId, idempotencyKey, reference, sku as skuSchema } from "../../../src/api/schemas.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { shown } from "../../shared/text.ts";
import type { CsvRecord } from "./csv.ts";
import { type Pence, penceOf, pounds } from "./money.ts";

/** The columns of the "Online Retail" data set, as named in its header. */
export const COLUMNS = [
  "InvoiceNo",
  "StockCode",
  "Description",
  "Quantity",
  "InvoiceDate",
  "UnitPrice",
  "CustomerID",
  "Country",
] as const;

type Column = (typeof COLUMNS)[number];

/** Why a valid row is not a sale. */
export const SKIP_REASONS = [
  /** The invoice number starts with C: a return. */
  "cancellation",
  /** The invoice number starts with A, or the quantity or price is negative: a correction of the books. */
  "adjustment",
  /** Given away, or without a price. */
  "no price",
  /** Such as 0.001, which no card can be charged. */
  "fraction of a penny",
] as const;

export type SkipReason = (typeof SKIP_REASONS)[number];

/** A row of the file. */
export type Row =
  | ({ readonly kind: "sale" } & Sale)
  | { readonly kind: "skipped"; readonly line: number; readonly invoice: string; readonly reason: SkipReason }
  | ({ readonly kind: "bad" } & BadRow);

export interface Sale {
  /** The line of the file, from 1. */
  readonly line: number;
  readonly invoice: string;
  readonly sku: string;
  readonly quantity: number;
  /** Pence. */
  readonly unitPrice: number;
  /** A fee is a line that is not stocked. A discount's quantity is negative. */
  readonly what: "goods" | "fee" | "discount";
  /** Empty for a quarter of the data set. */
  readonly customer: string;
}

export interface BadRow {
  readonly line: number;
  /** What is wrong, and what would be right. */
  readonly fault: string;
}

/** The stock code of discounts, in capitals. */
const DISCOUNT = "D";

/** The data set's stock codes for fees and bookings, in capitals. */
const FEES = new Set([
  "ADJUST",
  "ADJUST2",
  "AMAZONFEE",
  "B",
  "BANK CHARGES",
  "C2",
  "C3",
  "CRUK",
  DISCOUNT,
  "DOT",
  "M",
  "POST",
  "S",
]);

/** `2010-12-01 08:26`, optionally with seconds or a T, and `12/1/2010 8:26` as in the public file. */
const DATES = [
  /^(?<year>\d{4})-(?<month>\d\d?)-(?<day>\d\d?)[ T](?<hour>\d\d?):(?<minute>\d\d)(?::(?<second>\d\d))?$/,
  /^(?<month>\d\d?)\/(?<day>\d\d?)\/(?<year>\d{4}) (?<hour>\d\d?):(?<minute>\d\d)(?::(?<second>\d\d))?$/,
  /^(?<day>\d\d?)\/(?<month>\d\d?)\/(?<year>\d{4}) (?<hour>\d\d?):(?<minute>\d\d)(?::(?<second>\d\d))?$/,
];

const HIGHEST_PRICE = pounds(BigInt(LIMITS.unitPrice));

/** The columns that the header lacks. */
export function missingColumns(header: readonly string[]): Column[] {
  const names = new Set(header.map((name) => name.trim()));
  return COLUMNS.filter((column) => !names.has(column));
}

/** Parses the rows below a header, whose columns may be in any order, with others between them. */
export class RowReader {
  readonly #width: number;
  readonly #at: ReadonlyMap<string, number>;
  /** Ids repeat from row to row, so each is checked only once. */
  readonly #skus = new Ids(skuSchema);
  readonly #customers = new Ids(customerId);
  readonly #invoices = new Ids(reference.and(idempotencyKey));

  /** @param header must have all of {@link COLUMNS}; see {@link missingColumns}. */
  constructor(header: readonly string[]) {
    const names = header.map((name) => name.trim());
    this.#width = names.length;
    this.#at = new Map(COLUMNS.map((column) => [column, names.indexOf(column)]));
  }

  /** Parses a row. An invalid row is bad, even if it would have been skipped. */
  read(record: CsvRecord): Row {
    const { line } = record;
    const bad = (fault: string): Row => ({ kind: "bad", line, fault });
    if ("fault" in record) return bad(record.fault);
    if (record.fields.length !== this.#width)
      return bad(
        `${record.fields.length} fields instead of ${this.#width}; write a field that contains a comma as "like, this"`,
      );
    const field = (column: Column): string => record.fields[this.#at.get(column) ?? -1]?.trim() ?? "";

    const invoice = this.#invoices.take(field("InvoiceNo"));
    if ("fault" in invoice) return bad(`InvoiceNo ${invoice.fault}, such as 536365`);
    const sku = this.#skus.take(field("StockCode"));
    if ("fault" in sku) return bad(`StockCode ${sku.fault}, such as 85123A`);
    const quantity = wholeNumber(field("Quantity"));
    if (quantity === undefined)
      return bad(`Quantity ${shown(field("Quantity"))} is not a whole number such as 6`);
    if (!isDate(field("InvoiceDate")))
      return bad(`InvoiceDate ${shown(field("InvoiceDate"))} is not a time such as 2010-12-01 08:26`);
    const price = penceOf(field("UnitPrice"));
    if (!price.ok && price.why === "not a number")
      return bad(`UnitPrice ${shown(field("UnitPrice"))} is not an amount such as 2.55`);
    const customer = field("CustomerID") === "" ? { id: "" } : this.#customers.take(field("CustomerID"));
    if ("fault" in customer) return bad(`CustomerID ${customer.fault}, such as 17850, or nothing`);

    const code = sku.id.toUpperCase();
    const what = code === DISCOUNT && quantity < 0 ? "discount" : FEES.has(code) ? "fee" : "goods";
    const reason = whySkipped(invoice.id, what, quantity, price);
    if (reason) return { kind: "skipped", line, invoice: invoice.id, reason };
    if (quantity > LIMITS.quantity)
      return bad(`Quantity ${quantity} is above the maximum of an order line, ${LIMITS.quantity}`);
    if (!price.ok || price.pence > LIMITS.unitPrice)
      return bad(`UnitPrice ${shown(field("UnitPrice"))} is above the highest unit price, ${HIGHEST_PRICE}`);
    return {
      kind: "sale",
      line,
      invoice: invoice.id,
      sku: sku.id,
      quantity,
      unitPrice: price.pence,
      what,
      customer: customer.id,
    };
  }
}

function whySkipped(
  invoice: string,
  what: Sale["what"],
  quantity: number,
  price: Pence,
): SkipReason | undefined {
  if (/^c/i.test(invoice)) return "cancellation";
  if (/^a/i.test(invoice) || (quantity <= 0 && what !== "discount") || (price.ok && price.pence < 0))
    return "adjustment";
  if (price.ok && price.pence === 0) return "no price";
  if (!price.ok && price.why === "not whole pence") return "fraction of a penny";
  return undefined;
}

/** Validates the ids of one column by the API's rules. */
class Ids {
  readonly #schema: z.ZodType<string>;
  readonly #known = new Map<string, { readonly id: string }>();

  constructor(schema: z.ZodType<string>) {
    this.#schema = schema;
  }

  take(text: string): { readonly id: string } | { readonly fault: string } {
    const known = this.#known.get(text);
    if (known) return known;
    if (text === "") return { fault: "is missing" };
    const result = this.#schema.safeParse(text);
    if (!result.success)
      return { fault: `${shown(text)} can't be used (${result.error.issues[0]?.message}); use an id` };
    const taken = { id: result.data };
    this.#known.set(text, taken);
    return taken;
  }
}

function wholeNumber(text: string): number | undefined {
  return /^-?\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function isDate(text: string): boolean {
  return DATES.some((form) => {
    const parts = form.exec(text)?.groups;
    if (!parts) return false;
    const day = `${parts["year"]}-${twoDigits(parts["month"])}-${twoDigits(parts["day"])}`;
    const date = new Date(
      `${day}T${twoDigits(parts["hour"])}:${twoDigits(parts["minute"])}:${twoDigits(parts["second"])}Z`,
    );
    // Date accepts 30 February as 2 March.
    return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day);
  });
}

function twoDigits(part = ""): string {
  return part.padStart(2, "0");
}
