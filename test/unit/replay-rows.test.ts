import { describe, expect, it } from "@jest/globals";
import { COLUMNS, missingColumns, RowReader } from "../../tools/cli/replay/rows.ts";

const GOOD = {
  InvoiceNo: "536365",
  StockCode: "85123A",
  Description: "WHITE HANGING HEART T-LIGHT HOLDER",
  Quantity: "6",
  InvoiceDate: "2010-12-01 08:26",
  UnitPrice: "2.55",
  CustomerID: "17850",
  Country: "United Kingdom",
};

function read(changes: Partial<typeof GOOD> = {}, header: readonly string[] = COLUMNS) {
  const row: Record<string, string> = { ...GOOD, ...changes };
  return new RowReader(header).read({ line: 7, fields: header.map((name) => row[name.trim()] ?? "") });
}

describe("RowReader", () => {
  it("reads a sale, in pence", () => {
    expect(read()).toEqual({
      kind: "sale",
      line: 7,
      invoice: "536365",
      sku: "85123A",
      quantity: 6,
      unitPrice: 255,
      what: "goods",
      customer: "17850",
    });
  });

  it("finds the columns in any order, among others, with spaces around names and values", () => {
    const header = [...COLUMNS.toReversed(), "Loyalty"].map((name) => ` ${name} `);
    expect(read({ StockCode: " 85123A ", UnitPrice: " 2.55 " }, header)).toEqual(read());
  });

  it("keeps SKUs that differ in case apart", () => {
    expect(read({ StockCode: "85123a" })).toMatchObject({ sku: "85123a" });
  });

  it("lets a sale have no customer and no description", () => {
    expect(read({ CustomerID: "", Description: "" })).toMatchObject({ kind: "sale", customer: "" });
  });

  it.each([
    "2010-12-01 08:26",
    "2010-12-01 08:26:59",
    "2010-12-01T08:26",
    "12/1/2010 8:26",
    "31/12/2010 23:59",
    "2012-02-29 00:00",
  ])("takes the time %s", (InvoiceDate) => {
    expect(read({ InvoiceDate })).toMatchObject({ kind: "sale" });
  });

  it.each([
    ["cancellation", { InvoiceNo: "C536365", Quantity: "-6" }],
    ["cancellation", { InvoiceNo: "C536365" }],
    ["adjustment", { InvoiceNo: "A563187", UnitPrice: "-11062.06", StockCode: "B" }],
    ["adjustment", { Quantity: "-6" }],
    ["adjustment", { Quantity: "0" }],
    ["adjustment", { UnitPrice: "-0.01" }],
    ["no price", { UnitPrice: "0" }],
    ["no price", { UnitPrice: "0.000" }],
    ["fraction of a penny", { UnitPrice: "0.001" }],
  ])("skips as %s: %j", (reason, changes) => {
    expect(read(changes)).toMatchObject({ kind: "skipped", reason });
  });

  it.each([
    ["fee", { StockCode: "POST" }],
    ["fee", { StockCode: "m" }],
    ["fee", { StockCode: "BANK CHARGES" }],
    ["discount", { StockCode: "D", Quantity: "-1" }],
  ])("takes as a %s: %j", (what, changes) => {
    expect(read(changes)).toMatchObject({ kind: "sale", what });
  });

  it.each(["PADS", "DCGS0070", "gift_0001_20", "15056BL"])("sells %s", (StockCode) => {
    expect(read({ StockCode })).toMatchObject({ kind: "sale", sku: StockCode });
  });

  it.each([
    ["InvoiceNo is missing, such as 536365", { InvoiceNo: " " }],
    ["InvoiceNo", { InvoiceNo: "5".repeat(65) }],
    ["InvoiceNo", { InvoiceNo: "№ 536365" }],
    ["StockCode is missing, such as 85123A", { StockCode: "" }],
    ["StockCode", { StockCode: "8".repeat(65) }],
    ["StockCode", { StockCode: "85\u00071" }],
    ["CustomerID", { CustomerID: "1".repeat(65) }],
    ['Quantity "six" is not a whole number such as 6', { Quantity: "six" }],
    ['Quantity "1.5"', { Quantity: "1.5" }],
    ['Quantity ""', { Quantity: "" }],
    ['Quantity "1e3"', { Quantity: "1e3" }],
    ["Quantity 1000001 is above the maximum of an order line", { Quantity: "1000001" }],
    ['UnitPrice "£2.55" is not an amount such as 2.55', { UnitPrice: "£2.55" }],
    ['UnitPrice ""', { UnitPrice: "" }],
    ["is above the highest unit price, £100,000,000.00", { UnitPrice: "100000000.01" }],
    ["is above the highest unit price", { UnitPrice: "99999999999999999999" }],
    ['InvoiceDate "yesterday" is not a time such as 2010-12-01 08:26', { InvoiceDate: "yesterday" }],
    ["InvoiceDate", { InvoiceDate: "2010-02-30 08:26" }],
    ["InvoiceDate", { InvoiceDate: "2010-12-01 24:00" }],
    ["InvoiceDate", { InvoiceDate: "13/13/2010 8:26" }],
    ["InvoiceDate", { InvoiceDate: "" }],
    // Bad before it could be skipped.
    ["Quantity", { InvoiceNo: "C536365", Quantity: "?" }],
  ])("says of a bad row: %s", (fault, changes) => {
    expect(read(changes)).toEqual({ kind: "bad", line: 7, fault: expect.stringContaining(fault) });
  });

  it("counts the fields", () => {
    const reader = new RowReader(COLUMNS);
    expect(reader.read({ line: 3, fields: ["536365", "85123A"] })).toMatchObject({
      kind: "bad",
      line: 3,
      fault: expect.stringContaining("2 fields instead of 8"),
    });
    expect(reader.read({ line: 4, fields: Array.from({ length: 9 }, () => "1") })).toMatchObject({
      kind: "bad",
      fault: expect.stringContaining("9 fields instead of 8"),
    });
  });

  it("shows foreign text cut, and without what a terminal would obey", () => {
    const row = read({ Quantity: `\u001B[2J${"x".repeat(100)}` });
    expect(row).toMatchObject({ kind: "bad" });
    const fault = row.kind === "bad" ? row.fault : "";
    expect(fault).not.toContain("\u001B");
    expect(fault.length).toBeLessThan(100);
  });
});

describe("missingColumns", () => {
  it("names what the header lacks", () => {
    expect(missingColumns(COLUMNS)).toEqual([]);
    expect(missingColumns(["StockCode", "Quantity"])).toEqual(
      COLUMNS.filter((column) => !["StockCode", "Quantity"].includes(column)),
    );
  });
});
