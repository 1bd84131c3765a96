import { describe, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { redactor } from "../../src/platform/redact.ts";

const SECRET = `tok_Live/4711+é"😀&x`;
const redact = redactor([SECRET, "12 St James's Square"]);

const url = encodeURIComponent(SECRET);

describe("a secret is taken out", () => {
  test.each([
    ["as it is", SECRET],
    ["in capital letters", SECRET.toUpperCase()],
    ["in small letters", SECRET.toLowerCase()],
    ["encoded for a URL", url],
    ["encoded for a URL in small letters", url.toLowerCase()],
    ["encoded for a URL in part", SECRET.replace("/", "%2F")],
    ["encoded for a URL twice", encodeURIComponent(url)],
    ["encoded in a form", new URLSearchParams({ a: SECRET }).toString().slice(2)],
    ["with every byte encoded", Array.from(Buffer.from(SECRET), (byte) => `%${byte.toString(16)}`).join("")],
    ["in a JSON string", JSON.stringify(SECRET).slice(1, -1)],
    [
      "in JSON of ASCII",
      SECRET.replaceAll(
        /[^\x20-\x7e]/g,
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
      ).replaceAll('"', '\\"'),
    ],
    ["in HTML", SECRET.replaceAll("&", "&amp;").replaceAll('"', "&quot;")],
    ["in HTML with numbers", SECRET.replaceAll('"', "&#34;").replaceAll("&x", "&#x26;x")],
    ["in base64", Buffer.from(SECRET).toString("base64").replace(/=+$/, "")],
    ["in base64 for URLs", Buffer.from(SECRET).toString("base64url")],
    ["in hexadecimal digits", Buffer.from(SECRET).toString("hex")],
    [
      "in the escapes of other languages",
      SECRET.replaceAll(/[\x20-\x7e]/g, (unit) => `\\x${unit.charCodeAt(0).toString(16)}`),
    ],
  ])("%s", (_name, written) => {
    const [told, rest] = redact(`cannot charge <${written}>, try again`).split("[redacted]");
    expect(told).toBe("cannot charge <");
    // Of base64, the last digit may tell less than a character.
    expect(rest).toMatch(/^.?>, try again$/);
  });

  test.each(["a:", "ab:", "abc:"])("in base64 after %s", (before) => {
    const written = Buffer.from(`${before}${SECRET}:z`).toString("base64");
    const told = redact(`authorization: Basic ${written}`);
    expect(told).toMatch(/^authorization: Basic \S{0,8}\[redacted\]\S{0,8}$/);
  });

  test.each(["base64", "base64url", "hex"] as const)("in base64 within %s", (outer) => {
    const inner = Buffer.from(`user:${SECRET}`).toString("base64");
    const told = redact(`header <${Buffer.from(`Basic ${inner}`).toString(outer)}>`);
    expect(told).toMatch(/^header <\S{0,30}\[redacted\]\S{0,8}>$/);
  });

  const ascii = (text: string) =>
    text.replaceAll(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  test.each([
    ["a name", "Zoë 😀"],
    ["a quotation and a slash", 'a "b" c/d'],
    ["lines", "first line\nsecond\tline\r\n"],
    ["backslashes", "C:\\new\\\\share\\"],
    ["a backslash before a quotation mark", 'a\\"b"'],
    ["what looks like an escape", "C:\\u0041\\x41bc"],
    ["what looks like an escape of a URL", "100%25 &lt;"],
  ])("in JSON within JSON, however deep, and as it is: %s", (_name, secret) => {
    const redactIt = redactor([secret]);
    let written = secret;
    for (let depth = 0; depth <= 4; depth++) {
      expect(`${depth} ${redactIt(`<${written}>`)}`).toBe(`${depth} <[redacted]>`);
      written = ascii(JSON.stringify(written).slice(1, -1)).replaceAll("/", "\\/");
    }
  });

  test("of several, each, where they overlap once", () => {
    expect(redactor(["abcdef", "defghi", "abc"])("xabcdefghiy abc")).toBe("x[redacted]y [redacted]");
    expect(redact("to 12%20St+James&#39;s Square")).toBe("to [redacted]");
  });
});

test("what is no secret stays as it was, escapes included", () => {
  const texts = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string().map(encodeURIComponent),
    fc.constantFrom("%", "%zz", "%ff%c3", "&nope;", "&#99999999;", "\\u12", 'a\\"b', "İstanbul %41"),
  );
  fc.assert(
    fc.property(texts, texts, (before, after) => {
      expect(redactor(["never-in-there-4711"])(before + after)).toBe(before + after);
    }),
  );
});

test("whatever is around a secret stays", () => {
  const around = fc.string({
    unit: fc.constantFrom("a", " ", "%41", "&lt;", "\\n", "é", "😀", "%F0%9F%98%80"),
  });
  fc.assert(
    fc.property(around, around, (before, after) => {
      expect(redact(`${before}|${url}|${after}`)).toBe(`${before}|[redacted]|${after}`);
    }),
  );
});
