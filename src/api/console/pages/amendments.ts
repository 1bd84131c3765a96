import { z } from "zod";
import { LIMITS } from "../../../order/limits.ts";
import type { Hold, StoredOrder } from "../../../order/order.ts";
import { actorOf } from "../../auth.ts";
import { orderOf } from "../../lookup.ts";
import { noSuch, route, type Route } from "../../route.ts";
import { holdRequest, idPath, orderPatch } from "../../schemas.ts";
import { parseForm } from "../../validate.ts";
import { FORM, leadTo, PAGE, show } from "../context.ts";
import { TextForm, type Values } from "../forms.ts";
import { moment } from "../format.ts";
import { html, type Content, type Html } from "../html.ts";
import { ROOT, type Page } from "../layout.ts";
import { confirmation, facts, table } from "../parts.ts";

const PATH = `${ROOT}/orders/:id`;

const HOLD = new TextForm({
  name: { label: "Name of the hold", most: LIMITS.identifier },
  reason: { label: "Reason", most: LIMITS.reason },
});

const ADDRESS = new TextForm({
  name: { label: "Name", most: LIMITS.addressLine },
  line1: { label: "Address", most: LIMITS.addressLine },
  line2: { label: "Address, second line (optional)", most: LIMITS.addressLine, isOptional: true },
  postalCode: { label: "Postal code (optional)", most: LIMITS.postalCode, isOptional: true },
  city: { label: "City", most: LIMITS.addressLine },
  region: { label: "State or region (optional)", most: LIMITS.addressLine, isOptional: true },
  country: { label: "Country, as a code such as DE", most: 2 },
});

const releaseSchema = z.object({ name: z.string() });

/** The forms that hold an order, release it, and change where it goes. */
export const amendmentForms: readonly Route[] = [
  route({
    ...PAGE,
    path: `${PATH}/hold`,
    names: "order",
    request: { params: idPath },
    handler: async ({ params: { id }, response }, services) => {
      show(services, response, holdPage(await orderOf(services.database, id)));
    },
  }),
  route({
    ...FORM,
    path: `${PATH}/hold`,
    names: "order",
    request: { params: idPath, form: HOLD.schema },
    handler: async ({ params: { id }, form: { values }, response }, services) => {
      const order = await orderOf(services.database, id);
      await HOLD.submit(services, response, {
        act: async () => {
          await services.operations.hold(id, parseForm(holdRequest, { body: values }), actorOf(response));
          return pathOf(order);
        },
        again: (faults) => holdPage(order, values, faults),
      });
    },
  }),
  route({
    ...FORM,
    path: `${PATH}/release`,
    names: "order",
    request: { params: idPath, form: releaseSchema },
    handler: async ({ params: { id }, form: { name }, response }, { operations }) => {
      const order = await operations.release(id, name, actorOf(response));
      if (order === undefined) throw noSuch("order", id);
      leadTo(response, pathOf(order));
    },
  }),
  route({
    ...PAGE,
    path: `${PATH}/address`,
    names: "order",
    request: { params: idPath },
    handler: async ({ params: { id }, response }, services) => {
      const order = await orderOf(services.database, id);
      show(services, response, addressPage(order, { ...order.shipTo }));
    },
  }),
  route({
    ...FORM,
    path: `${PATH}/address`,
    names: "order",
    request: { params: idPath, form: ADDRESS.schema },
    handler: async ({ params: { id }, form: { values }, response }, services) => {
      const order = await orderOf(services.database, id);
      await ADDRESS.submit(services, response, {
        act: async () => {
          const country = values["country"]?.toUpperCase();
          const patch = parseForm(orderPatch, { body: { shipTo: { ...values, country } } });
          await services.operations.patch(id, patch, actorOf(response));
          return pathOf(order);
        },
        again: (faults) => addressPage(order, values, faults),
      });
    },
  }),
];

/** Who holds an order and why, each with a button to release it; undefined if nobody does. */
export function holds({ id, holds: all }: StoredOrder): Html | undefined {
  if (all.length === 0) return undefined;
  return html`<section aria-labelledby="holds">
    <h2 id="holds">Holds</h2>
    ${table<Hold>({
      caption: "Holds",
      rows: all,
      columns: [
        { title: "Name", heading: true, cell: ({ name }) => name },
        { title: "Reason", wide: true, cell: ({ reason }) => reason },
        {
          title: "Since",
          wide: true,
          cell: ({ at, actor }) => html`${moment(at)}, by ${actor ?? "the service"}`,
        },
        {
          title: "Release",
          wide: true,
          cell: ({ name }) =>
            html`<form method="post" action="${pathOf({ id })}/release" class="inline">
              <input type="hidden" name="name" value="${name}" />
              <button aria-label="Release ${name}">Release</button>
            </form>`,
        },
      ],
    })}
  </section>`;
}

function pathOf({ id }: Pick<StoredOrder, "id">): string {
  return `${ROOT}/orders/${id}`;
}

function holdPage(order: StoredOrder, values: Values = {}, faults?: Html): Page {
  return formPage(order, "Hold", {
    faults,
    text: "The stage that is under way ends; the next one does not begin until the last hold is released.",
    form: confirmation({
      action: `${pathOf(order)}/hold`,
      fields: HOLD.inputs(values),
      button: "Hold order",
      kind: "primary",
      back: pathOf(order),
    }),
  });
}

function addressPage(order: StoredOrder, values: Values, faults?: Html): Page {
  return formPage(order, "Change the address of", {
    faults,
    text: "Possible until the shipment is booked. The timeline says who changed the address, and not what it is.",
    form: confirmation({
      action: `${pathOf(order)}/address`,
      fields: ADDRESS.inputs(values),
      button: "Change address",
      kind: "primary",
      back: pathOf(order),
    }),
  });
}

function formPage(
  order: StoredOrder,
  verb: string,
  parts: { readonly faults: Html | undefined; readonly text: Content; readonly form: Html },
): Page {
  const title = `${verb} order ${order.reference ?? order.id}`;
  return {
    title,
    section: "Orders",
    body: html`<h1>${title}</h1>
      ${facts({ Id: html`<span class="id">${order.id}</span>`, Customer: order.customerId, Status: order.status })}
      <p>${parts.text}</p>
      ${parts.faults} ${parts.form}`,
  };
}
