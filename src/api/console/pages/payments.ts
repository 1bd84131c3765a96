import { z } from "zod";
import { listPayments } from "../../../../db/payments.ts";
import { listRefunds, sumOf } from "../../../../db/refunds.ts";
import { LIMITS } from "../../../order/limits.ts";
import { minorUnitsOf, moneyText } from "../../../order/money.ts";
import { quantitiesBySku, type StoredOrder } from "../../../order/order.ts";
import {
  chargedBack,
  type Payment,
  type PaymentState,
  type Refund,
  type RefundState,
} from "../../../order/payment.ts";
import { sumOfWorth } from "../../../order/refund.ts";
import { actorOf } from "../../auth.ts";
import { orderOf } from "../../lookup.ts";
import { refundRequest } from "../../payment-schemas.ts";
import { Problem } from "../../problem.ts";
import { requestRefund } from "../../refunds.ts";
import { route, type Route } from "../../route.ts";
import { idPath } from "../../schemas.ts";
import type { Services } from "../../services.ts";
import { parseForm } from "../../validate.ts";
import { FORM, PAGE, show } from "../context.ts";
import { digestedKeyOf, formField, TextForm, type Values } from "../forms.ts";
import { moment } from "../format.ts";
import { html, type Content, type Html } from "../html.ts";
import { ROOT, type Page } from "../layout.ts";
import { confirmation, facts, table } from "../parts.ts";

const PATH = `${ROOT}/orders/:id/refund`;
/** Products that the form offers to take back; more are refunded by amount, or with the API. */
const MOST_PRODUCTS = 50;

/** The form that pays money back. */
export const refundForms: readonly Route[] = [
  route({
    ...PAGE,
    path: PATH,
    names: "order",
    request: { params: idPath },
    handler: async ({ params: { id }, response }, services) => {
      const order = await orderOf(services.database, id);
      show(services, response, refundPage(order, await ledgerOf(services, order)));
    },
  }),
  route({
    ...FORM,
    path: PATH,
    names: "order",
    request: { params: idPath, form: z.looseObject({}) },
    handler: async ({ params: { id }, form: sent, response }, services) => {
      const order = await orderOf(services.database, id);
      const form = formOf(order);
      const { values, form: rendering } = form.schema.parse(sent);
      const ledger = await ledgerOf(services, order);
      const restock = sent["restock"] === "yes";
      const all = sent["all"] === "yes";
      await form.submit(services, response, {
        act: async () => {
          const body = parseForm(refundRequest, { body: wishOf(order, values, { restock, all }) });
          const key = digestedKeyOf({ form: rendering }, actorOf(response));
          await requestRefund(services, order, body, { response, key });
          return pathOf(order);
        },
        again: (faults) => refundPage(order, ledger, { values, restock, all, faults }),
      });
    },
  }),
];

/** What was paid, and paid back. */
export interface OrderLedger {
  readonly payments: readonly Payment[];
  readonly refunds: readonly Refund[];
}

/** @throws {StorageError} */
export async function ledgerOf(
  { database }: Pick<Services, "database">,
  { id }: Pick<StoredOrder, "id">,
): Promise<OrderLedger> {
  const [payments, refunds] = await Promise.all([listPayments(database, [id]), listRefunds(database, [id])]);
  return { payments, refunds };
}

/** An order's payments and refunds, with their provider's ids; undefined if there are none. */
export function paymentsOf(order: StoredOrder, ledger: OrderLedger): Html | undefined {
  if (ledger.payments.length === 0) return undefined;
  return html`<section aria-labelledby="payments">
    <h2 id="payments">Payments</h2>
    ${table<Payment>({
      caption: "Payments",
      rows: ledger.payments,
      columns: [
        { title: "State", heading: true, cell: stateBadge },
        { title: "Amount", numeric: true, cell: ({ amount, currency }) => moneyText(amount, currency) },
        {
          title: "Taken",
          numeric: true,
          cell: ({ state, captured, currency }) => moneyText(state === "CAPTURED" ? captured : 0, currency),
        },
        { title: "Provider's id", wide: true, cell: providersId },
        { title: "Remarks", wide: true, cell: remarks },
      ],
    })}
    ${
      isRefundable(ledger) &&
      html`<div class="actions">
        <a class="button" id="refund" href="${pathOf(order)}/refund">Refund…</a>
      </div>`
    }
    ${ledger.refunds.length > 0 && refundsTable(ledger.refunds)}
  </section>`;
}

function refundsTable(refunds: readonly Refund[]): Html {
  return html`<h3 id="refunds">Refunds</h3>
    ${table<Refund>({
      caption: "Refunds",
      rows: refunds,
      columns: [
        { title: "State", heading: true, cell: stateBadge },
        { title: "Amount", numeric: true, cell: ({ amount, currency }) => moneyText(amount, currency) },
        {
          title: "Reason",
          wide: true,
          cell: ({ reason, actor }) => html`${reason}${actor !== null && html`, by ${actor}`}`,
        },
        { title: "Provider's id", wide: true, cell: providersId },
        { title: "Remarks", wide: true, cell: refundRemarks },
      ],
    })}`;
}

/** What went wrong stands out. */
function stateBadge({ state }: { readonly state: PaymentState | RefundState }): Html {
  const isBad = state === "FAILED" || state === "DECLINED" || state === "EXPIRED";
  return html`<span class="badge ${isBad && "bad"}">${state}</span>`;
}

function providersId({ providerId }: Pick<Payment, "providerId">): Content {
  return providerId === null ? "none yet" : html`<span class="id">${providerId}</span>`;
}

