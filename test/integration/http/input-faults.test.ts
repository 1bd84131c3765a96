import { afterAll, afterEach, describe, expect, test } from "@jest/globals";
import { orders } from "../../../db/schema.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { API_LIMITS } from "../../../src/api/limits.ts";
import { useApi } from "../../support/api.ts";
import type { Answer } from "../../support/client.ts";

const api = useApi();

const SHIP_TO = {
  name: "Nancy Thompson",
  line1: "1428 Elm Street",
  line2: "Upper floor",
  city: "Springwood",
  region: "Ohio",
  postalCode: "OH-43219",
  country: "US",
};
const LINE = { sku: "MUG-BLUE", quantity: 2, unitPrice: 1250 };
/** Every field is good. What a test puts in its place is not. */
const ORDER = {
  customerId: "cust-1",
  currency: "EUR",
  lines: [LINE],
  reference: "INV-1001",
  paymentToken: "tok_secret_4711",
  shipTo: SHIP_TO,
};
const SECRETS = /tok_secret|Thompson|Elm Street|Upper floor|Springwood|Ohio|43219/;

const HIGH_SURROGATE = "\ud83d";
const FACE = "😀";

function times<T>(count: number, item: T): T[] {
  return Array.from({ length: count }, () => item);
}

function line(fault: object) {
  return { ...ORDER, lines: [LINE, { ...LINE, ...fault }] };
}

function shipTo(fault: object) {
  return { ...ORDER, shipTo: { ...SHIP_TO, ...fault } };
}

function without(field: keyof typeof ORDER) {
  const { [field]: _, ...rest } = ORDER;
  return rest;
}

/** JSON with a field more, which no object literal could have. */
function and(field: string, object: object): string {
  return JSON.stringify(object).replace(/\}$/, `,${field}}`);
}

/** The order as JSON, with this JSON as the value of a field. */
function withJson(field: keyof typeof ORDER, value: string): string {
  return and(`"${field}":${value}`, without(field));
}

async function refused(body: unknown): Promise<Answer> {
  const answer = await api.client.post("/orders", body);
  expect(answer.headers.get("content-type")).toContain("application/problem+json");
  expect(JSON.stringify(answer.body)).not.toMatch(SECRETS);
  return answer;
}

afterEach(async () => {
  expect(await api.environment.database.query((queries) => queries.$count(orders))).toBe(0);
  expect((await api.client.get("/health/live")).status).toBe(200);
});

afterAll(() => {
  expect(api.process.lines.join("\n")).not.toMatch(SECRETS);
});

const MISSING = "is missing";
const NOBODY = "is missing: send customerId, or customer with an id";
const UNKNOWN = "is not a field of this request";
const CHARACTERS = "must not contain control characters or lone surrogates";
const SPACE = "must not begin or end with a space";

