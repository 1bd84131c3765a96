import { expect, test } from "@jest/globals";
import { LIMITS } from "../../../src/order/limits.ts";
import { useApi } from "../../support/api.ts";
import { PLAIN_ORDER } from "../../support/client.ts";

const api = useApi();

const LINE = PLAIN_ORDER.lines[0];
const ADDRESS = { name: "N", line1: "L", city: "C", country: "HK" };
const FACE = "😀";

/** What input-faults.test.ts refuses for being one over, exactly at the limit. */
test.each<[string, object]>([
  ["the largest quantity", { lines: [{ ...LINE, quantity: LIMITS.quantity }] }],
  ["the largest price", { lines: [{ ...LINE, quantity: 1, unitPrice: LIMITS.unitPrice }] }],
  ["a price of nothing", { lines: [{ ...LINE, unitPrice: 0 }] }],
  ["a whole number written as a fraction", { lines: [{ ...LINE, quantity: 2.0, unitPrice: 1e3 }] }],
  ["ids of the full length", { customerId: "x".repeat(64), reference: "y".repeat(64) }],
  [
    "ids of the full length in characters of four bytes",
    { customerId: FACE.repeat(64), reference: FACE.repeat(64) },
  ],
  ["a SKU of the full length in characters of four bytes", { lines: [{ ...LINE, sku: FACE.repeat(64) }] }],
  ["a character made of many", { reference: "👩‍👩‍👧‍👦".repeat(9) }],
  ["a text that looks like markup", { customerId: `<img src=x onerror="alert(1)">&amp;` }],
  ["a text that looks like SQL", { customerId: `'; DROP TABLE orders; -- \\` }],
  ["the name of what all objects have", { customerId: "__proto__", reference: "constructor" }],
  [
    "the largest total",
    {
      lines: [
        { ...LINE, quantity: 1, unitPrice: 9_254_740_991 },
        { ...LINE, quantity: 900_719, unitPrice: LIMITS.unitPrice },
      ],
    },
  ],
])("takes %s, and gives it back", async (_, given) => {
  const order = await api.client.order({ ...PLAIN_ORDER, ...given });
  expect(order).toMatchObject(given);
  expect((await api.client.get(`/orders/${order.id}`)).body).toEqual(order);
});

test.each<[string, object]>([
  ["a token of the full length", { paymentToken: FACE.repeat(LIMITS.paymentToken) }],
  [
    "an address with every line of the full length",
    {
      shipTo: {
        name: FACE.repeat(LIMITS.addressLine),
        line1: "x".repeat(LIMITS.addressLine),
        line2: "é".repeat(LIMITS.addressLine),
        city: "漢".repeat(LIMITS.addressLine),
        region: FACE.repeat(LIMITS.addressLine),
        postalCode: "1".repeat(20),
        country: "DE",
      },
    },
  ],
  ["an address with no more than it needs", { shipTo: ADDRESS }],
])("takes %s", async (_, given) => {
  expect((await api.client.post("/orders", { ...PLAIN_ORDER, ...given })).status).toBe(202);
});
