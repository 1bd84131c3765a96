import * as fc from "fast-check";

/** Text that has brought down others. Where text is allowed, most of it is. */
export const nastyText: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ unit: "grapheme", maxLength: 40 }),
  fc.constantFrom(
    "",
    " ",
    "'; DROP TABLE orders; --",
    '" OR "1"="1',
    "1 UNION ALL SELECT NULL,NULL,NULL#",
    "\\",
    "%' ESCAPE '!",
    "${7*7}{{7*7}}<%= 7*7 %>#{7*7}",
    "<script>alert(1)</script>",
    `<img src=x onerror="alert(1)">`,
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "file:///etc/passwd",
    "%00%0d%0aSet-Cookie:%20x=1",
    "$(id)`id`|id;id",
    "(((((a+)+)+)+)+)+$",
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "toString",
    "null",
    "undefined",
    "NaN",
    "-Infinity",
    "1e309",
    "0x10",
    "-1",
    "true",
    "[object Object]",
    "😀".repeat(64),
    "👩‍👩‍👧‍👦",
    "\u202eright to left\u202c",
    "z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!",
    "ﷺ",
    "\uffff\ufffe",
    "2026-02-30T25:61:61Z",
    "9999-12-31T23:59:59.999-23:59",
    "00000000-0000-0000-0000-000000000000",
  ),
  fc
    .tuple(fc.constantFrom("x", "é", "😀", "'", "%", "\\"), fc.integer({ min: 60, max: 3_000 }))
    .map(([unit, count]) => unit.repeat(count)),
);

/** Text that no field takes: control characters, halves of characters, space around it. */
export const refusedText: fc.Arbitrary<string> = fc.oneof(
  fc
    .tuple(
      fc.string({ unit: "grapheme-ascii", maxLength: 10 }),
      fc.constantFrom(
        // Line ends and tabs are none of them: a note takes those.
        "\0",
        "\b",
        "\u001b[31m",
        "\u007f",
        "\u0085",
        "\ud83d",
        "\udc00\ud83d",
      ),
      fc.string({ unit: "grapheme-ascii", maxLength: 10 }),
    )
    .map((parts) => parts.join("")),
  fc
    .tuple(
      fc.constantFrom(" ", "\u00a0", "\u2003", "\ufeff", "\u3000"),
      fc.constantFrom("x", "INV-1"),
      fc.boolean(),
    )
    .map(([space, word, before]) => (before ? space + word : word + space)),
);

/** Names that objects have anyway, or that look like something else. */
export const nastyName: fc.Arbitrary<string> = fc.oneof(
  { weight: 2, arbitrary: nastyText },
  fc.constantFrom(
    "__proto__",
    "constructor",
    "prototype",
    "toJSON",
    "then",
    "length",
    "isAdmin",
    "status",
    "id",
    "total",
    "lines[0].sku",
    "$where",
  ),
);

const numbers = fc.oneof(
  fc.double().map((number) => JSON.stringify(number)),
  fc.bigInt().map(String),
  fc.constantFrom(
    "0",
    "-0",
    "-1",
    "0.1",
    "1e-400",
    "1e400",
    "-1e400",
    "1E+2",
    "2147483648",
    "9007199254740993",
  ),
  fc.integer({ min: 20, max: 2_000 }).map((digits) => "9".repeat(digits)),
);

const containers = fc.constantFrom(
  "[]",
  "{}",
  "[[]]",
  "[null]",
  '{"0":{},"length":1}',
  '{"$ne":null}',
  '{"__proto__":{"isAdmin":true}}',
  '{"constructor":{"prototype":{"isAdmin":true}}}',
  '{"toString":1,"valueOf":2,"toJSON":3}',
);

const deep = fc
  .tuple(
    fc.constantFrom(["[", "]"], ['{"a":', "}"], ['[{"__proto__":', "}]"]),
    fc.integer({ min: 100, max: 20_000 }),
  )
  .map(([[open, close], depth]) => `${open.repeat(depth)}1${close.repeat(depth)}`);

const enormous = fc
  .tuple(
    fc.constantFrom("1", "null", "{}", "[]", '""', '{"sku":"A"}'),
    fc.integer({ min: 1_000, max: 40_000 }),
  )
  .map(([item, count]) => `[${`${item},`.repeat(count)}${item}]`);

const manyNames = fc
  .integer({ min: 1_000, max: 10_000 })
  .map((count) => `{${Array.from({ length: count }, (_, index) => `"n${index}":0`).join(",")}}`);

