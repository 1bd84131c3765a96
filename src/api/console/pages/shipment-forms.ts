import { z } from "zod";
import { COLUMN_LENGTHS } from "../../../../db/column-lengths.ts";
import { LIMITS } from "../../../order/limits.ts";
import type { StoredOrder } from "../../../order/order.ts";
import { unplanned } from "../../../order/pieces.ts";
import type { Shipment } from "../../../order/shipment.ts";
import { actorOf } from "../../auth.ts";
import { orderOf } from "../../lookup.ts";
import { route, type Route } from "../../route.ts";
import { idPath } from "../../schemas.ts";
import { closeRequest, shipmentPath, shipmentRequest } from "../../shipment-schemas.ts";
import { refusing } from "../../shipments.ts";
import { parseForm } from "../../validate.ts";
import { FORM, PAGE, show } from "../context.ts";
import { TextForm, type Values } from "../forms.ts";
import { number } from "../format.ts";
import { html, type Html } from "../html.ts";
import type { Page } from "../layout.ts";
import { confirmation, reasonField } from "../parts.ts";
import {
  about,
  find,
  ONE_SHIPMENT,
  orderPath,
  SHIPMENTS,
  shipmentsPath,
  type Found,
} from "./shipment-parts.ts";

/** SKUs on the form at most: an order may have thousands. */
const SKUS_SHOWN = 50;

const SIZES = {
  weight: { label: "Weight in grams (optional)", isOptional: true },
  length: { label: "Length in millimetres (optional)", isOptional: true },
  width: { label: "Width in millimetres (optional)", isOptional: true },
  height: { label: "Height in millimetres (optional)", isOptional: true },
  service: {
    label: "Service, such as USPS Priority (optional)",
    most: COLUMN_LENGTHS.service,
    isOptional: true,
  },
} as const;
const CLOSE = new TextForm({ reason: { label: "Reason", most: LIMITS.reason } });

/** The forms that plan a parcel, and close one. */
export const shipmentForms: readonly Route[] = [
  route({
    ...PAGE,
    path: `${SHIPMENTS}/new`,
    names: "order",
    request: { params: idPath },
    handler: async ({ params, response }, services) => {
      const order = await orderOf(services.database, params.id);
      show(services, response, planPage(order, await services.parcels.list(order)));
    },
  }),
  route({
    ...FORM,
    path: `${SHIPMENTS}/new`,
    names: "order",
    request: { params: idPath, form: z.looseObject({}) },
    handler: async ({ params, form, response }, services) => {
      const order = await orderOf(services.database, params.id);
      const known = await services.parcels.list(order);
      const fields = planForm(order, known);
      const { values } = fields.schema.parse(form);
      await fields.submit(services, response, {
        act: async () => {
          const wanted = parseForm(shipmentRequest, { body: wish(order, known, values) });
          await refusing(order, () => services.parcels.plan(order, wanted, actorOf(response)));
          return orderPath(order);
        },
        again: (faults) => planPage(order, known, values, faults),
      });
    },
  }),
  route({
    ...PAGE,
    ...ONE_SHIPMENT,
    path: `${SHIPMENTS}/:number/close`,
    handler: async ({ params, response }, services) => {
      show(services, response, closePage(await find(services, params)));
    },
  }),
  route({
    ...FORM,
    path: `${SHIPMENTS}/:number/close`,
    names: "shipment",
    request: { params: shipmentPath, form: CLOSE.schema },
    handler: async ({ params, form: { values }, response }, services) => {
      const found = await find(services, params);
      await CLOSE.submit(services, response, {
        act: async () => {
          const { reason } = parseForm(closeRequest, { body: values });
          const close = () => services.parcels.close(found.order, found.shipment, reason, actorOf(response));
          await refusing(found.order, close);
          return orderPath(found.order);
        },
        again: (faults) => closePage(found, values, faults),
      });
    },
  }),
];

/** What is left to ship, by SKU, in the order of the lines. */
function leftBySku(order: StoredOrder, known: readonly Shipment[]): [string, number][] {
  const left = new Map<string, number>();
  for (const { sku, quantity } of unplanned(order.lines, known))
    left.set(sku, (left.get(sku) ?? 0) + quantity);
  return [...left];
}

function planForm(order: StoredOrder, known: readonly Shipment[]): TextForm {
  const fields = leftBySku(order, known)
    .slice(0, SKUS_SHOWN)
    .map(([sku, left], index) => {
      const label = `Pieces of ${sku}, of ${number(left)} left (optional)`;
      return [`pieces-${index}`, { label, isOptional: true as const }] as const;
    });
  return new TextForm({ ...Object.fromEntries(fields), ...SIZES });
}

/** What the form asks for, as the API takes it. */
function wish(order: StoredOrder, known: readonly Shipment[], { service, ...values }: Values): object {
  const whole = (text: string) => (/^\d{1,9}$/.test(text) ? Number(text) : text);
  const lines = leftBySku(order, known).flatMap(([sku], index) => {
    const given = values[`pieces-${index}`];
    return given === undefined ? [] : [{ sku, quantity: whole(given) }];
  });
  const parcel = Object.fromEntries(
    ["weight", "length", "width", "height"].flatMap((name) => {
      const given = values[name];
      return given === undefined ? [] : [[name, whole(given)]];
    }),
  );
  return {
    ...(lines.length > 0 && { lines }),
    ...(Object.keys(parcel).length > 0 && { parcel }),
    ...(service !== undefined && { service }),
  };
}

function planPage(order: StoredOrder, known: readonly Shipment[], values: Values = {}, faults?: Html): Page {
  const title = `Plan a parcel of order ${order.reference ?? order.id}`;
  return {
    title,
    section: "Orders",
    body: html`<h1>${title}</h1>
      ${about(order)}
      <p>Without any pieces, the parcel gets all that is left. Its label is bought when you book it.</p>
      ${faults}
      ${confirmation({
        action: `${shipmentsPath(order)}/new`,
        fields: planForm(order, known).inputs(values),
        button: "Plan parcel",
        kind: "primary",
        back: orderPath(order),
      })}`,
  };
}

function closePage({ order, shipment }: Found, values: Values = {}, faults?: Html): Page {
  const title = `Close parcel ${shipment.number} of order ${order.reference ?? order.id}`;
  return {
    title,
    section: "Orders",
    body: html`<h1>${title}</h1>
      ${about(order)}
      <p>
        Nobody waits for the parcel any more, and its pieces are not shipped again. To ship them again, plan
        another parcel instead.
      </p>
      ${faults}
      ${confirmation({
        action: `${shipmentsPath(order)}/${shipment.number}/close`,
        fields: values["reason"] === undefined ? reasonField("reason") : CLOSE.inputs(values),
        button: "Close parcel",
        kind: "danger",
        back: orderPath(order),
      })}`,
  };
}