function remarks(payment: Payment): Content {
  const { state, provider, reason, expiresAt, dispute, disputed, captured, currency } = payment;
  const all: Content[] = [
    `at ${provider}`,
    ...(reason === null ? [] : [html`; ${reason}`]),
    ...(state === "AUTHORIZED" && expiresAt ? [html`; runs out ${moment(expiresAt)}`] : []),
    ...(dispute === null
      ? []
      : [html`; <b>dispute ${dispute}</b> of ${moneyText(disputed ?? captured, currency)}`]),
  ];
  return html`${all}`;
}

function refundRemarks({ cause, lines, restock, failure, updatedAt, amount, currency }: Refund): Content {
  const worth = sumOfWorth(lines ?? []);
  const pieces = [...quantitiesBySku(lines ?? [])]
    .map(([sku, quantity]) => `${quantity} × ${sku}`)
    .join(", ");
  const all: Content[] = [
    moment(updatedAt),
    ...(cause === "uncaptured" ? ["; before the money was taken"] : []),
    ...(pieces === "" ? [] : [`; ${pieces}`]),
    ...(worth > amount ? [`, worth ${moneyText(worth, currency)}: no more was left`] : []),
    ...(restock === "no" ? [] : [restock === "done" ? ", back in stock" : ", to go back into stock"]),
    ...(failure === null ? [] : [html`; <b>${failure}</b>`]),
  ];
  return html`${all}`;
}

function isRefundable(ledger: OrderLedger): boolean {
  const { state } = ledger.payments.at(-1) ?? {};
  return (state === "CAPTURED" || state === "AUTHORIZED") && leftOf(ledger) > 0;
}

/** How much may still be refunded, in minor units. */
function leftOf({ payments: all, refunds }: OrderLedger): number {
  const last = all.at(-1);
  const isCaptured = last?.state === "CAPTURED";
  const own = refunds.filter(({ cause }) => (cause === "uncaptured") !== isCaptured);
  // What the customer's bank has taken back is not refunded as well.
  return (isCaptured ? last.captured - chargedBack(last) : (last?.amount ?? 0)) - sumOf(own);
}

function pathOf({ id }: Pick<StoredOrder, "id">): string {
  return `${ROOT}/orders/${id}`;
}

function productsOf({ lines }: StoredOrder): readonly (readonly [sku: string, ordered: number])[] {
  return [...quantitiesBySku(lines)].slice(0, MOST_PRODUCTS);
}

function formOf(order: StoredOrder): TextForm {
  return new TextForm({
    reason: { label: "Reason, for customer service", most: LIMITS.reason },
    amount: { label: `Amount in ${order.currency} (optional)`, most: 20, isOptional: true },
    ...Object.fromEntries(
      productsOf(order).map(([sku, ordered], index) => [
        `pieces${index}`,
        { label: `Pieces of ${sku}, of ${ordered} (optional)`, isOptional: true },
      ]),
    ),
  });
}

/** What the form asks for, as the API takes it. @throws {Problem} 422 for an amount that is none, or unless it asks for one thing */
function wishOf(
  order: StoredOrder,
  values: Values,
  { restock, all }: { readonly restock: boolean; readonly all: boolean },
): object {
  const { reason, amount: text } = values;
  const amount = text === undefined ? undefined : minorUnitsOf(text, order.currency);
  if (text !== undefined && amount === undefined)
    throw new Problem(422, "invalid-input", {
      errors: [{ path: "amount", message: `must be like ${moneyText(1_000, order.currency).slice(4)}` }],
    });
  const lines = productsOf(order).flatMap(([sku], index) => {
    const pieces = values[`pieces${index}`];
    return pieces === undefined || pieces === "0" ? [] : [{ sku, quantity: Number(pieces) }];
  });
  if (all === (amount !== undefined || lines.length > 0))
    throw new Problem(422, "invalid-input", {
      errors: [
        {
          path: "amount",
          message: all
            ? "must be empty, and the pieces too, where everything that is left is refunded"
            : "is missing: give an amount, or pieces, or choose everything that is left",
        },
      ],
    });
  return {
    reason,
    ...(amount !== undefined && { amount }),
    ...(lines.length > 0 && { lines }),
    ...(restock && { restock }),
  };
}

function refundPage(
  order: StoredOrder,
  ledger: OrderLedger,
  given: {
    readonly values?: Values;
    readonly restock?: boolean;
    readonly all?: boolean;
    readonly faults?: Html;
  } = {},
): Page {
  const { values = {}, restock = false, all = false, faults } = given;
  const title = `Refund order ${order.reference ?? order.id}`;
  return {
    title,
    section: "Orders",
    body: html`<h1>${title}</h1>
      ${facts({
        Id: html`<span class="id">${order.id}</span>`,
        Customer: order.customerId,
        Status: order.status,
        "Left to refund": moneyText(leftOf(ledger), order.currency),
      })}
      <p>
        Give an amount, or the pieces that come back: they are worth their price, with their share of the
        order's discounts and taxes. Or choose everything that is left.
      </p>
      <p>
        Pieces that are in no parcel yet are not shipped. Those that do not go back into stock are written
        off. A refund by amount stops no parcel: to stop the order, cancel it.
      </p>
      ${faults}
      ${confirmation({
        action: `${pathOf(order)}/refund`,
        fields: html`${formField()} ${formOf(order).inputs(values)}
        ${checkbox("all", "Everything that is left", all)}
        ${checkbox("restock", "The pieces go back into stock", restock)}`,
        button: "Refund",
        kind: "danger",
        back: pathOf(order),
      })}`,
  };
}

function checkbox(name: string, label: string, isChecked: boolean): Html {
  const input = isChecked
    ? html`<input type="checkbox" name="${name}" value="yes" checked />`
    : html`<input type="checkbox" name="${name}" value="yes" />`;
  return html`<p>
    <label>${input} ${label}</label>
  </p>`;
}
