import { CANCELLED } from "../../order/lifecycle.ts";
import { html, href, type Content, type Html } from "./html.ts";

/* What several pages are made of. */

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => Content;
  /** Numbers stand at the right. */
  readonly numeric?: true;
  /** Has a line of a narrow page's card to itself. */
  readonly wide?: true;
  /** Has only few words, and those are ours. */
  readonly short?: true;
  /** Names the row: read out with each of its cells. */
  readonly heading?: true;
}

/**
 * A table, which on a narrow page shows a card for each row. The roles are those that its elements have by themselves,
 * and that browsers take from them when they are laid out as cards.
 */
export function table<Row>(options: {
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  /** For a live page: what names the row's element. */
  readonly id?: (row: Row) => string;
}): Html {
  const { caption, columns, rows, id } = options;
  return html`<table role="table" class="cards">
    <caption class="unseen">
      ${caption}
    </caption>
    <thead role="rowgroup">
      <tr role="row">
        ${columns.map(
          ({ title, numeric }) =>
            html`<th role="columnheader" scope="col" class="${numeric && "numeric"}">${title}</th>`,
        )}
      </tr>
    </thead>
    <tbody role="rowgroup">
      ${rows.map(
        (row) =>
          html`<tr role="row" ${id && html`id="${id(row)}"`}>
            ${columns.map((column) => cell(column, row))}
          </tr>`,
      )}
    </tbody>
  </table>`;
}

function cell<Row>({ title, cell: content, numeric, wide, short, heading }: Column<Row>, row: Row): Html {
  const inner = html`<span class="label" aria-hidden="true">${title}</span
    ><span class="value">${content(row)}</span>`;
  const name = [numeric && "numeric", wide && "wide", short && "short"].filter(Boolean).join(" ");
  return heading
    ? html`<th role="rowheader" scope="row" class="${name}">${inner}</th>`
    : html`<td role="cell" class="${name}">${inner}</td>`;
}

/** An order's status, with a word beside it when it needs a person. */
export function statusBadge(order: {
  readonly status: string;
  readonly failedStage?: string | null;
  readonly cancelRequested?: boolean;
}): Html {
  const { status, failedStage, cancelRequested } = order;
  const beingCancelled = cancelRequested && status !== CANCELLED;
  return html`<span class="badge ${status === CANCELLED ? "gone" : ""}">${status}</span>${
      failedStage ? html` <span class="badge bad">failed in ${failedStage}</span>` : ""
    }${beingCancelled ? html` <span class="badge warn">being cancelled</span>` : ""}`;
}

/** A link to an order, named by its whole id. */
export function orderLink(id: string): Html {
  return html`<a class="id" href="${href(`/console/orders/${id}`)}">${id}</a>`;
}

/** Where nothing is to be shown, says why. */
export function empty(text: Content): Html {
  return html`<p class="empty">${text}</p>`;
}

/** A choice in a form. */
export function select(options: {
  readonly name: string;
  readonly label: string;
  readonly value: string | undefined;
  readonly choices: readonly (readonly [value: string, text: string])[];
}): Html {
  const { name, label, value = "", choices } = options;
  return html`<label class="field"
    ><span>${label}</span
    ><select name="${name}">
      ${choices.map(([choice, text]) =>
        choice === value
          ? html`<option value="${choice}" selected>${text}</option>`
          : html`<option value="${choice}">${text}</option>`,
      )}
    </select></label
  >`;
}

/** Links to the pages before and after. */
export function pager(previous: string | undefined, next: string | undefined): Html | undefined {
  if (previous === undefined && next === undefined) return undefined;
  return html`<nav class="pager" aria-label="Pages">
    ${previous === undefined ? "" : html`<a rel="prev" href="${previous}">← Newer</a>`}
    ${next === undefined ? "" : html`<a rel="next" href="${next}">Older →</a>`}
  </nav>`;
}
