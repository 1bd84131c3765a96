import { describe, expect, test } from "@jest/globals";
import { html, href, type Content } from "../../../src/api/console/html.ts";

describe("what is put into a template", () => {
  test.each([
    [
      "text with every character that means something",
      `<b a="1" b='2'>&amp;`,
      "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;amp;",
    ],
    ["a number", 1_000, "1000"],
    ["nothing", undefined, ""],
    ["null", null, ""],
    ["false, as of a condition", false, ""],
    ["a list", ["<", 1, undefined], "&lt;1"],
  ] as [string, Content, string][])("is escaped: %s", (_, value, text) => {
    expect(String(html`<p title="${value}">${value}</p>`)).toBe(`<p title="${text}">${text}</p>`);
  });

  test("stays as it is when it comes out of a template, also in a list", () => {
    const items = ["a", "<"].map((text) => html`<b>${text}</b>`);
    expect(String(html`<p>${items}</p>`)).toBe("<p><b>a</b><b>&lt;</b></p>");
  });

  test("can't end an attribute that has no quotes", () => {
    expect(() => html`<a href=${"x onclick=alert(1)"}></a>`).toThrow("quote the");
  });

  test("can't pass for HTML by looking like it", () => {
    const forged = JSON.parse('{"text": "<script>"}');
    expect(String(html`${JSON.stringify(forged)}`)).not.toContain("<script>");
    expect(() => String(html`${forged}`)).toThrow();
  });
});

test("an address has what was given, encoded, and nothing that is empty", () => {
  expect(href("/a", { q: "x&y=1", none: undefined, empty: "", page: 2 })).toBe("/a?q=x%26y%3D1&page=2");
  expect(href("/a")).toBe("/a");
});
