import { describe, expect, it } from "@jest/globals";
import * as fc from "fast-check";
import { readCsv, type CsvRecord } from "../../tools/cli/replay/csv.ts";

async function read(content: string | Buffer, chunkSize = 7): Promise<CsvRecord[]> {
  const bytes = Buffer.from(content);
  async function* chunks() {
    for (let at = 0; at < bytes.length; at += chunkSize) yield bytes.subarray(at, at + chunkSize);
  }
  const records: CsvRecord[] = [];
  for await (const record of readCsv(chunks())) records.push(record);
  return records;
}

const BROKEN = expect.stringContaining("quote is not closed");

describe("readCsv", () => {
  it("reads fields with quotes, commas and line ends in them", async () => {
    expect(await read('a,b,c\n1,"2,""x""\nand on",3\n4,5,6\n')).toEqual([
      { line: 1, fields: ["a", "b", "c"] },
      { line: 2, fields: ["1", '2,"x"\nand on', "3"] },
      { line: 4, fields: ["4", "5", "6"] },
    ]);
  });

  it("takes a byte order mark, CRLF, blank lines, and a last line without an end", async () => {
    expect(await read("\uFEFFa,b\r\n\r\n1,2\r\n   \r\n3,4")).toEqual([
      { line: 1, fields: ["a", "b"] },
      { line: 3, fields: ["1", "2"] },
      { line: 5, fields: ["3", "4"] },
    ]);
  });

  it("reads UTF-8 and Latin-1 lines side by side", async () => {
    const content = Buffer.concat([Buffer.from("a,b\n£1,é\n"), Buffer.from("£2,é\n", "latin1")]);
    expect(await read(content)).toEqual([
      { line: 1, fields: ["a", "b"] },
      { line: 2, fields: ["£1", "é"] },
      { line: 3, fields: ["£2", "é"] },
    ]);
  });

  it("loses only its own row to a quote that is never closed", async () => {
    expect(await read('a,b\n1,"2\n3,4\n5,6\n')).toEqual([
      { line: 1, fields: ["a", "b"] },
      { line: 2, fault: BROKEN },
      { line: 3, fields: ["3", "4"] },
      { line: 4, fields: ["5", "6"] },
    ]);
  });

  it("does not join two broken rows across a whole one", async () => {
    expect(await read('a,b\n1,"2\n3,4\n5",6\n7,8\n')).toEqual([
      { line: 1, fields: ["a", "b"] },
      { line: 2, fault: BROKEN },
      { line: 3, fields: ["3", "4"] },
      { line: 4, fault: BROKEN },
      { line: 5, fields: ["7", "8"] },
    ]);
  });

  it.each(['x",2', 'x"y",2', '"x"y,2', '1,"', '""x,2'])("calls the quotes in %s broken", async (row) => {
    expect(await read(`a,b\n${row}\n3,4\n`)).toEqual([
      { line: 1, fields: ["a", "b"] },
      { line: 2, fault: BROKEN },
      { line: 3, fields: ["3", "4"] },
    ]);
  });

  it("does not take a quote at the end of the file for an open one", async () => {
    expect(await read('a,b\n1,"2')).toEqual([
      { line: 1, fields: ["a", "b"] },
      { line: 2, fault: BROKEN },
    ]);
  });

  it("calls a line too long, and reads on behind it", async () => {
    expect(await read(`a,b\n${"x".repeat(200_000)},1\n3,4\n`, 50_000)).toEqual([
      { line: 1, fields: ["a", "b"] },
      { line: 2, fault: expect.stringContaining("longer than 64 KiB") },
      { line: 3, fields: ["3", "4"] },
    ]);
  });

  it("reads nothing of nothing", async () => {
    expect(await read("")).toEqual([]);
    expect(await read("\n\r\n")).toEqual([]);
  });

  it("reads back any rows, in chunks of any size, whatever is broken between them", async () => {
    const field = fc.string({ unit: fc.constantFrom("a", "1", ",", '"', "é", "£", " ", ".") });
    const row = fc.tuple(fc.stringMatching(/^[a-z]{1,5}$/), field, fc.stringMatching(/^[0-9]{1,3}$/));
    const line = fc.oneof(
      row.map(([first, middle, last]) => ({
        fields: [first, middle, last],
        text: `${first},"${middle.replaceAll('"', '""')}",${last}`,
      })),
      row.map(([first, , last]) => ({ fields: undefined, text: `${first},"never closed,${last}` })),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 12 }),
        fc.integer({ min: 1, max: 40 }),
        async (lines, size) => {
          const text = ["x,y,z", ...lines.map((one) => one.text)].join("\r\n");
          const records = await read(text, size);
          const whole = records.flatMap((record) => ("fields" in record ? [record.fields] : []));
          const expected = lines.flatMap(({ fields }) => (fields ? [fields] : []));
          // The header is read as well.
          expect(whole.slice(1)).toEqual(expected);
          expect(records).toHaveLength(lines.length + 1);
        },
      ),
    );
  });
});
