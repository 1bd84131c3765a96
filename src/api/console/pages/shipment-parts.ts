import type { z } from "zod";
import type { StoredOrder } from "../../../order/order.ts";
import type { Shipment } from "../../../order/shipment.ts";
import { orderOf } from "../../lookup.ts";
import { noSuch } from "../../route.ts";
import type { Services } from "../../services.ts";
import { shipmentPath } from "../../shipment-schemas.ts";
import { html, type Html } from "../html.ts";
import { ROOT } from "../layout.ts";
import { facts } from "../parts.ts";

/* What the pages about an order's parcels share. */

/** Path of the pages. */
export const SHIPMENTS = `${ROOT}/orders/:id/shipments`;
export const ONE_SHIPMENT = { names: "shipment", request: { params: shipmentPath } } as const;

export interface Found {
  readonly order: StoredOrder;
  readonly shipment: Shipment;
}

/** @throws {Problem} 404 if there is no such order or shipment */
export async function find(
  services: Services,
  { id, number }: z.output<typeof shipmentPath>,
): Promise<Found> {
  const order = await orderOf(services.database, id);
  const shipment = await services.parcels.find(order, number);
  if (shipment === undefined) throw noSuch("shipment", number);
  return { order, shipment };
}

export function about({ id, customerId, status }: StoredOrder): Html {
  return facts({ Id: html`<span class="id">${id}</span>`, Customer: customerId, Status: status });
}

export function orderPath({ id }: Pick<StoredOrder, "id">): string {
  return `${ROOT}/orders/${id}`;
}

export function shipmentsPath(order: Pick<StoredOrder, "id">): string {
  return `${orderPath(order)}/shipments`;
}
