import { describe, expect, it } from "@jest/globals";
import type { OrderState } from "../../tools/cli/client.ts";
import type { FileContents } from "../../tools/cli/replay/file.ts";
import { InvoiceBook, type Invoice } from "../../tools/cli/replay/invoices.ts";
import { endingsOf, endToEndRate, reconcileMoney, reconcileStock } from "../../tools/cli/replay/reconcile.ts";
import { renderFaults, renderReport } from "../../tools/cli/replay/render.ts";
import { complaintsOf, jsonOf, type ReplayReport } from "../../tools/cli/replay/report.ts";
import { Ledger } from "../../tools/cli/replay/send.ts";
import { lacking, unneeded, type Level } from "../../tools/cli/stock.ts";

function invoice(number: string, sku: string, quantity: number, unitPrice = 100): Invoice {
  const book = new InvoiceBook();
  book.add({ line: 2, invoice: number, sku, quantity, unitPrice, customer: "17850", what: "goods" });
  const [made] = book.close();
  if (!made) throw new Error("one sale makes one invoice");
  return made;
}

function state(id: string, status: string, changes: Partial<OrderState> = {}): OrderState {
  return {
    id,
    status,
    reference: null,
    customerId: "17850",
    currency: "GBP",
    total: 100,
    createdAt: "2026-01-01T00:00:00.000Z",
    updatedAt: "2026-01-01T00:00:02.000Z",
    ...changes,
  };
}

/** Ten orders of one piece each, one of every kind; `old` was there before. */
function example() {
  const failed = { stage: "pay", reason: "down", at: "2026-01-01T00:00:01.000Z" };
  const cancellation = { reason: "sold out: CANCELLED-SKU", requestedAt: "2026-01-01T00:00:01.000Z" };
  const states = [
    state("delivered", "DELIVERED"),
    state("dear", "DELIVERED", { total: 101, updatedAt: "2026-01-01T00:00:04.000Z" }),
    state("cancelled", "CANCELLED", { cancellation }),
    state("failed", "RESERVED", { failed }),
    state("moving", "SHIPPED"),
    state("old", "DELIVERED"),
  ];
  const ledger = new Ledger();
  const place = (id: string, into: Ledger["accepted"]) =>
    into.set(id, { invoice: invoice(id, `${id.toUpperCase()}-SKU`, 1), total: 100 });
  for (const id of ["delivered", "dear", "cancelled", "failed", "moving", "lost"]) place(id, ledger.accepted);
  place("old", ledger.alreadyThere);
  ledger.refused.push({
    invoice: invoice("refused", "REFUSED-SKU", 1),
    why: "refused with 422: lines: too many",
  });
  ledger.took = 2_000;
  const invoices = [...ledger.accepted.values(), ...ledger.alreadyThere.values(), ...ledger.refused].map(
    (entry) => entry.invoice,
  );
  return { ledger, invoices, states: new Map(states.map((one) => [one.id, one])) };
}

const skus = (levels: Record<string, Level>) => new Map(Object.entries(levels));

const LEVEL: Level = { onHand: 5, reserved: 2 };

describe("endingsOf", () => {
  it("puts every order that was taken in one place", () => {
    const { ledger, states } = example();
    expect(endingsOf(ledger, states)).toEqual({
      delivered: 3,
      cancelled: new Map([["sold out", 1]]),
      failed: new Map([["pay", 1]]),
      unfinished: new Map([["SHIPPED", 1]]),
      lost: 1,
    });
  });
});

describe("reconcileMoney", () => {
  it("finds the order with another total, and what was not taken", () => {
    const { ledger, states, invoices } = example();
    expect(reconcileMoney(invoices, ledger, states)).toEqual({
      file: 800n,
      notTaken: 100n,
      service: 701n,
      differences: [{ invoice: "dear", file: 100n, service: 101n }],
    });
  });
});

describe("reconcileStock", () => {
  it("expects what was before and was loaded, less what left the house", () => {
    const { ledger, states } = example();
    const before = skus({ "DELIVERED-SKU": LEVEL, "CANCELLED-SKU": LEVEL, "OLD-SKU": LEVEL });
    const result = reconcileStock(
      {
        before,
        loaded: new Map([
          ["DELIVERED-SKU", 1],
          ["OLD-SKU", 1],
        ]),
        after: skus({
          "DELIVERED-SKU": LEVEL,
          "CANCELLED-SKU": LEVEL,
          "OLD-SKU": { onHand: 6, reserved: 2 },
        }),
      },
      ledger,
      states,
    );
    expect(result.differences).toEqual([]);
  });

  it("lists a SKU that differs, on hand or reserved", () => {
    const { ledger, states } = example();
    const stays = skus({ "DELIVERED-SKU": LEVEL, "CANCELLED-SKU": LEVEL });
    const after = skus({ "DELIVERED-SKU": LEVEL, "CANCELLED-SKU": { onHand: 5, reserved: 3 } });
    const { differences } = reconcileStock({ before: stays, loaded: new Map(), after }, ledger, states);
    expect(differences).toEqual([
      { sku: "DELIVERED-SKU", expected: { onHand: 4, reserved: 2 }, found: LEVEL },
      { sku: "CANCELLED-SKU", expected: LEVEL, found: { onHand: 5, reserved: 3 } },
    ]);
  });

  it("judges no SKU of an order that has not ended", () => {
    const { ledger, states } = example();
    const before = skus({ "FAILED-SKU": LEVEL, "MOVING-SKU": LEVEL, "LOST-SKU": LEVEL, "OLD-SKU": LEVEL });
    const after = skus({
      "FAILED-SKU": { onHand: 5, reserved: 3 },
      "MOVING-SKU": { onHand: 4, reserved: 2 },
      "LOST-SKU": { onHand: 0, reserved: 0 },
      "OLD-SKU": LEVEL,
    });
    expect(reconcileStock({ before, loaded: new Map(), after }, ledger, states)).toEqual({
      checked: 1,
      open: 3,
      differences: [],
    });
  });
});

