import type { Address, StoredOrder } from "../../../order/order.ts";
import { html, type Html } from "../html.ts";
import { facts } from "../parts.ts";

/** Whom an order is for and where it goes, and what was noted; undefined if none of it is known. */
export function people(order: StoredOrder): Html | undefined {
  const { customer, shipTo, billTo, note, metadata } = order;
  const papers = [
    customer &&
      paper("customer", "Customer", { Name: customer.name, "E-mail": customer.email, Phone: customer.phone }),
    shipTo && addressPaper("ship-to", "Ships to", shipTo),
    billTo && addressPaper("bill-to", "Bills to", billTo),
    note !== null &&
      html`<div class="paper" id="note">
        <h3>Note</h3>
        <p class="multiline">${note}</p>
      </div>`,
    metadata && paper("metadata", "Metadata", metadata),
  ].filter((each) => each !== null && each !== false);
  if (papers.length === 0) return undefined;
  return html`<section aria-labelledby="people">
    <h2 id="people">Customer</h2>
    <div class="columns">${papers}</div>
  </section>`;
}

function addressPaper(id: string, title: string, address: Address): Html {
  const { name, line1, line2, city, region, postalCode, country } = address;
  return paper(id, title, {
    Name: name,
    Address: [line1, line2].filter((each) => each !== undefined).join(", "),
    City: [postalCode, city, region].filter((each) => each !== undefined).join(" "),
    Country: country,
  });
}

function paper(id: string, title: string, fields: Readonly<Record<string, string | undefined>>): Html {
  const given = Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  return html`<div class="paper" id="${id}">
    <h3>${title}</h3>
    ${facts(Object.fromEntries(given), "record")}
  </div>`;
}