describe("a field is refused at its place", () => {
  test.each<[string, unknown, string, string | RegExp]>([
    // Missing, or of another kind.
    ["no customerId", without("customerId"), "customerId", NOBODY],
    ["null for the customerId, and no customer", { ...ORDER, customerId: null }, "customerId", NOBODY],
    ["no currency", without("currency"), "currency", MISSING],
    ["no lines", without("lines"), "lines", MISSING],
    ["null for a text", line({ sku: null }), "lines[1].sku", /string/],
    ["null for a field that is unknown", { ...ORDER, color: null }, "color", UNKNOWN],
    ["an empty name in the metadata", { ...ORDER, metadata: { "": "x" } }, 'metadata[""]', /^its name.*>=1/],
    ["a number for a text", { ...ORDER, customerId: 17 }, "customerId", /string/],
    ["a boolean for a text", { ...ORDER, paymentToken: true }, "paymentToken", /string/],
    ["a list for a text", { ...ORDER, reference: ["INV-1"] }, "reference", /string/],
    ["an object for a text", { ...ORDER, customerId: { $ne: null } }, "customerId", /string/],
    ["an object for a list", { ...ORDER, lines: { 0: LINE, length: 1 } }, "lines", /array/],
    ["a text for a list", { ...ORDER, lines: "all" }, "lines", /array/],
    ["a text for an object", { ...ORDER, shipTo: "1428 Elm Street" }, "shipTo", /object/],
    ["a list for an object", { ...ORDER, shipTo: [] }, "shipTo", /object/],
    ["null for a line", { ...ORDER, lines: [LINE, null] }, "lines[1]", /object/],
    ["a list for a line", { ...ORDER, lines: [LINE, []] }, "lines[1]", /object/],
    // Numbers.
    ["a number in quotes", line({ quantity: "2" }), "lines[1].quantity", /number/],
    ["a fraction", line({ quantity: 1.5 }), "lines[1].quantity", /int/],
    ["a fraction of a cent", line({ unitPrice: 12.505 }), "lines[1].unitPrice", /int/],
    ["a tiny fraction", line({ unitPrice: 1e-9 }), "lines[1].unitPrice", /int/],
    ["the text NaN", line({ quantity: "NaN" }), "lines[1].quantity", /number/],
    ["what JSON makes of NaN", line({ quantity: NaN }), "lines[1].quantity", /number/],
    ["a quantity of none", line({ quantity: 0 }), "lines[1].quantity", />=1/],
    ["a negative quantity", line({ quantity: -1 }), "lines[1].quantity", />=1/],
    ["a negative price", line({ unitPrice: -1 }), "lines[1].unitPrice", />=0/],
    ["a quantity over the limit", line({ quantity: LIMITS.quantity + 1 }), "lines[1].quantity", /<=1000000/],
    [
      "a price over the limit",
      line({ unitPrice: LIMITS.unitPrice + 1 }),
      "lines[1].unitPrice",
      /<=10000000000/,
    ],
    ["a boolean for a number", line({ quantity: true }), "lines[1].quantity", /number/],
    ["a list for a number", line({ quantity: [2] }), "lines[1].quantity", /number/],
    // Text.
    ["an empty text", { ...ORDER, customerId: "" }, "customerId", />=1/],
    ["an empty optional text", { ...ORDER, reference: "" }, "reference", />=1/],
    ["a space", { ...ORDER, customerId: " " }, "customerId", SPACE],
    ["a space before", { ...ORDER, reference: " INV-1" }, "reference", SPACE],
    ["a no-break space after", line({ sku: "A\u00a0" }), "lines[1].sku", SPACE],
    ["a byte order mark before", line({ sku: "\ufeffA" }), "lines[1].sku", SPACE],
    ["a NUL", { ...ORDER, customerId: "a\u0000b" }, "customerId", CHARACTERS],
    ["a line feed", { ...ORDER, reference: "a\nb" }, "reference", CHARACTERS],
    ["an escape sequence", { ...ORDER, customerId: "\u001b[31mred" }, "customerId", CHARACTERS],
    ["a C1 control", { ...ORDER, customerId: "a\u0085b" }, "customerId", CHARACTERS],
    ["a DEL", line({ sku: "a\u007fb" }), "lines[1].sku", CHARACTERS],
    ["the first half of a character", line({ sku: `A${HIGH_SURROGATE}` }), "lines[1].sku", CHARACTERS],
    ["the halves the wrong way round", line({ sku: "\ude00\ud83d" }), "lines[1].sku", CHARACTERS],
    ["a lone half in the address", shipTo({ city: HIGH_SURROGATE }), "shipTo.city", CHARACTERS],
    [
      "a control character in the token",
      { ...ORDER, paymentToken: "tok_secret\u0007" },
      "paymentToken",
      CHARACTERS,
    ],
    // Lengths, one over.
    ["a long customerId", { ...ORDER, customerId: "x".repeat(65) }, "customerId", /<=64 characters/],
    ["a long reference", { ...ORDER, reference: "é".repeat(65) }, "reference", /<=64 characters/],
    ["a long sku", line({ sku: FACE.repeat(65) }), "lines[1].sku", /<=64 characters/],
    [
      "a long token",
      { ...ORDER, paymentToken: `tok_secret_${"x".repeat(245)}` },
      "paymentToken",
      /<=255 characters/,
    ],
    [
      "a very long token",
      { ...ORDER, paymentToken: "tok_secret".repeat(40_000) },
      "paymentToken",
      /<=255 characters/,
    ],
    ["a long line of the address", shipTo({ line1: "x".repeat(201) }), "shipTo.line1", /<=200 characters/],
    ["a long postal code", shipTo({ postalCode: "1".repeat(21) }), "shipTo.postalCode", /<=20 characters/],
    // Codes.
    ["a currency in small letters", { ...ORDER, currency: "eur" }, "currency", /three capital letters/],
    ["a currency of four letters", { ...ORDER, currency: "EURO" }, "currency", /three capital letters/],
    ["a currency and a line feed", { ...ORDER, currency: "EUR\n" }, "currency", /three capital letters/],
    ["a currency that does not exist", { ...ORDER, currency: "XQZ" }, "currency", /ISO 4217/],
    ["a country in small letters", shipTo({ country: "us" }), "shipTo.country", /ISO 3166-1/],
    ["a country by its name", shipTo({ country: "Ohio" }), "shipTo.country", /ISO 3166-1/],
    ["no country", shipTo({ country: undefined }), "shipTo.country", MISSING],
    // Lists.
    ["no line at all", { ...ORDER, lines: [] }, "lines", />=1 items/],
    ["a line too many", { ...ORDER, lines: times(LIMITS.lines + 1, LINE) }, "lines", /<=2000 items/],
    ["far too many lines", { ...ORDER, lines: times(200_000, 1) }, "lines", /<=2000 items/],
    // Names.
    ["an unknown field", { ...ORDER, color: "red" }, "color", UNKNOWN],
    ["a total that is another one", { ...ORDER, total: 2400 }, "total", /is 2400, but lines of 2500/],
    ["a field of an answer", { ...ORDER, status: "DELIVERED" }, "status", UNKNOWN],
    ["an unknown field of a line", line({ price: 1 }), "lines[1].price", UNKNOWN],
    ["an unknown field of the address", shipTo({ street: "Elm Street" }), "shipTo.street", UNKNOWN],
    ["a field in other letters", { ...ORDER, Reference: "x" }, "Reference", UNKNOWN],
    ["a field that all objects have", { ...ORDER, constructor: { prototype: {} } }, "constructor", UNKNOWN],
    ["toString", { ...ORDER, toString: "x" }, "toString", UNKNOWN],
    ["an empty name", { ...ORDER, "": 1 }, '[""]', UNKNOWN],
    ["a name that looks like a path", { ...ORDER, "lines[0].sku": 1 }, '["lines[0].sku"]', UNKNOWN],
    ["a name with a lone half", { ...ORDER, [HIGH_SURROGATE]: 1 }, `["\\ud83d"]`, UNKNOWN],
    ["a prototype", and('"__proto__":{"isAdmin":true}', ORDER), "__proto__", UNKNOWN],
    [
      "a prototype of the address",
      withJson("shipTo", and('"__proto__":{}', SHIP_TO)),
      "shipTo.__proto__",
      UNKNOWN,
    ],
    [
      "a prototype as metadata",
      and('"metadata":{"__proto__":"x","a":"b"}', ORDER),
      "metadata.__proto__",
      "can't have this name: programs take it for something else",
    ],
  ])("%s", async (_, body, path, message) => {
    const answer = await refused(body);
    expect(answer.status).toBe(422);
    expect(answer.body).toMatchObject({ type: "urn:conveyor:problem:invalid-input", status: 422 });
    expect(answer.body.errors).toEqual([
      { path, message: typeof message === "string" ? message : expect.stringMatching(message) },
    ]);
  });

  test.each(["1e400", "-1e400", "9007199254740993", "123456789012345678901234567890", "1e300"])(
    "the number %s",
    async (number) => {
      const answer = await refused(withJson("lines", `[{"sku":"A","quantity":${number},"unitPrice":1}]`));
      expect(answer.status).toBe(422);
      expect(answer.body.errors?.map((error) => error.path)).toContain("lines[0].quantity");
    },
  );
});