describe("endToEndRate", () => {
  it("counts this run's orders settled over the time from the first to the last", () => {
    const { ledger, states } = example();
    expect(endToEndRate(ledger, states)).toBe(4 / 4);
    expect(endToEndRate(new Ledger(), states)).toBeUndefined();
  });
});

describe("stock for an order", () => {
  const levels = new Map([
    ["FULL", { onHand: 10, reserved: 4 }],
    ["SHORT", { onHand: 10, reserved: 9 }],
    ["HUGE", { onHand: 999_999_999, reserved: 999_999_999 }],
  ]);

  it("is loaded where it does not suffice, and no more than a shelf holds", () => {
    const needed = new Map([
      ["FULL", 6],
      ["SHORT", 6],
      ["NEW", 6],
      ["HUGE", 6],
    ]);
    expect(lacking(needed, levels)).toEqual(
      new Map([
        ["SHORT", 5],
        ["NEW", 6],
        ["HUGE", 1],
      ]),
    );
  });

  it("is taken back as far as it was loaded in vain, and nobody reserved it", () => {
    const loaded = new Map([
      ["FULL", 9],
      ["SHORT", 9],
      ["OTHER", 9],
    ]);
    const notMade = new Map([
      ["FULL", 5],
      ["SHORT", 5],
    ]);
    expect(unneeded(loaded, notMade, levels)).toEqual(
      new Map([
        ["FULL", 5],
        ["SHORT", 1],
      ]),
    );
  });
});

function reportOf({ ledger, invoices, states }: ReturnType<typeof example>): ReplayReport {
  const file: FileContents = {
    rows: 12,
    sales: invoices.length,
    invoiceNumbers: 9,
    skipped: new Map([["no price", 2]]),
    bad: [{ line: 3, fault: "Quantity" }],
    invoices,
  };
  return {
    path: "sales.csv",
    service: "http://localhost:3000/",
    file,
    ledger,
    endings: endingsOf(ledger, states),
    endToEnd: endToEndRate(ledger, states),
    money: reconcileMoney(invoices, ledger, states),
    stock: {
      checked: 1,
      open: 3,
      differences: [{ sku: "A", expected: LEVEL, found: { onHand: 6, reserved: 2 } }],
    },
    takenBack: new Map([["A", 3]]),
  };
}

describe("the report", () => {
  it("complains of everything that does not add up", () => {
    expect(complaintsOf(reportOf(example()))).toEqual([
      "1 order refused",
      "1 order accepted but not found",
      "1 order waiting for a retry",
      "1 order unfinished",
      "1 order whose total differs from the file's",
      "1 SKU with unexpected stock",
    ]);
  });

  it("complains of orders that were not sent", () => {
    const { ledger, invoices, states } = example();
    const report = reportOf({ ledger, invoices: [...invoices, invoice("late", "A", 1)], states });
    expect(complaintsOf(report)).toContain("1 order not sent");
  });

  it("is a table of aligned lines, with the verdict last", () => {
    const lines = renderReport(reportOf(example()));
    expect(lines).toContain("  rows                                        12");
    expect(lines).toContain("    delivered                                  3");
    expect(lines).toContain("  in the file                              £8.00");
    const widths = lines
      .slice(0, -1)
      .filter((line) => line.startsWith("  "))
      .map((line) => line.length);
    expect(new Set(widths).size).toBe(1);
    expect(lines.at(-1)).toMatch(/^Does not reconcile: 1 order refused, .* stock\.$/);
    expect(renderFaults(reportOf(example()))).toEqual([
      'invoice "refused": refused with 422: lines: too many',
      'invoice "dear": £1.00 in the file, £1.01 in the service',
      'SKU "A": 6 on hand, 2 reserved, expected 5 on hand, 2 reserved; did something else change it meanwhile?',
    ]);
  });

  it("says so when everything reconciles", () => {
    const ledger = new Ledger();
    const report = reportOf({ ledger, invoices: [], states: new Map() });
    const clean = { ...report, stock: { checked: 0, open: 0, differences: [] } };
    expect(complaintsOf(clean)).toEqual([]);
    expect(renderReport(clean).at(-1)).toMatch(/^Everything reconciles/);
  });

  it("is JSON with amounts in pence", () => {
    expect(JSON.parse(jsonOf(reportOf(example())))).toMatchObject({
      file: { rows: 12, skipped: { "no price": 2, cancellation: 0 }, bad: [{ line: 3, fault: "Quantity" }] },
      orders: { accepted: 6, alreadyThere: 1, delivered: 3, cancelled: { "sold out": 1 }, lost: 1 },
      ordersPerSecond: { accepted: 3, endToEnd: 1 },
      money: { currency: "GBP", file: 800, notTaken: 100, service: 701 },
      stock: { takenBack: { A: 3 } },
      reconciles: false,
    });
  });
});
