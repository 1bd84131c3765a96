import { describe, expect, test } from "@jest/globals";
import { Ajv2020 } from "ajv/dist/2020.js";
import * as fc from "fast-check";
import { openApiDocument } from "../../../src/api/openapi.ts";
import { orderRequest, stockLevels } from "../../../src/api/schemas.ts";
import { LIMITS } from "../../../src/order/limits.ts";

const LINE = { sku: "MUG-BLUE", quantity: 2, unitPrice: 1250 };
const ORDER = { customerId: "cust-1", currency: "EUR", lines: [LINE] };

const ajv = new Ajv2020({ strict: false, validateFormats: false });
ajv.addSchema({ $id: "api", components: openApiDocument("0").components });

/** Values from within the limits and from beyond, of the right kind and of others. */
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.string({ unit: "grapheme", maxLength: 80 }),
  fc.constantFrom(
    "",
    " ",
    "EUR",
    "XXX",
    "DE",
    "x".repeat(64),
    "x".repeat(65),
    "😀".repeat(64),
    "😀".repeat(65),
  ),
);
const anyNumber = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(0, -0, 1, 1e6, 1e6 + 1, 1e10, 1e10 + 1, 1e9, 1e9 + 1, 2 ** 53, 0.5),
);
const anyValue = fc.oneof(anyText, anyNumber, fc.constantFrom(null, true, [], {}));

/** An object with all or some of these fields, and at times with one that nobody knows. */
function almost(fields: Record<string, fc.Arbitrary<unknown>>) {
  const unknown = fc.oneof(
    { weight: 4, arbitrary: fc.constant({}) },
    fc.dictionary(anyText, anyValue, { maxKeys: 1 }),
  );
  return fc
    .tuple(unknown, fc.record(fields, { requiredKeys: [] }))
    .map(([extra, known]): object => Object.assign({}, extra, known));
}

const mostly = (right: fc.Arbitrary<unknown>) => fc.oneof({ weight: 6, arbitrary: right }, anyValue);
const anyLine = almost({
  sku: mostly(anyText),
  quantity: mostly(anyNumber),
  unitPrice: mostly(anyNumber),
  name: mostly(anyText),
  weight: mostly(anyNumber),
  stocked: mostly(fc.boolean()),
  taxRate: mostly(anyNumber),
});
const anyAdjustment = almost({
  kind: mostly(fc.constantFrom("shipping", "discount", "tax", "rounding")),
  label: mostly(anyText),
  amount: mostly(anyNumber),
  included: mostly(fc.boolean()),
});
const anyOrder = almost({
  customerId: mostly(anyText),
  currency: mostly(fc.constantFrom("EUR", "USD", "eur", "XQZ")),
  lines: mostly(fc.array(anyLine, { maxLength: 3 })),
  reference: mostly(anyText),
  paymentToken: mostly(anyText),
  customer: mostly(almost({ id: anyText, name: anyText, email: anyText })),
  adjustments: mostly(fc.array(anyAdjustment, { maxLength: 3 })),
  total: mostly(anyNumber),
  note: mostly(anyText),
  metadata: mostly(fc.dictionary(anyText, mostly(anyText), { maxKeys: 3 })),
  shipTo: mostly(
    almost({ name: anyText, line1: anyText, city: anyText, postalCode: anyText, country: anyText }),
  ),
});
const anyStock = almost({
  items: mostly(fc.array(almost({ sku: mostly(anyText), onHand: mostly(anyNumber) }), { maxLength: 3 })),
});

describe("the published schemas", () => {
  test.each([
    ["OrderRequest", orderRequest, anyOrder],
    ["StockLevels", stockLevels, anyStock],
  ])("%s promises no less than is taken: what it refuses is refused", (name, schema, anything) => {
    const published = ajv.compile({ $ref: `api#/components/schemas/${name}` });
    fc.assert(
      fc.property(anything, (value) => {
        // As it comes over the wire: without undefined, NaN and -0.
        const sent: unknown = JSON.parse(JSON.stringify(value));
        if (!published(sent)) expect(schema.safeParse(sent).success).toBe(false);
      }),
      { numRuns: 500 },
    );
  });
});

/** What joins several emoji to one is seen. */
function withoutJoints(text: string): string {
  const joined = text.replaceAll(/(\p{Extended_Pictographic})\ufe0f/gu, "$1");
  return joined.replaceAll(
    /(?<=[\p{Extended_Pictographic}\p{Emoji_Modifier}])\u200d(?=\p{Extended_Pictographic})/gu,
    "",
  );
}

describe("a text", () => {
  test("that is taken is well-formed, has no control character, none that nobody sees, no space around it, and fits its column", () => {
    fc.assert(
      fc.property(anyText, (customerId) => {
        const taken = orderRequest.safeParse({ ...ORDER, customerId }).success;
        const right =
          customerId.isWellFormed() &&
          !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u.test(withoutJoints(customerId)) &&
          customerId === customerId.trim() &&
          Array.from(customerId).length >= 1 &&
          Array.from(customerId).length <= LIMITS.identifier;
        expect(taken).toBe(right);
      }),
      { numRuns: 500 },
    );
  });
});

