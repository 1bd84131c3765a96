import type { StoredOrder } from "../../../order/order.ts";
import type { Shipment, ShipmentLine } from "../../../order/shipment.ts";
import { orderOf } from "../../lookup.ts";
import { route, type Route } from "../../route.ts";
import { idPath } from "../../schemas.ts";
import { PAGE, show } from "../context.ts";
import { moment, number, UNKNOWN } from "../format.ts";
import { html, type Html } from "../html.ts";
import type { Page } from "../layout.ts";
import { facts, table } from "../parts.ts";
import { find, ONE_SHIPMENT, orderPath, SHIPMENTS, type Found } from "./shipment-parts.ts";

/** What the warehouse prints. */
export const packingPages: readonly Route[] = [
  route({
    ...PAGE,
    path: `${SHIPMENTS}/picking-list`,
    names: "order",
    request: { params: idPath },
    handler: async ({ params, response }, services) => {
      const order = await orderOf(services.database, params.id);
      show(services, response, pickingList(order, await services.parcels.list(order)));
    },
  }),
  route({
    ...PAGE,
    ...ONE_SHIPMENT,
    path: `${SHIPMENTS}/:number/packing-slip`,
    handler: async ({ params, response }, services) => {
      show(services, response, packingSlip(await find(services, params)));
    },
  }),
];

/** Whether somebody in the warehouse has it yet to pack, or to hand over. */
export function isToBePacked({ state }: Shipment): boolean {
  return state === "PLANNED" || state === "BOOKED";
}

function pickingList(order: StoredOrder, known: readonly Shipment[]): Page {
  const title = `Picking list of order ${order.reference ?? order.id}`;
  const toPack = known.filter((each) => isToBePacked(each) && each.lines.length > 0);
  return {
    title,
    section: "Orders",
    body: html`<h1>${title}</h1>
      ${facts({ Id: html`<span class="id">${order.id}</span>`, Created: moment(order.createdAt) })}
      ${toPack.length === 0 && html`<p class="empty">No parcel is to be packed.</p>`}
      ${toPack.map(
        (shipment) =>
          html`<section aria-labelledby="pick-${shipment.number}">
            <h2 id="pick-${shipment.number}">
              Parcel ${shipment.number} <span class="muted">${shipment.state}</span>
            </h2>
            ${contents(order, shipment, "Picked")}
          </section>`,
      )}
      ${order.note !== null && html`<p class="multiline">Note: ${order.note}</p>`} ${backTo(order)}`,
  };
}

function packingSlip({ order, shipment }: Found): Page {
  const title = `Packing slip of order ${order.reference ?? order.id}`;
  const { shipTo } = order;
  const address = shipTo && [
    shipTo.name,
    shipTo.line1,
    shipTo.line2,
    [shipTo.postalCode, shipTo.city, shipTo.region].filter((each) => each !== undefined).join(" "),
    shipTo.country,
  ];
  return {
    title,
    section: "Orders",
    body: html`<h1>${title}</h1>
      ${facts({
        Id: html`<span class="id">${order.id}</span>`,
        Ordered: moment(order.createdAt),
        Parcel: String(shipment.number),
        Tracking: shipment.trackingNumber ?? UNKNOWN,
      })}
      ${address && html`<p class="multiline">${address.filter((each) => each !== undefined).join("\n")}</p>`}
      ${contents(order, shipment)} ${backTo(order)}`,
  };
}

/** All of a parcel's lines. @param tick the title of a column to tick off */
function contents(order: StoredOrder, { number: parcel, lines }: Shipment, tick?: string): Html {
  return table<ShipmentLine>({
    caption: `Contents of parcel ${parcel}`,
    rows: lines,
    columns: [
      { title: "SKU", heading: true, cell: ({ sku }) => sku },
      { title: "Name", wide: true, cell: ({ position }) => order.lines[position]?.name ?? UNKNOWN },
      { title: "Quantity", numeric: true, cell: ({ quantity }) => number(quantity) },
      ...(tick === undefined ? [] : [{ title: tick, cell: () => "☐" }]),
    ],
  });
}

function backTo(order: StoredOrder): Html {
  return html`<p class="unprinted"><a href="${orderPath(order)}">Back to the order</a></p>`;
}
