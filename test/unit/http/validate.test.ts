import { describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { Problem } from "../../../src/api/problem.ts";
import { parseParameters } from "../../../src/api/validate.ts";

const schema = z.strictObject({
  name: z.string(),
  "X-Header": z.string().optional(),
  nested: z.strictObject({ list: z.array(z.strictObject({ count: z.int() })) }).optional(),
});

/** The faults that are told of this input. */
function faults(input: unknown) {
  return refusal(input)?.errors ?? [];
}

function refusal(input: unknown) {
  try {
    parseParameters(schema, input);
  } catch (error) {
    if (error instanceof Problem) return error.options;
    throw error;
  }
  return undefined;
}

test("input in the shape of the schema comes out of it", () => {
  expect(parseParameters(schema, { name: "a" })).toEqual({ name: "a" });
});

describe("the path of a fault", () => {
  test.each<[string, unknown]>([
    ["", 5],
    ["name", { name: 5 }],
    ["X-Header", { name: "a", "X-Header": 5 }],
    ["nested", { name: "a", nested: [] }],
    ["nested.list", { name: "a", nested: { list: {} } }],
    ["nested.list[1]", { name: "a", nested: { list: [{ count: 1 }, null] } }],
    ["nested.list[1].count", { name: "a", nested: { list: [{ count: 1 }, { count: "2" }] } }],
    ["nested.list[0].more", { name: "a", nested: { list: [{ count: 1, more: 1 }] } }],
    ["other", { name: "a", other: 1 }],
    ['[""]', { name: "a", "": 1 }],
    ['["a b"]', { name: "a", "a b": 1 }],
    ['["nested.list"]', { name: "a", "nested.list": 1 }],
    ['nested["say \\"so\\""]', { name: "a", nested: { list: [], 'say "so"': 1 } }],
    ['["\\n"]', { name: "a", "\n": 1 }],
  ])("%j", (path, input) => {
    expect(faults(input)).toEqual([{ path, message: expect.any(String) }]);
  });
});

test("a field that is missing is called missing, one that is null is not", () => {
  expect(faults({})).toEqual([{ path: "name", message: "is missing" }]);
  expect(faults({ name: null })).toEqual([{ path: "name", message: expect.stringContaining("null") }]);
});

test("each unknown field is a fault of its own", () => {
  const message = "is not a field of this request";
  expect(faults({ name: "a", b: 1, c: 2 })).toEqual([
    { path: "b", message },
    { path: "c", message },
  ]);
});

describe("of more faults than anybody reads, the first hundred are told", () => {
  test("of values", () => {
    const list = Array.from({ length: 2_000 }, () => ({}));
    const { errors, detail } = refusal({ name: "a", nested: { list } })!;
    expect(errors).toHaveLength(100);
    expect(errors?.at(-1)).toEqual({ path: "nested.list[99].count", message: "is missing" });
    expect(detail).toBe("the first 100 of 2000 faults");
  });

  test("of unknown fields", () => {
    const unknown = Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [`n${index}`, 0]));
    const { errors, detail } = refusal({ ...unknown })!;
    expect(errors).toHaveLength(100);
    expect(detail).toBe("the first 100 of 2001 faults");
  });

  test("and of a name what one can read", () => {
    const [fault] = faults({ name: "a", ["x".repeat(100_000)]: 0 });
    expect(fault?.path).toBe(`["${"x".repeat(100)}…"]`);
    // Not half of a character.
    expect(faults({ name: "a", [`${"x".repeat(99)}😀`]: 0 })[0]?.path).toBe(`["${"x".repeat(99)}\ufffd…"]`);
  });
});