describe("an order", () => {
  const taken = (more: object) => orderRequest.safeParse({ ...ORDER, ...more });
  const faults = (more: object) =>
    taken(more).error?.issues.map(({ path, message }) => `${path.join(".")} ${message}`);

  test("with null for an optional field is the same as without it, at every depth", () => {
    const address = { name: "N", line1: "L", city: "C", postalCode: "P", country: "DE" };
    const nulls = taken({
      reference: null,
      paymentToken: null,
      adjustments: null,
      total: null,
      billTo: null,
      note: null,
      metadata: { kept: "yes", left: null },
      customer: { id: "cust-1", name: null, email: null },
      shipTo: { ...address, line2: null, region: null },
      lines: [{ ...LINE, name: null, weight: null, requiresShipping: null, taxRate: null, stocked: null }],
    });
    const without = taken({ metadata: { kept: "yes" }, customer: { id: "cust-1" }, shipTo: address });
    expect(nulls.success).toBe(true);
    expect(JSON.stringify(nulls.data)).toBe(JSON.stringify(without.data));
  });

  test("still needs what is not optional, null or not", () => {
    expect(faults({ currency: null })?.[0]).toMatch(/^currency /);
    expect(faults({ customerId: undefined })).toEqual([
      "customerId is missing: send customerId, or customer with an id",
    ]);
    expect(faults({ customerId: undefined, customer: null, lines: [] })).toHaveLength(2);
  });

  test("says who ordered once, or twice the same", () => {
    expect(taken({ customerId: undefined, customer: { id: "cust-1" } }).success).toBe(true);
    expect(taken({ customer: { id: "cust-1" } }).success).toBe(true);
    expect(faults({ customer: { id: "cust-2" } })).toEqual(["customer.id must be the customerId"]);
  });

  test("whose total does not add up is told both sums", () => {
    const adjustments = [{ kind: "shipping", amount: 499 }];
    expect(taken({ adjustments, total: 2999 }).success).toBe(true);
    expect(faults({ adjustments, total: 2500 })).toEqual([
      "total is 2500, but lines of 2500 and adjustments of 499 are 2999: send that, or leave it out",
    ]);
  });

  test("never costs less than nothing", () => {
    expect(taken({ adjustments: [{ kind: "discount", amount: -2500 }] }).success).toBe(true);
    expect(faults({ adjustments: [{ kind: "discount", amount: -2501 }] })).toEqual([
      "adjustments must not bring the total below 0: lines of 2500 and adjustments of -2501 are -1",
    ]);
  });

  test.each([
    ["a discount that adds", { kind: "discount", amount: 1 }, "amount must not be above 0 for a discount"],
    [
      "a negative fee",
      { kind: "fee", amount: -1 },
      "amount must not be below 0, except for a discount and for rounding",
    ],
    [
      "shipping that is contained in the prices",
      { kind: "shipping", amount: 1, included: true },
      "included only a tax can be contained in the prices",
    ],
  ])("is refused with %s", (_, adjustment, fault) => {
    expect(faults({ adjustments: [adjustment] })).toEqual([`adjustments.0.${fault}`]);
    expect(taken({ adjustments: [{ kind: "rounding", amount: -2 }] }).success).toBe(true);
  });

  test.each([
    ["a code of ISO 4217 that Intl lacks", "VED", true],
    ["a code of ISO 4217 without a minor unit", "XAU", true],
    ["a code that was withdrawn long ago", "DEM", false],
  ])("in %s", (_, currency, isTaken) => {
    expect(taken({ currency }).success).toBe(isTaken);
  });

  test("has at most 50 fields of metadata, and a note of several lines", () => {
    const fields = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, at) => [`f${at}`, "x"]));
    expect(taken({ metadata: fields(50), note: "Ring twice.\n\tThen wait." }).success).toBe(true);
    expect(faults({ metadata: fields(51) })).toEqual(["metadata must not have more than 50 fields"]);
    // None of which is looked at, then.
    const wrong = Object.fromEntries(Array.from({ length: 51 }, (_, at) => [`f${at}`, at]));
    expect(faults({ metadata: wrong })).toEqual(["metadata must not have more than 50 fields"]);
    expect(taken({ note: "\u0000" }).success).toBe(false);
  });

  const quantity = fc.integer({ min: 1, max: LIMITS.quantity });
  const unitPrice = fc.integer({ min: 0, max: LIMITS.unitPrice });

  test("is taken exactly when its total is a number that JavaScript keeps exactly", () => {
    fc.assert(
      fc.property(fc.array(fc.record({ quantity, unitPrice }), { minLength: 1, maxLength: 5 }), (amounts) => {
        const lines = amounts.map((amount) => ({ sku: "A", ...amount }));
        const total = amounts.reduce((sum, each) => sum + BigInt(each.quantity) * BigInt(each.unitPrice), 0n);
        expect(orderRequest.safeParse({ ...ORDER, lines }).success).toBe(
          total <= BigInt(Number.MAX_SAFE_INTEGER),
        );
      }),
    );
  });
});
