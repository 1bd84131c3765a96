import { describe, expect, it } from "@jest/globals";
import * as fc from "fast-check";
import { InvoiceBook } from "../../tools/cli/replay/invoices.ts";
import type { Sale } from "../../tools/cli/replay/rows.ts";
import { orderRequest } from "../../src/api/schemas.ts";
import { LIMITS } from "../../src/order/limits.ts";
import { sumsOf, totalOf } from "../../src/order/order.ts";
import { quantitiesOf } from "../../tools/cli/stock.ts";

let line = 1;
function sale(changes: Partial<Sale> = {}): Sale {
  line += 1;
  return {
    line,
    invoice: "1",
    sku: "A",
    quantity: 1,
    unitPrice: 100,
    customer: "17850",
    what: "goods",
    ...changes,
  };
}

function ordersOf(...sales: Sale[]) {
  const book = new InvoiceBook();
  for (const one of sales) expect(book.add(one)).toBeUndefined();
  return book.close().map(({ order }) => order);
}

describe("InvoiceBook", () => {
  it("makes lines that are not stocked of fees, and adjustments of discounts", () => {
    const book = new InvoiceBook();
    book.add(sale({ quantity: 6, unitPrice: 255 }));
    book.add(sale({ sku: "POST", unitPrice: 1800, what: "fee" }));
    book.add(sale({ sku: "D", quantity: -1, unitPrice: 500, what: "discount" }));
    const [made] = book.close();
    expect(made?.order).toMatchObject({
      lines: [
        { sku: "A", quantity: 6, unitPrice: 255 },
        { sku: "POST", quantity: 1, unitPrice: 1800, stocked: false, requiresShipping: false },
      ],
      adjustments: [{ kind: "discount", label: "D", amount: -500 }],
    });
    expect(made?.total).toBe(6n * 255n + 1800n - 500n);
    expect(sumsOf({ lines: [], ...made?.order })?.total).toBe(Number(made?.total));
    expect(orderRequest.safeParse(made?.order).success).toBe(true);
    expect(quantitiesOf(made ? [made.order] : [])).toEqual(new Map([["A", 6]]));
  });

  it("makes one order of an invoice, as the API takes it", () => {
    const [order] = ordersOf(sale({ invoice: "536365", quantity: 6, unitPrice: 255 }));
    expect(order).toEqual({
      customerId: "17850",
      currency: "GBP",
      reference: "536365",
      paymentToken: "tok_approved",
      lines: [{ sku: "A", quantity: 6, unitPrice: 255 }],
    });
    expect(orderRequest.parse(order)).toEqual(order);
  });

  it("gathers rows that do not stand together, in order of first rows", () => {
    const orders = ordersOf(
      sale({ invoice: "2", sku: "A" }),
      sale({ invoice: "1", sku: "B" }),
      sale({ invoice: "2", sku: "C" }),
    );
    expect(orders.map(({ reference, lines }) => [reference, lines.map(({ sku }) => sku)])).toEqual([
      ["2", ["A", "C"]],
      ["1", ["B"]],
    ]);
  });

  it("merges a SKU at the same price, and keeps it apart at different ones", () => {
    const [order] = ordersOf(
      sale({ quantity: 1, unitPrice: 246 }),
      sale({ quantity: 6, unitPrice: 125 }),
      sale({ quantity: 2, unitPrice: 246 }),
      sale({ sku: "a", quantity: 9, unitPrice: 246 }),
    );
    expect(order?.lines).toEqual([
      { sku: "A", quantity: 3, unitPrice: 246 },
      { sku: "A", quantity: 6, unitPrice: 125 },
      { sku: "a", quantity: 9, unitPrice: 246 },
    ]);
  });

  it("begins another line where a merged one would be too long", () => {
    const [order] = ordersOf(
      sale({ quantity: LIMITS.quantity }),
      sale({ quantity: 2 }),
      sale({ quantity: 3 }),
    );
    expect(order?.lines.map(({ quantity }) => quantity)).toEqual([LIMITS.quantity, 5]);
  });

  it("calls the customer of an invoice that names none a guest", () => {
    const orders = ordersOf(
      sale({ invoice: "1", customer: "" }),
      sale({ invoice: "2", customer: "" }),
      sale({ invoice: "2", customer: "13047" }),
      sale({ invoice: "2", customer: "" }),
    );
    expect(orders.map(({ customerId }) => customerId)).toEqual(["guest", "13047"]);
  });

  it("refuses a row that gives the invoice to another customer", () => {
    const book = new InvoiceBook();
    book.add(sale({ sku: "A" }));
    expect(book.add(sale({ line: 9, sku: "B", customer: "13047" }))).toEqual({
      line: 9,
      fault: 'CustomerID "13047" differs from "17850" on earlier rows of invoice "1"',
    });
    expect(book.close().map(({ order }) => order.lines.map(({ sku }) => sku))).toEqual([["A"]]);
  });

  it("keeps totals and pieces, whatever it merges", () => {
    const sales = fc.array(
      fc.record({
        invoice: fc.constantFrom("1", "2", "3"),
        sku: fc.constantFrom("A", "B", "a"),
        quantity: fc.integer({ min: 1, max: LIMITS.quantity / 40 }),
        unitPrice: fc.constantFrom(1, 2, 10_000),
        customer: fc.constantFrom("", "17850"),
      }),
      { minLength: 1, maxLength: 40 },
    );
    fc.assert(
      fc.property(sales, (rows) => {
        const book = new InvoiceBook();
        rows.forEach((row, index) =>
          expect(book.add({ ...row, what: "goods", line: index + 2 })).toBeUndefined(),
        );
        for (const { number, order, total } of book.close()) {
          const own = rows.filter(({ invoice }) => invoice === number);
          expect(BigInt(totalOf(order.lines) ?? -1)).toBe(total);
          expect(total).toBe(
            own.reduce((sum, row) => sum + BigInt(row.quantity) * BigInt(row.unitPrice), 0n),
          );
          expect(orderRequest.safeParse(order).success).toBe(true);
          const keys = order.lines.map(({ sku, unitPrice }) => `${sku} ${unitPrice}`);
          expect(keys).toHaveLength(new Set(keys).size);
        }
      }),
    );
  });
});
