import { describe, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { repeatedNames } from "../../src/platform/json.ts";

describe("a name that stands twice in an object", () => {
  test.each([
    ['{"a":1,"b":2,"a":3}', "a"],
    ['{"a":1,"\\u0061":2}', "a"],
    ['[{"x":{"a":[1,{"b":1}],"c":{},"a":1}}]', "[0].x.a"],
    ['{"list":[0,{"b":1,"b":2}]}', "list[1].b"],
    ['{"":1,"":2}', ""],
    ['{"__proto__":1,"__proto__":2}', "__proto__"],
    ['\ufeff{ "a" : "\\"" , "a" : 1 }', "a"],
  ])("is found: %s", (text, name) => {
    expect(repeatedNames(text)).toEqual([name]);
  });

  test.each([
    '{"a":{"a":{"a":[{"a":1},{"a":1}]}}}',
    '{"a":"a","b":"\\",\\"a\\":","c":["a","a"]}',
    '["a","a",{"a":"a"}]',
    '"a"',
    "",
    '{"a',
    "]}{",
    '{"\\u00zz":1,"\\u00zz":2}',
  ])("is found in no other text: %s", (text) => {
    expect(repeatedNames(text)).toEqual([]);
  });

  test("is found in no text that JSON.stringify makes, and in each once something is repeated", () => {
    fc.assert(
      fc.property(fc.json(), fc.string(), (text, name) => {
        expect(repeatedNames(text)).toEqual([]);
        const quoted = JSON.stringify(name);
        expect(repeatedNames(`{${quoted}:${text},"${name.length}x":[],${quoted}:${text}}`)).toEqual([name]);
      }),
    );
  });

  test("is found in a large body in no time worth speaking of", () => {
    const text = JSON.stringify({
      lines: Array.from({ length: 5_000 }, (_, sku) => ({ sku, quantity: 1, name: "\\".repeat(40) })),
    });
    const begun = performance.now();
    expect(repeatedNames(text)).toEqual([]);
    expect(performance.now() - begun).toBeLessThan(1_000);
  });
});
