import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { errorCode, Failure } from "../../shared/failure.ts";
import { readCsv } from "./csv.ts";
import { InvoiceBook, type Invoice } from "./invoices.ts";
import { COLUMNS, missingColumns, RowReader, type BadRow, type SkipReason } from "./rows.ts";

/** The contents of a file in the "Online Retail" format. */
export interface FileContents {
  /** Rows below the header, without blank lines. */
  readonly rows: number;
  /** Distinct invoice numbers, including those without a sale. */
  readonly invoiceNumbers: number;
  readonly skipped: ReadonlyMap<SkipReason, number>;
  readonly bad: readonly BadRow[];
  /** Rows that are sales. */
  readonly sales: number;
  readonly invoices: readonly Invoice[];
}

/**
 * Reads the whole file; bad rows don't stop it.
 * @param onBytes called with the number of bytes read so far.
 * @throws {Failure} if the file can't be read or its header lacks a column.
 */
export async function readFile(
  path: string,
  onBytes: (done: number) => void,
  signal: AbortSignal,
): Promise<FileContents> {
  const stream = createReadStream(path, { signal });
  let rows: RowReader | undefined;
  const book = new InvoiceBook();
  const numbers = new Set<string>();
  const skipped = new Map<SkipReason, number>();
  const bad: BadRow[] = [];
  let count = 0;
  let sales = 0;
  try {
    for await (const record of readCsv(stream)) {
      if (!rows) {
        rows = new RowReader(checkedHeader(path, "fields" in record ? record.fields : []));
        continue;
      }
      count += 1;
      if (count % 1_000 === 0) onBytes(stream.bytesRead);
      const row = rows.read(record);
      if (row.kind !== "bad") numbers.add(row.invoice);
      if (row.kind === "bad") bad.push({ line: row.line, fault: row.fault });
      else if (row.kind === "skipped") skipped.set(row.reason, (skipped.get(row.reason) ?? 0) + 1);
      else {
        const fault = book.add(row);
        if (fault) bad.push(fault);
        else sales += 1;
      }
    }
  } catch (error) {
    signal.throwIfAborted();
    throw unreadable(path, error);
  }
  if (!rows) throw new Failure(`${path} is empty: expected ${COLUMNS.join(",")} in its first line`);
  return { rows: count, invoiceNumbers: numbers.size, skipped, bad, sales, invoices: book.close() };
}

/** A file's size in bytes. @throws {Failure} if there is no such file. */
export async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    throw unreadable(path, error);
  }
}

function checkedHeader(path: string, header: readonly string[]): readonly string[] {
  const missing = missingColumns(header);
  if (missing.length === 0) return header;
  throw new Failure(
    `the first line of ${path} lacks the column${missing.length > 1 ? "s" : ""} ${missing.join(", ")}: expected ${COLUMNS.join(",")}`,
  );
}

/** Turns a file system error into a Failure; returns other errors unchanged. */
function unreadable(path: string, error: unknown): unknown {
  const code = errorCode(error);
  switch (code) {
    case undefined:
      return error;
    case "ENOENT":
    case "ENOTDIR":
      return new Failure(`there is no file ${path}`);
    case "EISDIR":
      return new Failure(`${path} is a directory, not a file`);
    case "EACCES":
    case "EPERM":
      return new Failure(`no permission to read ${path}`);
    default:
      return new Failure(`${path} can't be read (${code})`);
  }
}