test("every fault is told at once", async () => {
  const answer = await refused({
    currency: "?",
    lines: [{ ...LINE, quantity: 0, unitPrice: "9" }, { sku: "", extra: 1 }, 3],
    reference: 5,
    paymentToken: "tok_secret\n4711",
    shipTo: { ...SHIP_TO, city: " Springwood", planet: "Earth" },
    urgent: true,
  });
  expect(answer.status).toBe(422);
  expect(answer.body.errors?.map((error) => error.path).toSorted()).toEqual(
    [
      "customerId",
      "currency",
      "lines[0].quantity",
      "lines[0].unitPrice",
      "lines[1].sku",
      "lines[1].quantity",
      "lines[1].unitPrice",
      "lines[1].extra",
      "lines[2]",
      "reference",
      "paymentToken",
      "shipTo.city",
      "shipTo.planet",
      "urgent",
    ].toSorted(),
  );
});

test("when each of the most lines has some, the first hundred faults are told, and how many there are", async () => {
  const lines = times(LIMITS.lines, { sku: " ", quantity: 0.5, unitPrice: -1 });
  const answer = await refused({ ...ORDER, lines });
  expect(answer.status).toBe(422);
  expect(answer.body.errors).toHaveLength(100);
  expect(answer.body.errors?.at(-1)?.path).toBe("lines[33].sku");
  expect(answer.body.detail).toBe(`the first 100 of ${3 * LIMITS.lines} faults`);
});

