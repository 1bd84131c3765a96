import { validate as isUuid } from "uuid";
import { z } from "zod";
import type { Database } from "../../../../db/database.ts";
import { listRows, type OrderFilter, type OrderRow, type OrderRows } from "../../../../db/order-list.ts";
import { parseDuration } from "../../../platform/duration.ts";
import { route, type Route } from "../../route.ts";
import { LIMITS } from "../../../order/limits.ts";
import { lifecycle } from "../../../order/lifecycle.ts";
import { leadTo, PAGE, show } from "../context.ts";
import { moneyText } from "../../../order/money.ts";
import { ago } from "../format.ts";
import { html, href, type Html } from "../html.ts";
import { ROOT } from "../layout.ts";
import { empty, orderLink, pager, select, statusBadge, table } from "../parts.ts";
import { nowMs } from "../../../platform/clock.ts";

const PAGE_SIZE = 50;
const PATH = `${ROOT}/orders`;

const AGES = [
  ["", "any age"],
  ["<5m", "the last 5 minutes"],
  ["<1h", "the last hour"],
  ["<24h", "the last 24 hours"],
  ["<7d", "the last 7 days"],
  [">5m", "older than 5 minutes"],
  [">1h", "older than an hour"],
  [">24h", "older than 24 hours"],
  [">7d", "older than 7 days"],
] as const;

const term = z.string().trim().max(LIMITS.identifier);
const place = z.string().max(36);

/** The query parameters. Forms send empty fields as empty strings. */
const querySchema = z
  .object({
    q: term,
    customer: term,
    reference: term,
    status: z.lazy(() => z.enum(["", ...lifecycle.statuses])),
    failed: z.lazy(() => z.enum(["", "yes", "no", ...lifecycle.steps.map(({ name }) => `in ${name}`)])),
    waiting: z.lazy(() => z.enum(["", "yes", "no", ...lifecycle.stages.map(({ name }) => `in ${name}`)])),
    age: z.enum(AGES.map(([value]) => value)),
    before: place,
    after: place,
  })
  .partial();

type Query = z.output<typeof querySchema>;

/** The list of orders, newest first, with search and filters. */
export const orderListPage: readonly Route[] = [
  route({
    ...PAGE,
    path: PATH,
    request: { query: querySchema },
    handler: async ({ query, response }, services) => {
      const { reads } = services;
      const { q } = query;
      const found = q ? await search(reads, q) : undefined;
      if (found !== undefined) {
        leadTo(response, found);
        return;
      }
      const rows = q
        ? { rows: [], older: null, newer: null }
        : await listRows(reads, filterOf(query), placeOf(query));
      show(services, response, {
        title: q ? `Search for ${q}` : "Orders",
        section: "Orders",
        body: body(query, rows),
      });
    },
  }),
];

/** The page for an id, a reference or a customer; undefined if the text matches none. */
async function search(database: Database, text: string): Promise<string | undefined> {
  if (isUuid(text)) return `${PATH}/${text.toLowerCase()}`;
  const exists = async (filter: OrderFilter) =>
    (await listRows(database, filter, { limit: 1 })).rows.length > 0;
  if (await exists({ reference: text })) return href(PATH, { reference: text });
  if (await exists({ customerId: text })) return href(PATH, { customer: text });
  return undefined;
}

function filterOf({ customer, reference, status, failed, waiting, age }: Query): OrderFilter {
  const [sign, ...rest] = age ?? "";
  const time = age ? new Date(nowMs() - (parseDuration(rest.join("")) ?? 0)) : undefined;
  return {
    customerId: customer || undefined,
    reference: reference || undefined,
    status: status || undefined,
    failed: failed ? failed !== "no" : undefined,
    failedStage: stageIn(failed),
    waiting: waiting ? waiting !== "no" : undefined,
    waitingStage: stageIn(waiting),
    since: sign === "<" ? time : undefined,
    until: sign === ">" ? time : undefined,
  };
}

