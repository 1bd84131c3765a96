import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import { readFile, sizeOf } from "../../tools/cli/replay/file.ts";
import { renderBadRows } from "../../tools/cli/replay/render.ts";
import { COLUMNS } from "../../tools/cli/replay/rows.ts";

const HEADER = COLUMNS.join(",");
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-replay-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

function read(content: string | Buffer, signal = new AbortController().signal) {
  const file = path.join(folder, "sales.csv");
  writeFileSync(file, content);
  return readFile(file, () => {}, signal);
}

describe("reading a file", () => {
  it("sells, skips by reason, and keeps bad rows by line", async () => {
    const contents = await read(
      [
        HEADER,
        "1,A,MUG,2,2010-12-01 08:26,2.55,17850,United Kingdom",
        "2,22086,MUG,two,2010-12-01 08:26,2.55,17850,United Kingdom",
        "1,A,MUG,1,2010-12-01 08:26,2.55,17850,United Kingdom",
        "C3,A,MUG,-1,2010-12-01 08:26,2.55,17850,United Kingdom",
        "1,POST,POSTAGE,1,2010-12-01 08:26,18,17850,United Kingdom",
        "1,22086,MUG,1,2010-12-01 08:26,2.55,13047,United Kingdom",
        "",
      ].join("\n"),
    );
    expect(contents).toMatchObject({ rows: 6, sales: 3, invoiceNumbers: 2 });
    expect(contents.skipped).toEqual(new Map([["cancellation", 1]]));
    expect(contents.invoices.map(({ number, total }) => [number, total])).toEqual([["1", 2565n]]);
    expect(renderBadRows(contents)).toEqual([
      'line 3: Quantity "two" is not a whole number such as 6',
      'line 7: CustomerID "13047" differs from "17850" on earlier rows of invoice "1"',
    ]);
  });

  it("lists twenty bad rows and counts the rest", async () => {
    const contents = await read([HEADER, ...Array.from({ length: 1_025 }, () => "bad")].join("\n"));
    const lines = renderBadRows(contents);
    expect(lines).toHaveLength(21);
    expect(lines.at(-1)).toBe("and 1,005 more bad rows");
  });

  it("finds nothing to sell in a header alone", async () => {
    expect(await read(`${HEADER}\n`)).toMatchObject({ rows: 0, invoices: [] });
  });

  it.each([
    ["is empty: expected InvoiceNo,StockCode", ""],
    ["lacks the columns InvoiceNo, StockCode, Description, Quantity, InvoiceDate", "PK\u0003\u0004\u0000"],
    [
      "lacks the column CustomerID",
      "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,Country\n",
    ],
    ["lacks the columns", '"never closed\n'],
  ])("says in one line what is wrong with a file: %s", async (message, content) => {
    await expect(read(content)).rejects.toThrow(message);
    await expect(read(content)).rejects.toThrow(/^[^\n]*$/);
  });

  it("says so when there is no such file, or it is none", async () => {
    await expect(sizeOf(path.join(folder, "none.csv"))).rejects.toThrow(/^there is no file .*none\.csv$/);
    const { signal } = new AbortController();
    await expect(readFile(folder, () => {}, signal)).rejects.toThrow(/ is a directory, not a file$/);
  });

  it("stops when it is aborted", async () => {
    await expect(read(`${HEADER}\n`, AbortSignal.abort())).rejects.toMatchObject({ name: "AbortError" });
  });
});
