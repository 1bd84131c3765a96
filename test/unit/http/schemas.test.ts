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
});
const anyOrder = almost({
  customerId: mostly(anyText),
  currency: mostly(fc.constantFrom("EUR", "USD", "eur", "XQZ")),
  lines: mostly(fc.array(anyLine, { maxLength: 3 })),
  reference: mostly(anyText),
  paymentToken: mostly(anyText),
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

describe("a text", () => {
  test("that is taken is well-formed, has no control character, no space around it, and fits its column", () => {
    fc.assert(
      fc.property(anyText, (customerId) => {
        const taken = orderRequest.safeParse({ ...ORDER, customerId }).success;
        const right =
          customerId.isWellFormed() &&
          !/\p{Cc}/u.test(customerId) &&
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
