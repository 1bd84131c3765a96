import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
const [, detail = ""] = readFileSync(path.join(REPOSITORY, "docs/failure-modes.md"), "utf8").split(
  "## In detail",
);
const rows = detail
  .split("\n")
  .filter((line) => /^\| (?!When|-)/.test(line))
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .map((cells) => ({ when: cells[1] ?? "", shownBy: cells.at(-2) ?? "" }));

describe("what the documentation says of a failure is shown by a test:", () => {
  test("there are rows", () => {
    expect(rows.length).toBeGreaterThan(20);
  });

  test.each(rows.map(({ when, shownBy }) => [when, shownBy]))("%s", (_when, shownBy) => {
    const named = [...shownBy.matchAll(/`([^`]+)` "([^"]+)"/g)];
    expect(named.length).toBeGreaterThan(0);
    for (const [, file, title] of named) {
      expect(readFileSync(path.join(REPOSITORY, `test/${file}.test.ts`), "utf8")).toContain(title);
    }
  });
});
