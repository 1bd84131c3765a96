import { describe, expect, test } from "@jest/globals";
import { z } from "zod";
import type { OrderLine } from "../../../src/order/order.ts";
import { RequestRefusedError } from "../../../src/order/ports.ts";
import { asked } from "../../../src/providers/easypost/new-shipment.ts";

/* What EasyPost is asked for. */

const HOME = { name: "A", line1: "1 Main St", city: "Springfield", postalCode: "62701", country: "US" };
const BERLIN = { ...HOME, city: "Berlin", postalCode: "10115", country: "DE" };
const STANDARD = { weight: 500 };
const OUNCE = 28.349_523_125;

const body = z.object({
  to_address: z.object({ phone: z.string().optional() }),
  parcel: z.object({ weight: z.number() }),
  customs_info: z
    .object({
      eel_pfc: z.string().optional(),
      customs_items: z.array(z.object({ weight: z.number(), value: z.number() })),
    })
    .optional(),
});

const line = (given: Partial<OrderLine> = {}): OrderLine => ({
  sku: "MUG",
  quantity: 1,
  unitPrice: 1_000,
  ...given,
});

function ask(
  items: readonly OrderLine[],
  { to = BERLIN, from = HOME, parcel = null as { weight: number } | null, currency = "USD", phone = "" } = {},
) {
  const request = { orderId: "o", reference: "o:ship", from, to, parcel, items, currency };
  const given = { ...request, phone: phone === "" ? null : phone, signal: new AbortController().signal };
  return body.parse(JSON.parse(JSON.stringify(asked(given, { from, to }, STANDARD))));
}

const weights = (wanted: ReturnType<typeof ask>) =>
  wanted.customs_info?.customs_items.map(({ weight }) => weight * OUNCE) ?? [];

describe("a parcel's weight", () => {
  test.each<[string, OrderLine[], number]>([
    ["is the sum of its lines", [line({ weight: 300, quantity: 2 }), line({ weight: 100 })], 700],
    ["is the standard one if no line has any", [line(), line()], 500],
    ["is no less than the standard one if some lines have none", [line({ weight: 20 }), line()], 500],
    ["is no less than what its lines weigh", [line({ weight: 900 }), line()], 900],
  ])("%s", (_what, items, grams) => {
    const { weight } = ask(items).parcel;
    expect(Math.abs(weight * OUNCE - grams)).toBeLessThan(0.1 * OUNCE);
  });
});

describe("what customs are told", () => {
  test.each<[string, OrderLine[], { parcel?: { weight: number } }]>([
    ["with weights", [line({ weight: 300, quantity: 2 }), line({ weight: 100 })], {}],
    ["without any", [line(), line({ quantity: 9 })], {}],
    ["of which some have none", [line({ weight: 490 }), line(), line({ quantity: 3 })], {}],
    ["that weigh more than their parcel", [line({ weight: 900 }), line()], { parcel: { weight: 400 } }],
    [
      "of which there are many in a light parcel",
      Array.from({ length: 30 }, () => line()),
      { parcel: { weight: 1 } },
    ],
  ])("of goods %s adds up to no more than the parcel", (_what, items, given) => {
    const { parcel, ...rest } = ask(items, given);
    const all = weights({ parcel, ...rest });
    expect(all).toHaveLength(items.length);
    expect(Math.min(...all)).toBeGreaterThan(0);
    const sum = all.reduce((a, b) => a + b, 0);
    expect(sum).toBeLessThanOrEqual(parcel.weight * OUNCE);
  });

  test("gives lines without a weight what the others leave, by their pieces", () => {
    const all = weights(ask([line({ weight: 200 }), line(), line({ quantity: 2 })]));
    expect(all.map((grams) => Math.round(grams))).toEqual([200, 100, 200]);
  });

  const exemption = (...given: Parameters<typeof ask>) => ask(...given).customs_info?.eel_pfc;
  const dear = line({ unitPrice: 130_000, quantity: 2, customs: { hsCode: "691110" } });

  test("names the exemption from an export declaration, which only the US want", () => {
    expect(exemption([line()])).toBe("NOEEI 30.37(a)");
    expect(exemption([line({ unitPrice: 250_000 })])).toBe("NOEEI 30.37(a)");
    // Each kind of goods counts by itself.
    expect(exemption([line({ unitPrice: 200_000 }), line({ sku: "POT", unitPrice: 200_000 })])).toBe(
      "NOEEI 30.37(a)",
    );
    expect(exemption([dear], { to: { ...HOME, country: "CA" } })).toBe("NOEEI 30.36");
    expect(exemption([line()], { from: { ...HOME, country: "FR" } })).toBeUndefined();
    expect(exemption([dear], { from: { ...HOME, country: "FR" } })).toBeUndefined();
  });

  test.each<[string, OrderLine[]]>([
    ["in one line", [dear]],
    [
      "in several lines of one kind",
      [line({ ...dear, quantity: 1 }), line({ ...dear, quantity: 1, sku: "CUP" })],
    ],
  ])("is refused with the reason for goods that need a declaration: %s", (_what, items) => {
    expect(() => ask(items)).toThrow(RequestRefusedError);
    expect(() => ask(items)).toThrow("691110 is worth more than USD 2500 and needs an export declaration");
    expect(() => ask(items, { to: { ...HOME, city: "Chicago" } })).not.toThrow();
  });
});

test("whoever delivers it gets the customer's phone number", () => {
  expect(ask([line()], { phone: "+1 555 0100" }).to_address).toEqual({ phone: "+1 555 0100" });
  expect(ask([line()]).to_address).toEqual({});
});
