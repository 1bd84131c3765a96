import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { parseSync } from "@swc/core";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
const SOURCES = ["src", "db", "queues", "workers"];
/** What stands in the log and is written by a library. */
const OF_LIBRARIES = new Map([["Socket timeout", "node_modules/ioredis/built/Redis.js"]]);
/** Letters of a template that are the same each time; with fewer, it would fit whatever the page says. */
const LEAST_FIXED = 8;

type Node = Readonly<Record<string, unknown>>;

/** Every node of the syntax of each file that was asked for. */
const parsed = new Map<string, Node[]>();

interface Row {
  readonly when: string;
  /** All of its cells but the last. */
  readonly text: string;
  /** The last cell: the tests. */
  readonly shownBy: string;
}

const rows = readFileSync(path.join(REPOSITORY, "docs/failure-modes.md"), "utf8")
  .split("## In detail")[1]!
  .split("\n")
  .filter((line) => /^\| (?!When|-)/.test(line))
  .map((line): Row => {
    const cells = line.split("|").map((cell) => cell.trim());
    return { when: cells[1] ?? "", text: cells.slice(1, -2).join(" | "), shownBy: cells.at(-2) ?? "" };
  });

const quotes = rows.flatMap(({ when, text }) =>
  [...text.matchAll(/"([^"]+)"/g)].map(([, quote = ""]) => [quote, when] as const),
);

describe("the test that the documentation names exists:", () => {
  test("there are rows", () => {
    expect(rows.length).toBeGreaterThan(20);
  });

  test.each(rows.map(({ when, shownBy }) => [when, shownBy]))("%s", (_when, shownBy) => {
    const named = [...shownBy.matchAll(/`([^`]+)` "([^"]+)"/g)];
    // Nothing else stands there, such as a title whose file is missing.
    expect(named.map(([text]) => text).join("; ")).toBe(shownBy);
    for (const [, file = "", title] of named) expect(titlesOf(file)).toContain(title);
  });
});

describe("what the documentation quotes is in the code:", () => {
  const written = SOURCES.flatMap(sourceFiles).flatMap(nodesOfFile).flatMap(textOf);
  const fixed = written.flatMap((parts) => (parts.length === 1 ? parts : [])).join("\n");
  const templates = written
    .filter((parts) => parts.length > 1 && parts.join("").replaceAll(/\W/g, "").length >= LEAST_FIXED)
    .map((parts) => ({ parts, pattern: patternOf(parts) }));

  test.each(quotes)("%s (%s)", (quote) => {
    const library = OF_LIBRARIES.get(quote);
    if (library) return expect(readFileSync(path.join(REPOSITORY, library), "utf8")).toContain(quote);
    const isWritten =
      fixed.includes(quote) ||
      templates.some(
        ({ parts, pattern }) => parts.some((part) => part.includes(quote)) || pattern.test(quote),
      );
    expect(isWritten ? quote : "nothing in the source").toBe(quote);
  });
});

/** What a template may become. */
function patternOf(parts: readonly string[]): RegExp {
  const pattern = parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")).join(".+");
  return new RegExp(`^${pattern}$`);
}

/** The titles of a test file's tests and groups, and what `each` puts into them. */
function titlesOf(name: string): string[] {
  const file = path.join(REPOSITORY, `test/${name}.test.ts`);
  return (existsSync(file) ? nodesOfFile(file) : []).flatMap((node) => {
    if (node["type"] !== "CallExpression" || !isOfTests(node["callee"])) return [];
    return nodesIn(node["arguments"])
      .flatMap((argument) => nodesIn(argument["expression"]))
      .filter((argument) => !/Function/.test(String(argument["type"])))
      .flatMap((argument) => nodesOf(argument).flatMap(textOf))
      .map((parts) => parts.join("…"));
  });
}

/** `test`, `describe.each(table)`, `withPython` and so on, none of them skipped. */
function isOfTests(callee: unknown): boolean {
  if (!isNode(callee)) return false;
  if (callee["type"] === "Identifier") return /^(test|describe|with\w+)$/.test(String(callee["value"]));
  if (callee["type"] === "CallExpression") return isOfTests(callee["callee"]);
  const property = callee["property"];
  return isNode(property) && property["value"] === "each" && isOfTests(callee["object"]);
}

/** The fixed parts of a string or a template; nothing for other nodes. */
function textOf(node: Node): string[][] {
  if (node["type"] === "StringLiteral") return [[String(node["value"])]];
  if (node["type"] !== "TemplateLiteral") return [];
  return [nodesIn(node["quasis"]).map((part) => String(part["cooked"]))];
}

function nodesOf(value: unknown, found: Node[] = []): Node[] {
  if (!isNode(value)) return found;
  if (!Array.isArray(value)) found.push(value);
  for (const key in value) if (key !== "span") nodesOf(value[key], found);
  return found;
}

function nodesIn(value: unknown): Node[] {
  return [value].flat().filter(isNode);
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null;
}

function nodesOfFile(file: string): Node[] {
  const read = () => nodesOf(parseSync(readFileSync(file, "utf8"), { syntax: "typescript" }));
  const nodes = parsed.get(file) ?? read();
  parsed.set(file, nodes);
  return nodes;
}

function sourceFiles(folder: string): string[] {
  return readdirSync(path.join(REPOSITORY, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => path.join(REPOSITORY, folder, name));
}