function stageIn(choice: string | undefined): string | undefined {
  return choice?.startsWith("in ") ? choice.slice("in ".length) : undefined;
}

function placeOf({ before, after }: Query) {
  const idOf = (text: string | undefined) => (text && isUuid(text) ? text.toLowerCase() : undefined);
  return { limit: PAGE_SIZE, before: idOf(before), after: idOf(after) };
}

function body(query: Query, { rows, older, newer }: OrderRows): Html {
  const { before: _before, after: _after, ...filter } = query;
  const filtered = Object.values(filter).some((value) => value !== undefined && value !== "");
  return html`<h1>Orders</h1>
    <form class="search" role="search" action="${PATH}">
      <label class="unseen" for="q">Search by order id, reference or customer</label>
      <input
        id="q"
        name="q"
        type="search"
        value="${query.q}"
        placeholder="Order id, reference or customer"
        maxlength="${LIMITS.identifier}"
      />
      <button>Search</button>
    </form>
    ${query.q ? html`<p class="empty">No order or customer matches “${query.q}”.</p>` : filters(query)}
    ${
      !query.q &&
      (rows.length > 0
        ? orderTable(rows)
        : empty(
            older === null
              ? filtered
                ? "No orders match."
                : "There are no orders yet."
              : "No matches so far: continue with older orders.",
          ))
    }
    ${pager(newer === null ? undefined : href(PATH, { ...filter, after: newer }), older === null ? undefined : href(PATH, { ...filter, before: older }))}`;
}

function filters(query: Query): Html {
  const { statuses, stages, steps } = lifecycle;
  return html`<form class="filters" action="${PATH}" aria-label="Filter">
    ${select({
      name: "status",
      label: "Status",
      value: query.status,
      choices: [["", "any"], ...statuses.map((status) => [status, status] as const)],
    })}
    ${select({
      name: "failed",
      label: "Failed",
      value: query.failed,
      choices: [
        ["", "any"],
        ["yes", "in any stage"],
        ...steps.map(({ name }) => [`in ${name}`, `in ${name}`] as const),
        ["no", "not failed"],
      ],
    })}
    ${select({
      name: "waiting",
      label: "Waiting",
      value: query.waiting,
      choices: [
        ["", "any"],
        ["yes", "in any stage"],
        ...stages.map(({ name }) => [`in ${name}`, `in ${name}`] as const),
        ["no", "not waiting"],
      ],
    })}
    ${select({ name: "age", label: "Created", value: query.age, choices: AGES })}
    <label class="field"
      ><span>Customer</span><input name="customer" value="${query.customer}" maxlength="${LIMITS.identifier}"
    /></label>
    <label class="field"
      ><span>Reference</span
      ><input name="reference" value="${query.reference}" maxlength="${LIMITS.identifier}"
    /></label>
    <button>Filter</button>
    <a href="${PATH}">Clear</a>
  </form>`;
}

function orderTable(rows: readonly OrderRow[]): Html {
  return table({
    caption: "Orders, newest first",
    rows,
    columns: [
      { title: "Order", heading: true, cell: ({ id }) => orderLink(id) },
      {
        title: "Status",
        wide: true,
        short: true,
        cell: ({ status, failedStage, waitingFor, cancelRequestedAt }) =>
          statusBadge({ status, failedStage, waitingFor, cancelRequested: cancelRequestedAt !== null }),
      },
      {
        title: "Customer",
        wide: true,
        cell: ({ customerId }) => html`<a href="${href(PATH, { customer: customerId })}">${customerId}</a>`,
      },
      {
        title: "Reference",
        wide: true,
        cell: ({ reference }) => reference ?? html`<span class="muted">–</span>`,
      },
      { title: "Total", numeric: true, cell: ({ total, currency }) => moneyText(total, currency) },
      { title: "Created", numeric: true, cell: ({ createdAt }) => ago(createdAt) },
      { title: "Updated", numeric: true, cell: ({ updatedAt }) => ago(updatedAt) },
    ],
  });
}