/** A value as JSON text, of any kind. */
export const nastyJson: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: nastyText.map((text) => JSON.stringify(text)) },
  { weight: 6, arbitrary: numbers },
  { weight: 4, arbitrary: containers },
  { weight: 4, arbitrary: fc.json({ maxDepth: 3 }) },
  { weight: 3, arbitrary: fc.constantFrom("null", "true", "false") },
);

/** A value as JSON text, far deeper, longer or wider than any that is meant. */
export const hugeJson: fc.Arbitrary<string> = fc.oneof(deep, enormous, manyNames);

/** What stands for a value and is none. */
export const noJson: fc.Arbitrary<string> = fc.constantFrom(
  "NaN",
  "Infinity",
  "undefined",
  "'text'",
  "01",
  "0x10",
  "1.",
  ".5",
  "+1",
  "1_000",
  "1n",
  "tru",
  '"unfinished',
  '"\\x41"',
  '"\\u12"',
  '"a\nb"',
  '"a\0b"',
  "// comment\n1",
  "/* comment */1",
  "[1,]",
  '{"a":1,}',
  "{a:1}",
  "[",
  "}",
  "\ufeff1",
  "",
);

const printable = fc.string({ unit: "grapheme-ascii", maxLength: 60 });

/** What a header may hold by the letter of HTTP: no more than that. */
export const headerText: fc.Arbitrary<string> = fc.oneof(
  printable,
  fc.string({
    unit: fc.integer({ min: 0x80, max: 0xff }).map((code) => String.fromCharCode(code)),
    maxLength: 20,
  }),
  fc.constantFrom(
    "",
    ",",
    ";",
    "=",
    '"',
    '"unfinished',
    "\t\t",
    "a\tb",
    "*",
    "%0d%0a",
    "{}",
    "[]",
    "é",
    "null",
    "-1",
  ),
  fc.integer({ min: 256, max: 6_000 }).map((length) => "k".repeat(length)),
);

/** Text in an address: encoded in full, in part, twice, or wrongly. */
export const nastySegment: fc.Arbitrary<string> = fc.oneof(
  nastyText.filter((text) => text !== "").map(encoded),
  refusedText.map(encoded),
  nastyText.filter((text) => text !== "").map((text) => encodeURIComponent(encoded(text))),
  fc.uuid(),
  fc.uuid().map((uuid) => uuid.toUpperCase()),
  fc.constantFrom(
    "%",
    "%2",
    "%zz",
    "%E0%A4%A",
    "%ff",
    "%C0%80",
    "%ED%A0%BD",
    "%00",
    "%0a",
    "%0d%0aX:%20y",
    "%252e%252e",
    "..%2f..%2fpackage.json",
    "%2e%2e%2f",
    "..%5c..%5c",
    "..;",
    ";a=b",
    "a%2fb",
    "*",
    "~root",
    "%7Bid%7D",
    "{id}",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "00000000-0000-0000-0000-000000000000",
    "{01a20691-7a8e-777a-bbfa-0d625ad32c50}",
    "01a20691-7a8e-777a-bbfa-0d625ad32c50%00",
    "\u00e9\u00ff",
  ),
  fc.integer({ min: 100, max: 14_000 }).map((length) => "x".repeat(length)),
  fc.integer({ min: 17_000, max: 40_000 }).map((length) => "x".repeat(length)),
);

/** A query without its question mark. */
export function nastyQuery(names: readonly string[]): fc.Arbitrary<string> {
  const name = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom("limit", "cursor", ...names) },
    nastyName.map(encoded),
    fc.constantFrom("", "a[b][c]", "a[]", "__proto__[x]", "limit[$gt]", "%zz"),
  );
  const value = fc.oneof(
    nastySegment.filter((text) => text.length < 3_000),
    fc.constantFrom("", "0", "-1", "1e3", "201", "99999999999999999999", "true", "+", "&", "=", "#x"),
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString("base64url")),
    fc.uuid().map((id) => Buffer.from(`${id} `).toString("base64url")),
  );
  const parameter = fc.tuple(name, value).map(([left, right]) => `${left}=${right}`);
  return fc.oneof(
    { weight: 6, arbitrary: fc.array(parameter, { minLength: 1, maxLength: 4 }).map((all) => all.join("&")) },
    parameter.map((one) => `${one}&${one}`),
    fc.tuple(parameter, fc.integer({ min: 10, max: 900 })).map(([one, count]) => repeated(one, count)),
    fc.constantFrom("?", "&&&&", "=", "&=&=", "%", "a%=b", "??limit=1", "limit", "limit=1;limit=2"),
  );
}

function repeated(parameter: string, count: number): string {
  return Array.from({ length: count }, () => parameter.slice(0, 12)).join("&");
}

/** Like encodeURIComponent, which knows no halves of characters. */
function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}
