import { moneyText } from "../../../order/money.ts";
import type { StoredOrder } from "../../../order/order.ts";
import { unplanned } from "../../../order/pieces.ts";
import {
  fulfilmentOf,
  isBookingRefused,
  mayBeBooked,
  mayBeClosed,
  mayBeVoided,
  type Shipment,
  type ShipmentLine,
} from "../../../order/shipment.ts";
import { actorOf } from "../../auth.ts";
import { route, type Route } from "../../route.ts";
import type { Services } from "../../services.ts";
import { refusing } from "../../shipments.ts";
import { FORM, leadTo } from "../context.ts";
import { moment, number, UNKNOWN } from "../format.ts";
import { html, type Content, type Html } from "../html.ts";
import { table } from "../parts.ts";
import { isToBePacked, packingPages } from "./packing.ts";
import { shipmentForms } from "./shipment-forms.ts";
import { find, ONE_SHIPMENT, orderPath, SHIPMENTS, shipmentsPath } from "./shipment-parts.ts";

/** Lines on a parcel's row at most: an order may have thousands. */
const LINES_SHOWN = 50;

/** An order's parcels: the forms of the warehouse and of operators, and what they print. */
export const shipmentPages: readonly Route[] = [
  ...shipmentForms,
  ...packingPages,
  asked("book", ({ parcels }, ...given) => parcels.book(...given)),
  asked("void", ({ parcels }, ...given) => parcels.void(...given)),
];

/** A button's route. */
function asked(
  verb: string,
  work: (services: Services, order: StoredOrder, shipment: Shipment, actor: string) => Promise<unknown>,
): Route {
  return route({
    ...FORM,
    ...ONE_SHIPMENT,
    path: `${SHIPMENTS}/:number/${verb}`,
    handler: async ({ params, response }, services) => {
      const { order, shipment } = await find(services, params);
      await refusing(order, () => work(services, order, shipment, actorOf(response)));
      leadTo(response, orderPath(order));
    },
  });
}

/** An order's parcels, with what can be done with each; undefined if there are none, and none can be planned. */
export function parcelsOf(
  { parcels: desk }: Pick<Services, "parcels">,
  order: StoredOrder,
  shipments: readonly Shipment[],
): Html | undefined {
  const mayPlan = desk.mayPlan(order) && unplanned(order.lines, shipments).length > 0;
  const known = shipments.filter(({ lines }) => lines.length > 0);
  if (known.length === 0 && !mayPlan) return undefined;
  const { delivered, of } = fulfilmentOf(known);
  const path = shipmentsPath(order);
  return html`<section aria-labelledby="parcels">
    <h2 id="parcels">
      Parcels ${of > 0 && html`<span class="muted">${delivered} of ${of} delivered</span>`}
    </h2>
    ${
      known.length > 0 &&
      table<Shipment>({
        caption: "Parcels",
        rows: known,
        id: ({ number: each }) => `parcel-${each}`,
        columns: [
          { title: "No.", heading: true, cell: (each) => String(each.number) },
          { title: "State", wide: true, cell: stateText },
          { title: "Pieces", wide: true, cell: (each) => pieces(each.lines) },
          { title: "Carrier", wide: true, cell: carrierText },
          { title: "Label", short: true, cell: labelText },
          { title: "Actions", wide: true, cell: (each) => buttons(order, each) },
        ],
      })
    }
    <div class="actions">
      ${mayPlan && html`<a class="button" id="plan" href="${path}/new">Plan a parcel…</a>`}
      ${known.some(isToBePacked) && html`<a class="button" id="picking" href="${path}/picking-list">Picking list</a>`}
    </div>
  </section>`;
}

function stateText(shipment: Shipment): Content {
  const { state, voiding, reason, closedAt, bookRequestedAt, expectedAt } = shipment;
  const isRefused = isBookingRefused(shipment);
  const isBad = isRefused || state === "RETURNED" || state === "LOST" || state === "EXCEPTION";
  const kind = isBad ? "bad" : state === "DELIVERED" ? "good" : state === "VOIDED" ? "gone" : "";
  const more = [
    state === "PLANNED" && bookRequestedAt !== null && "the label is being bought",
    isRefused && "can't be booked",
    voiding === "requested" && "is being called off",
    voiding === "pending" && "the carrier decides on its label",
    voiding === "refused" && "the carrier does not take its label back",
    closedAt !== null && "closed",
    reason,
  ].filter((each) => typeof each === "string");
  const isExpected = expectedAt !== null && !isBad && state !== "DELIVERED" && state !== "VOIDED";
  return html`<span class="badge ${kind}">${state}</span
    >${more.length > 0 && html` ${more.join(", ")}`}${isExpected && html` <span class="muted">expected ${moment(expectedAt)}</span>`}`;
}

function carrierText({ carrier, service, cost, trackingNumber, trackingUrl }: Shipment): Content {
  const price = cost && `, ${moneyText(cost.amount, cost.currency)}`;
  const shown = trackingNumber !== null && html`<span class="id">${trackingNumber}</span>`;
  const tracked = trackingUrl === null ? shown : html`<a href="${trackingUrl}" rel="noreferrer">${shown}</a>`;
  return html`${service ?? carrier}${price} ${tracked}`;
}

function labelText({ labelUrl, state }: Shipment): Content {
  if (labelUrl === null || state === "VOIDED") return UNKNOWN;
  return html`<a href="${labelUrl}" rel="noreferrer">Label</a>`;
}

function buttons(order: StoredOrder, shipment: Shipment): Content {
  const path = `${shipmentsPath(order)}/${shipment.number}`;
  const button = (verb: string, text: string) =>
    html`<form method="post" action="${path}/${verb}" class="inline">
      <button aria-label="${text} parcel ${shipment.number}">${text}</button>
    </form>`;
  const link = (page: string, text: string) =>
    html`<a class="button" href="${path}/${page}" aria-label="${text} of parcel ${shipment.number}"
      >${text}</a
    >`;
  return html`<div class="deeds">
    ${mayBeBooked(shipment) && button("book", "Book")} ${mayBeVoided(shipment) && button("void", "Call off")}
    ${
      mayBeClosed(shipment) &&
      html`<a class="button" href="${path}/close" aria-label="Close parcel ${shipment.number}…">Close…</a>`
    }
    ${shipment.state !== "VOIDED" && link("packing-slip", "Packing slip")}
  </div>`;
}

function pieces(lines: readonly ShipmentLine[]): Content {
  const shown = lines.slice(0, LINES_SHOWN).map(({ sku, quantity }) => `${number(quantity)} × ${sku}`);
  const more = lines.length - shown.length;
  return [...shown, ...(more > 0 ? [`${number(more)} more lines`] : [])].join(", ");
}
