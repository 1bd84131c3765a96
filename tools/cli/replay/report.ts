import { counted } from "../../shared/text.ts";
import type { FileContents } from "./file.ts";
import type { Endings, MoneyReconciliation, StockReconciliation } from "./reconcile.ts";
import { SKIP_REASONS } from "./rows.ts";
import type { Ledger } from "./send.ts";
import type { Quantities } from "../stock.ts";

/** The results of a replay. */
export interface ReplayReport {
  readonly path: string;
  readonly service: string;
  readonly file: FileContents;
  readonly ledger: Ledger;
  readonly endings: Endings;
  /** Orders per second by the service's clock. */
  readonly endToEnd: number | undefined;
  readonly money: MoneyReconciliation;
  readonly stock: StockReconciliation;
  /** Stock removed again because it was loaded for orders that were not placed. */
  readonly takenBack: Quantities;
}

/** What failed to reconcile or is unfinished; empty if every order ended and everything reconciles. */
export function complaintsOf({ file, ledger, endings, money, stock }: ReplayReport): string[] {
  const unsent = file.invoices.length - ledger.answered;
  const complaints: [number, string][] = [
    [ledger.refused.length, "refused"],
    [unsent, "not sent"],
    [endings.lost, "accepted but not found"],
    [sumOf(endings.failed), "waiting for a retry"],
    [sumOf(endings.unfinished), "unfinished"],
    [money.differences.length, "whose total differs from the file's"],
  ];
  return [
    ...complaints.flatMap(([count, what]) => (count > 0 ? [`${counted(count, "order")} ${what}`] : [])),
    ...(stock.differences.length > 0
      ? [`${counted(stock.differences.length, "SKU")} with unexpected stock`]
      : []),
  ];
}

/** The report as JSON: amounts in pence, lists in full. */
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

/** Orders accepted per second while sending; undefined if there are none. */
export function acceptRate(ledger: Ledger): number | undefined {
  return ledger.took > 0 && ledger.accepted.size > 0
    ? ledger.accepted.size / (ledger.took / 1000)
    : undefined;
}

/** The sum of all counts. */
export function sumOf(numbers: ReadonlyMap<string, number>): number {
  return [...numbers.values()].reduce((sum, count) => sum + count, 0);
}
