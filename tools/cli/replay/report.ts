import { counted } from "../../shared/text.ts";
import type { FileContents } from "./file.ts";
import type { Endings, MoneyReconciliation, StockReconciliation } from "./reconcile.ts";
import { SKIP_REASONS } from "./rows.ts";
import type { Ledger } from "./send.ts";
import type { Pieces } from "../stock.ts";

/** Everything that a replay found out. */
export interface ReplayReport {
  readonly path: string;
  readonly service: string;
  readonly file: FileContents;
  readonly ledger: Ledger;
  readonly endings: Endings;
  /** Orders a second by the service's clock. */
  readonly endToEnd: number | undefined;
  readonly money: MoneyReconciliation;
  readonly stock: StockReconciliation;
  /** Pieces taken out of stock again, loaded for orders that were not made. */
  readonly takenBack: Pieces;
}

/** What does not add up, or is not done: nothing when every order of the file ended and everything reconciles. */
export function complaintsOf({ file, ledger, endings, money, stock }: ReplayReport): string[] {
  const unsent = file.invoices.length - ledger.answered;
  const complaints: [number, string][] = [
    [ledger.refused.length, "refused"],
    [unsent, "not sent"],
    [endings.lost, "accepted and not found"],
    [sumOf(endings.failed), "waiting for a retry"],
    [sumOf(endings.unfinished), "unfinished"],
    [money.differences.length, "with another total than in the file"],
  ];
  return [
    ...complaints.flatMap(([count, what]) => (count > 0 ? [`${counted(count, "order")} ${what}`] : [])),
    ...(stock.differences.length > 0
      ? [`${counted(stock.differences.length, "SKU")} with another stock`]
      : []),
  ];
}

/** The report for programs: amounts in pence, and lists in full. */
export function jsonOf(report: ReplayReport): string {
  const { file, ledger, endings, money, stock, takenBack } = report;
  const complaints = complaintsOf(report);
  const document = {
    path: report.path,
    service: report.service,
    file: {
      rows: file.rows,
      sold: file.sales,
      skipped: Object.fromEntries(SKIP_REASONS.map((reason) => [reason, file.skipped.get(reason) ?? 0])),
      bad: file.bad,
      invoiceNumbers: file.invoiceNumbers,
      invoices: file.invoices.length,
      orderLines: linesOf(file),
    },
    orders: {
      accepted: ledger.accepted.size,
      alreadyThere: ledger.alreadyThere.size,
      refused: ledger.refused.map(({ invoice, why }) => ({ invoice: invoice.number, why })),
      delivered: endings.delivered,
      cancelled: Object.fromEntries(endings.cancelled),
      failed: Object.fromEntries(endings.failed),
      unfinished: Object.fromEntries(endings.unfinished),
      lost: endings.lost,
    },
    ordersPerSecond: { accepted: acceptRate(ledger), endToEnd: report.endToEnd },
    money: { currency: "GBP", ...money },
    stock: { ...stock, takenBack: Object.fromEntries(takenBack) },
    reconciles: complaints.length === 0,
    complaints,
  };
  return `${JSON.stringify(document, (_key, value: unknown) => (typeof value === "bigint" ? Number(value) : value), 2)}\n`;
}

/** Order lines after merging. */
export function linesOf({ invoices }: FileContents): number {
  return invoices.reduce((sum, { order }) => sum + order.lines.length, 0);
}

/** Orders a second that were accepted while sending; undefined of none. */
export function acceptRate(ledger: Ledger): number | undefined {
  return ledger.took > 0 && ledger.accepted.size > 0
    ? ledger.accepted.size / (ledger.took / 1000)
    : undefined;
}

/** All counts together. */
export function sumOf(numbers: ReadonlyMap<string, number>): number {
  return [...numbers.values()].reduce((sum, count) => sum + count, 0);
}
