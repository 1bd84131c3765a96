import { counted, grouped, printable, shown } from "../../shared/text.ts";
import type { FileContents } from "./file.ts";
import { pounds } from "./money.ts";
import { acceptRate, complaintsOf, linesOf, sumOf, type ReplayReport } from "./report.ts";
import { SKIP_REASONS } from "./rows.ts";

/** How many faults, refusals and differences to list; the JSON report has all. */
const LISTED = 20;

/** Renders the report: labels on the left, numbers on the right, and the verdict last. */
export function renderReport(report: ReplayReport): string[] {
  const complaints = complaintsOf(report);
  return [
    ...aligned([
      [`${report.path} -> ${report.service}`, fileEntries(report)],
      ["Orders", orderEntries(report)],
      ["Money", moneyEntries(report)],
      ["Stock", stockEntries(report)],
    ]),
    complaints.length === 0
      ? "Everything reconciles: totals to the penny, and the stock of every SKU."
      : `Does not reconcile: ${complaints.join(", ")}.`,
  ];
}

function fileEntries({ file }: ReplayReport): Entry[] {
  return [
    ["rows", grouped(file.rows)],
    ["  sold", grouped(file.sales)],
    ...SKIP_REASONS.map((reason): Entry => [`  skipped: ${reason}`, grouped(file.skipped.get(reason) ?? 0)]),
    ["  bad", grouped(file.bad.length)],
    ["invoice numbers", grouped(file.invoiceNumbers)],
    ["  with something to sell", grouped(file.invoices.length)],
    ["order lines, same SKU and price merged", grouped(linesOf(file))],
  ];
}

function orderEntries({ ledger, endings, endToEnd }: ReplayReport): Entry[] {
  return [
    ["accepted", grouped(ledger.accepted.size)],
    ["already there from an earlier run", grouped(ledger.alreadyThere.size)],
    ["refused", grouped(ledger.refused.length)],
    ["of the orders in the service", grouped(ledger.accepted.size + ledger.alreadyThere.size)],
    ["  delivered", grouped(endings.delivered)],
    ["  cancelled", grouped(sumOf(endings.cancelled))],
    ...counts("    ", endings.cancelled),
    ["  failed, waiting for a retry", grouped(sumOf(endings.failed))],
    ...counts("    in stage ", endings.failed),
    ["  unfinished", grouped(sumOf(endings.unfinished))],
    ...counts("    ", endings.unfinished),
    ["  not found", grouped(endings.lost)],
    ["accepted per second", rate(acceptRate(ledger))],
    ["settled per second", rate(endToEnd)],
  ];
}

function moneyEntries({ money }: ReplayReport): Entry[] {
  return [
    ["in the file", pounds(money.file)],
    ["  not accepted by the service", pounds(money.notTaken)],
    ["in the service", pounds(money.service)],
    ["difference", pounds(money.file - money.notTaken - money.service)],
    ["orders with another total", grouped(money.differences.length)],
  ];
}

function stockEntries({ stock, takenBack }: ReplayReport): Entry[] {
  return [
    ["SKUs checked", grouped(stock.checked)],
    ["  different", grouped(stock.differences.length)],
    ["  not checked, orders not ended", grouped(stock.open)],
    ["unneeded stock removed again", grouped(sumOf(takenBack))],
  ];
}

/** Renders the first refusals and differences, and how many more there are. */
export function renderFaults({ ledger, money, stock }: ReplayReport): string[] {
  return [
    ...few(
      ledger.refused,
      "refused invoice",
      ({ invoice, why }) => `invoice ${shown(invoice.number)}: ${why}`,
    ),
    ...few(
      money.differences,
      "difference",
      (difference) =>
        `invoice ${shown(difference.invoice)}: ${pounds(difference.file)} in the file, ${pounds(difference.service)} in the service`,
    ),
    ...few(
      stock.differences,
      "difference",
      ({ sku, expected, found }) =>
        `SKU ${shown(sku)}: ${level(found)}, expected ${level(expected)}; did something else change it meanwhile?`,
    ),
  ];
}

/** Renders the first bad rows: `line 7: what is wrong, and what would be right`. */
export function renderBadRows(file: Pick<FileContents, "bad">): string[] {
  return few(file.bad, "bad row", ({ line, fault }) => `line ${line}: ${fault}`);
}

type Entry = readonly [label: string, value: string];

/** Lays out all sections in the same two columns. */
function aligned(sections: readonly (readonly [title: string, entries: readonly Entry[]])[]): string[] {
  const all = sections.flatMap(([, entries]) => entries);
  const labels = Math.max(...all.map(([label]) => label.length));
  const values = Math.max(...all.map(([, value]) => value.length));
  return sections.flatMap(([title, entries]) => [
    title,
    ...entries.map(([label, value]) => `  ${label.padEnd(labels)}  ${value.padStart(values)}`),
    "",
  ]);
}

function counts(indent: string, numbers: ReadonlyMap<string, number>): Entry[] {
  return [...numbers]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, LISTED)
    .map(([what, count]) => [`${indent}${printable(what)}`, grouped(count)]);
}

function few<T>(items: readonly T[], what: string, lineOf: (item: T) => string): string[] {
  const lines = items.slice(0, LISTED).map(lineOf);
  return items.length > LISTED ? [...lines, `and ${counted(items.length - LISTED, `more ${what}`)}`] : lines;
}

function level({ onHand, reserved }: { onHand: number; reserved: number }): string {
  return `${grouped(onHand)} on hand, ${grouped(reserved)} reserved`;
}

function rate(perSecond: number | undefined): string {
  return perSecond === undefined ? "-" : perSecond.toLocaleString("en-GB", { maximumFractionDigits: 1 });
}
