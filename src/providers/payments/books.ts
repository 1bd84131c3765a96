import type { Database } from "../../../db/database.ts";
import {
  changePayment,
  listPayments,
  openNextPayment,
  openPayments,
  recordDispute,
  rememberPayments,
} from "../../../db/payments.ts";
import type { OpenedPayment, Remembered } from "../../../db/payments.ts";
import { changeRefund, listRefunds, openRefund, sumOf } from "../../../db/refunds.ts";
import { grouped, type Commit } from "../../platform/group-commit.ts";
import type { Dispute, Payment } from "../../order/payment.ts";

/** The payments and refunds in MySQL, as the desk writes them. What every order needs shares transactions. */
export type Books = ReturnType<typeof booksOf>;

/** @param commit group commit. */
export function booksOf(database: Database, commit: Commit = grouped) {
  const opened = commit<Payment, OpenedPayment>({
    name: "payments",
    flush: (wanted) => openPayments(database, wanted),
  });
  const remembered = commit<Remembered, Payment | undefined>({
    name: "payment_ids",
    flush: (given) => rememberPayments(database, given),
  });
  return {
    open: (wanted: Payment) => opened.submit(wanted),
    remember: (given: Remembered) => remembered.submit(given),
    last: async (orderId: string) => (await listPayments(database, [orderId])).at(-1),
    change: (...change: Parameters<typeof changePayment> extends [Database, ...infer Rest] ? Rest : never) =>
      changePayment(database, ...change),
    openNext: (last: Payment, next: Payment) => openNextPayment(database, last, next),
    disputed: (payment: Payment, dispute: Dispute) => recordDispute(database, payment, dispute),
    /** How much less is to be captured. Minor units. */
    uncaptured: async (orderId: string) =>
      sumOf((await listRefunds(database, [orderId])).filter(({ cause }) => cause === "uncaptured")),
    openRefund: (wanted: Parameters<typeof openRefund>[1]) => openRefund(database, wanted),
    changeRefund: (
      ...change: Parameters<typeof changeRefund> extends [Database, ...infer Rest] ? Rest : never
    ) => changeRefund(database, ...change),
  };
}
