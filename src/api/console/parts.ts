import { CANCELLED } from "../../order/lifecycle.ts";
import { LIMITS } from "../../order/limits.ts";
import { html, href, type Content, type Html } from "./html.ts";

/* Components shared by the pages. */

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => Content;
  /** Right-aligned. */
  readonly numeric?: true;
  /** Takes a full line of the card on narrow pages. */
  readonly wide?: true;
  /** Holds only a few words, so it may break between them. */
  readonly short?: true;
  /** Row header: screen readers announce it with each cell. */
  readonly heading?: true;
}

/**
 * A table that turns each row into a card on narrow pages. The explicit roles restore those that browsers drop
 * when the elements are laid out as cards.
 */
export function table<Row>(options: {
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  /** The row's element id, for live pages. */
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

/** An order's status, with a badge if it has failed, waits for somebody else or is being cancelled. */
export function statusBadge(order: {
  readonly status: string;
  readonly failedStage?: string | null;
  readonly waitingFor?: string | null;
  readonly cancelRequested?: boolean;
}): Html {
  const { status, failedStage, waitingFor, cancelRequested } = order;
  const beingCancelled = cancelRequested && status !== CANCELLED;
  return html`<span class="badge ${status === CANCELLED ? "gone" : ""}">${status}</span>${
      failedStage ? html` <span class="badge bad">failed in ${failedStage}</span>` : ""
    }${waitingFor ? html` <span class="badge long">waits for ${waitingFor}</span>` : ""}${beingCancelled ? html` <span class="badge warn">being cancelled</span>` : ""}`;
}

/** A link to an order, showing its full id. */
export function orderLink(id: string): Html {
  return html`<a class="id" href="${href(`/console/orders/${id}`)}">${id}</a>`;
}

/** Names with their values; those without a value are left out. */
export function facts(entries: Readonly<Record<string, Content>>, name: "facts" | "record" = "facts"): Html {
  return html`<dl class="${name}">
    ${Object.entries(entries).map(
      ([title, value]) =>
        value !== false &&
        html`<div>
          <dt>${title}</dt>
          <dd>${value}</dd>
        </div>`,
    )}
  </dl>`;
}

/** The form on a page that asks before something is done. */
export function confirmation(options: {
  readonly action: string;
  readonly button: string;
  readonly kind: "primary" | "danger";
  readonly back: string;
  readonly fields?: Content;
}): Html {
  const { action, button, kind, back, fields } = options;
  return html`<form method="post" action="${action}" class="stack">
    ${fields}
    <div class="actions">
      <button class="${kind}">${button}</button>
      <a class="button" href="${back}">Back</a>
    </div>
  </form>`;
}

/** The field for the reason of a cancellation. */
export function reasonField(name: string): Html {
  return html`<label class="field"
    ><span>Reason, for customer service</span
    ><input name="${name}" required maxlength="${LIMITS.reason}" autofocus autocomplete="off"
  /></label>`;
}

/** The message of an empty list. */
export function empty(text: Content): Html {
  return html`<p class="empty">${text}</p>`;
}

/** A select field. */
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

/** Links to the previous and next page. */
export function pager(previous: string | undefined, next: string | undefined): Html | undefined {
  if (previous === undefined && next === undefined) return undefined;
  return html`<nav class="pager" aria-label="Pages">
    ${previous === undefined ? "" : html`<a rel="prev" href="${previous}">← Newer</a>`}
    ${next === undefined ? "" : html`<a rel="next" href="${next}">Older →</a>`}
  </nav>`;
}