describe("a body that is no order at all", () => {
  test.each([
    ["null", "null"],
    ["a number", "17"],
    ["a text", '"tok_secret_4711"'],
    ["true", "true"],
    ["a list of orders", JSON.stringify([ORDER])],
  ])("%s", async (_, body) => {
    const answer = await refused(body);
    expect(answer.status).toBe(422);
    expect(answer.body.errors).toEqual([{ path: "", message: expect.stringMatching(/expected object/) }]);
  });

  test("nothing: its missing fields are told", async () => {
    const answer = await refused("{}");
    expect(answer.status).toBe(422);
    expect(answer.body.errors).toEqual(
      [
        ["currency", MISSING],
        ["lines", MISSING],
        ["customerId", NOBODY],
      ].map(([path, message]) => ({ path, message })),
    );
  });

  test("lists in lists, as deep as a body may be", async () => {
    const depth = Math.floor(API_LIMITS.bodyBytes / 2) - 1_000;
    const answer = await refused(and(`"x":${"[".repeat(depth)}${"]".repeat(depth)}`, ORDER));
    expect(answer.status).toBe(422);
    expect(answer.body.errors).toEqual([{ path: "x", message: UNKNOWN }]);
  });

  test("objects in objects, as deep as a body may be", async () => {
    const depth = Math.floor(API_LIMITS.bodyBytes / 6) - 1_000;
    const nested = `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
    const answer = await refused(withJson("customerId", nested));
    expect(answer.status).toBe(422);
    expect(answer.body.errors).toEqual([{ path: "customerId", message: expect.stringMatching(/string/) }]);
  });
});

describe("a total that cannot be kept exactly is refused", () => {
  const message = "the total must not exceed 9007199254740991 minor units";

  test.each([
    [
      "by one",
      [
        { quantity: 900_719, unitPrice: 10_000_000_000 },
        { quantity: 1, unitPrice: 9_254_740_992 },
      ],
    ],
    ["by one line of the largest kind", [{ quantity: LIMITS.quantity, unitPrice: LIMITS.unitPrice }]],
    [
      "by all lines together",
      times(LIMITS.lines, { quantity: LIMITS.quantity, unitPrice: LIMITS.unitPrice }),
    ],
  ])("%s", async (_, lines: { quantity: number; unitPrice: number }[]) => {
    const answer = await refused({ ...ORDER, lines: lines.map((amounts) => ({ sku: "A", ...amounts })) });
    expect(answer.status).toBe(422);
    expect(answer.body.errors).toEqual([{ path: "lines", message }]);
  });
});
