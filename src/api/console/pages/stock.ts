import { z } from "zod";
import { listMovements, type StockMovement } from "../../../../db/stock-movements.ts";
import { findStock, listStock, type StockLevel } from "../../../../db/stock.ts";
import { LIMITS } from "../../../order/limits.ts";
import { actorOf } from "../../auth.ts";
import { Problem } from "../../problem.ts";
import { noSuch, route, type Route } from "../../route.ts";
import { sku as skuSchema, stockAdjustment } from "../../schemas.ts";
import type { Services } from "../../services.ts";
import { adjustLevel } from "../../stock-changes.ts";
import { parseForm } from "../../validate.ts";
import { FORM, PAGE, show } from "../context.ts";
import { digestedKeyOf, formField, TextForm, type Values } from "../forms.ts";
import { moment, number, UNKNOWN } from "../format.ts";
import { html, href, type Content, type Html } from "../html.ts";
import { ROOT, type Page } from "../layout.ts";
import { empty, facts, orderLink, pager, table, type Column } from "../parts.ts";

const PATH = `${ROOT}/stock`;
const PAGE_SIZE = 50;

const querySchema = z.object({
  // In the query, since proxies take a slash in a path apart.
  sku: z.string().trim().max(LIMITS.identifier).optional(),
  after: z.string().max(LIMITS.identifier).optional(),
  before: z.coerce.number().int().positive().optional(),
});

const ADJUSTMENT = new TextForm({
  sku: { label: "SKU", most: LIMITS.identifier },
  delta: { label: "Pieces, negative to take away" },
  reason: { label: "Reason", most: LIMITS.reason },
  reference: {
    label: "Reference, such as a delivery note (optional)",
    most: LIMITS.identifier,
    isOptional: true,
  },
});

const skuOnly = z.object({ sku: skuSchema });

/** Stock levels, what changed them, and the form that adjusts them. */
export const stockPages: readonly Route[] = [
  route({
    ...PAGE,
    path: PATH,
    request: { query: querySchema },
    handler: async ({ query: { sku, after, before }, response }, services) => {
      const page = sku ? await skuPage(services, sku, before) : await listPage(services, after);
      show(services, response, page);
    },
  }),
  route({
    ...FORM,
    path: PATH,
    request: { form: ADJUSTMENT.schema },
    handler: async ({ form: { values, form }, response }, services) => {
      await ADJUSTMENT.submit(services, response, {
        act: async () => {
          const { sku: given, ...others } = values;
          const { sku } = parseForm(skuOnly, { body: { sku: given } });
          const adjustment = parseForm(stockAdjustment, {
            body: { ...others, delta: wholeNumber(others["delta"]) },
          });
          const actor = actorOf(response);
          await adjustLevel(services, sku, adjustment, { actor, key: digestedKeyOf({ form }, actor) });
          return href(PATH, { sku });
        },
        again: (faults) => ({
          title: "Adjust stock",
          section: "Stock",
          body: html`<h1>Adjust stock</h1>
            ${faults} ${adjustmentForm(values)}`,
        }),
      });
    },
  }),
];

/** @throws {Problem} 422 for other text. */
function wholeNumber(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[+-]?\d{1,15}$/.test(text)) return Number(text);
  throw new Problem(422, "invalid-input", { errors: [{ path: "delta", message: "must be a whole number" }] });
}

const LEVEL: readonly Column<StockLevel>[] = [
  { title: "SKU", heading: true, cell: ({ sku }) => html`<a href="${href(PATH, { sku })}">${sku}</a>` },
  { title: "On hand", numeric: true, cell: ({ onHand }) => number(onHand) },
  { title: "Reserved", numeric: true, cell: ({ reserved }) => number(reserved) },
  { title: "Available", numeric: true, cell: ({ onHand, reserved }) => number(onHand - reserved) },
];

async function listPage({ reads }: Services, after: string | undefined): Promise<Page> {
  const { items, next } = await listStock(reads, { limit: PAGE_SIZE, after });
  return {
    title: "Stock",
    section: "Stock",
    body: html`<h1>Stock</h1>
      <form method="get" action="${PATH}" role="search" class="search">
        <input type="search" name="sku" aria-label="SKU" placeholder="SKU" maxlength="${LIMITS.identifier}" />
        <button>Show</button>
      </form>
      ${
        items.length === 0
          ? empty(after === undefined ? "There is no stock yet." : "There are no more SKUs.")
          : table({ caption: "Stock levels, by SKU", rows: items, columns: LEVEL })
      }
      ${next !== null && html`<nav class="pager" aria-label="Pages"><a rel="next" href="${href(PATH, { after: next })}">More →</a></nav>`}
      ${adjustmentSection({})}`,
  };
}

async function skuPage(
  { database, reads }: Services,
  sku: string,
  before: number | undefined,
): Promise<Page> {
  const [level] = await findStock(database, [sku]);
  if (level === undefined) throw noSuch("SKU", sku);
  const { items, older } = await listMovements(reads, sku, { limit: PAGE_SIZE, before });
  const { onHand, reserved } = level;
  return {
    title: `Stock of ${level.sku}`,
    section: "Stock",
    body: html`<p><a href="${PATH}">All stock</a></p>
      <h1>${level.sku}</h1>
      ${facts({ "On hand": number(onHand), Reserved: number(reserved), Available: number(onHand - reserved) })}
      ${adjustmentSection({ sku: level.sku })}
      <h2>Movements</h2>
      ${movements(items)}
      ${pager(
        before === undefined ? undefined : href(PATH, { sku }),
        older === null ? undefined : href(PATH, { sku, before: older }),
      )}`,
  };
}

const KINDS = { adjustment: "adjusted", count: "set", shipment: "shipped", return: "came back" } as const;

function movements(items: readonly StockMovement[]): Html {
  if (items.length === 0) return empty("No movements.");
  return table({
    caption: "Movements, newest first",
    rows: items,
    columns: [
      { title: "When", heading: true, wide: true, cell: ({ at }) => moment(at) },
      { title: "What", short: true, cell: ({ kind }) => KINDS[kind] },
      { title: "Pieces", numeric: true, cell: ({ delta }) => `${delta > 0 ? "+" : ""}${number(delta)}` },
      { title: "Who", wide: true, cell: whoMoved },
      { title: "Reason", wide: true, cell: ({ reason }) => reason ?? UNKNOWN },
      { title: "Reference", wide: true, cell: ({ reference }) => reference ?? UNKNOWN },
    ],
  });
}

function whoMoved({ actor, orderId }: StockMovement): Content {
  return orderId === null ? (actor ?? UNKNOWN) : html`order ${orderLink(orderId)}`;
}

function adjustmentSection(values: Values): Html {
  return html`<section class="paper" aria-labelledby="adjust">
    <h2 id="adjust">Adjust stock</h2>
    ${adjustmentForm(values)}
  </section>`;
}

function adjustmentForm(values: Values): Html {
  return html`<form method="post" action="${PATH}" class="stack">
    ${formField()} ${ADJUSTMENT.inputs(values)}
    <div><button class="primary">Adjust stock</button></div>
  </form>`;
}
