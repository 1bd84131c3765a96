import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { fraudCheck } from "../../docs/examples/fraud-check.ts";
import { fill, inPlace, lifeAsMermaid, lifeAsText, sections } from "../../docs/sections.ts";
import packageJson from "../../package.json" with { type: "json" };
import { VARIABLES } from "../../src/composition/variables.ts";
import { order, orderRequest, problem } from "../../src/api/schemas.ts";
import { lifecycle, Lifecycle } from "../../src/order/lifecycle.ts";
import { PIPELINE } from "../../src/order/pipeline.ts";
import { defineStage, Rejection, type Stage, type StageContext } from "../../src/order/stage.ts";
import type { Order } from "../../src/order/order.ts";
import { SCENARIOS } from "../../tools/chaos/options.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const DOCUMENTS = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...readdirSync(path.join(ROOT, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];
/** What the recipe has its reader write. */
const NEW_STAGE = "/src/order/stages/fraud-check.ts";
const SOURCES = ["db", "docs", "examples", "queues", "src", "test", "tools", "workers"].flatMap((folder) =>
  readdirSync(path.join(ROOT, folder), { encoding: "utf8", recursive: true }).map(
    (file) => `/${folder}/${file}`,
  ),
);

function read(name: string): string {
  return readFileSync(path.join(ROOT, name), "utf8");
}

/** The anchors of a document's headings. */
function headingsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading.toLowerCase().replaceAll(" ", "-"),
  );
}

describe("filling in a document", () => {
  const parts = new Map([
    ["a", "first"],
    ["b", "second"],
  ]);

  test("writes each part between its markers, and leaves the rest alone", () => {
    const before = "x\n<!-- generated: a -->\nstale\n<!-- end -->\ny\n<!-- generated: b -->\n<!-- end -->\n";
    const after =
      "x\n<!-- generated: a -->\n\nfirst\n\n<!-- end -->\ny\n<!-- generated: b -->\n\nsecond\n\n<!-- end -->\n";
    expect(fill(before, parts)).toBe(after);
    expect(fill(after, parts)).toBe(after);
  });

  test.each([
    ["a part that is not known", "<!-- generated: c -->\n<!-- end -->\n", /no part is named "c"/],
    ["a part without an end", "<!-- generated: a -->\n", /pairs/],
    ["an end without a part", "<!-- end -->\n", /pairs/],
    ["a part within a part", "<!-- generated: a -->\n<!-- generated: b -->\n<!-- end -->\n", /does not end/],
  ])("refuses %s", (_name, text, message) => {
    expect(() => fill(text, parts)).toThrow(message);
  });
});

describe("the parts made from the code", () => {
  const configuration = sections(lifecycle).get("configuration") ?? "";

  test.each(Object.keys(VARIABLES))("%s has a row with a description", (name) => {
    expect(configuration).toMatch(
      new RegExp(`^\\| \`${name}\` \\| [^|]+ \\| (api|worker|migrate)[^|]* \\| \\S.* \\|$`, "m"),
    );
  });

  test("tell what stands when a variable is not set", () => {
    expect(configuration).toMatch(/`DATABASE_URL` \| \*\*required\*\*/);
    expect(configuration).toMatch(/`PORT` \| `3000`/);
    expect(configuration).toMatch(/`STAGE_ATTEMPTS` \| the stage's own/);
  });

  test("draw the life of an order, also of one with other stages", () => {
    const run = async () => ({});
    const short = new Lifecycle([
      defineStage({ name: "pack", to: "PACKED", run }),
      defineStage({ name: "send", to: "SENT", pointOfNoReturn: true, run }),
      defineStage({ name: "arrive", to: "ARRIVED", run }),
    ]);
    expect(lifeAsText(short)).toBe(
      [
        "CREATED ──pack─▶ PACKED ──send─▶ SENT ──arrive─▶ ARRIVED",
        "   │                │",
        "   └────────────────┴──▶ CANCELLED",
      ].join("\n"),
    );
    expect(
      lifeAsMermaid(short)
        .split("\n")
        .map((line) => line.trim()),
    ).toEqual([
      "stateDiagram-v2",
      "[*] --> CREATED",
      "CREATED --> PACKED: pack",
      "PACKED --> SENT: send",
      "SENT --> ARRIVED: arrive",
      "ARRIVED --> [*]",
      "CANCELLED --> [*]",
      "CREATED --> CANCELLED",
      "PACKED --> CANCELLED",
    ]);
  });

  test("list every metric that the code declares, and no other", () => {
    const declared = SOURCES.filter((file) => /^\/(src|db|queues|workers)\/.*\.ts$/.test(file)).flatMap(
      (file) => read(file).match(/(?<=name: ")conveyor_\w+/g) ?? [],
    );
    const listed = (sections(lifecycle).get("metrics") ?? "").match(/(?<=^\| `)conveyor_\w+/gm) ?? [];
    expect(listed.toSorted()).toEqual(declared.toSorted());
  });

  test("list the tokens that the payment provider knows", () => {
    const tokens = sections(lifecycle).get("payment tokens") ?? "";
    expect(tokens.match(/tok_\w+/g)).toEqual([
      "tok_1",
      "tok_approved",
      "tok_declined",
      "tok_pendingRefundFail",
      "tok_stumbles_N",
      "tok_down",
    ]);
  });
});

describe("the recipe for a new stage", () => {
  const context = {} as StageContext; // oxlint-disable-line no-unsafe-type-assertion -- the example uses none of it
  const byAccount = { total: 500_001, paymentToken: null } as Order; // oxlint-disable-line no-unsafe-type-assertion

  test("has a stage that fits between its neighbours", () => {
    // The reader may have added it.
    const stages: readonly Stage[] = PIPELINE;
    const [reserve, ...others] = stages.filter(({ name }) => name !== fraudCheck.name);
    if (reserve === undefined) throw new Error("the pipeline is empty");
    const longer = new Lifecycle([reserve, fraudCheck, ...others]);
    expect(longer.due(reserve.to)?.step).toBe(fraudCheck);
    expect(longer.canCancel(fraudCheck.to)).toBe(true);
  });

  test("has a stage that does what is said of it", async () => {
    expect(await fraudCheck.run(byAccount, context)).toBeInstanceOf(Rejection);
    expect(await fraudCheck.run({ ...byAccount, total: 500_000 }, context)).toEqual({ owed: 500_000 });
    expect(await fraudCheck.run({ ...byAccount, paymentToken: "tok_approved" }, context)).toEqual({
      owed: 0,
    });
  });

  test("shows the stage as it stands in its own folder", () => {
    const shown = inPlace(read("docs/examples/fraud-check.ts"));
    const imports = [...shown.matchAll(/from "(.*)"/g)].map(([, from = ""]) => from);
    expect(imports).not.toHaveLength(0);
    for (const from of imports) expect(existsSync(path.join(ROOT, "src/order/stages", from))).toBe(true);
  });

  test("shows the table as it is", () => {
    const shown = /```diff\n([\s\S]*?)```/.exec(read("docs/adding-a-stage.md"))?.[1] ?? "";
    const before = shown.split("\n").filter((line) => line.startsWith(" "));
    expect(before).not.toHaveLength(0);
    const table = read("src/order/pipeline.ts").split("\n");
    for (const line of before) expect(table).toContain(line.slice(1));
  });
});

describe.each(DOCUMENTS)("%s", (name) => {
  const text = read(name);

  test("links only to what is there", () => {
    const links = [...text.matchAll(/\]\(([^)]+)\)/g)].map(([, link = ""]) => link);
    for (const link of links.filter((each) => !each.startsWith("https:"))) {
      const [file = "", anchor] = link.split("#");
      const target = file === "" ? name : path.join(path.dirname(name), file);
      expect([link, existsSync(path.join(ROOT, target))]).toEqual([link, true]);
      if (anchor !== undefined)
        expect([link, headingsOf(read(target))]).toEqual([link, expect.arrayContaining([anchor])]);
    }
  });

  test("has as many cells in each row of a table as in its head", () => {
    const cellsOf = (row: string) => row.match(/(?<!\\)\|/g)?.length;
    for (const table of text.match(/^\|.*(\n\|.*)*/gm) ?? []) {
      const [head = "", ...rows] = table.split("\n");
      for (const row of rows) expect([row, cellsOf(row)]).toEqual([row, cellsOf(head)]);
    }
  });

  test("names only scripts that package.json has", () => {
    const scripts = [...text.matchAll(/npm run (?:--silent )?([a-z:]+)/g)].map(([, script = ""]) => script);
    for (const script of scripts) expect(Object.keys(packageJson.scripts)).toContain(script);
  });

  test("names only sources that are there", () => {
    const named = text.match(/\b[\w-][\w/-]*(?:\.test)?\.(?:ts|mjs|sql)\b/g) ?? [];
    for (const source of named)
      expect([source, [...SOURCES, NEW_STAGE].some((file) => file.endsWith(`/${source}`))]).toEqual([
        source,
        true,
      ]);
  });
});

test("docs/reliability.md names every scenario of the chaos runs", () => {
  for (const scenario of SCENARIOS)
    if (scenario !== "steady") expect(read("docs/reliability.md")).toContain(`--scenario ${scenario} `);
});

describe("the examples", () => {
  const text = read("README.md");
  const jsonIn = (markdown: string) =>
    [...markdown.matchAll(/```json\n([\s\S]*?)```/g)].map(([, json = ""]): unknown => JSON.parse(json));
  const blocks = jsonIn(text);

  test("send an order that is taken, and show the answer to it", () => {
    const sent: unknown = JSON.parse(/-d '(.*)'/.exec(text)?.[1] ?? "");
    const request = orderRequest.parse(sent);
    const answer = order.strict().parse(blocks[0]);
    expect(answer).toMatchObject({
      customerId: request.customerId,
      currency: request.currency,
      lines: request.lines,
    });
    expect(answer.total).toBe(request.lines.reduce((sum, line) => sum + line.quantity * line.unitPrice, 0));
  });

  test("show an order of every kind of thing that is taken", () => {
    expect(orderRequest.safeParse(jsonIn(read("docs/api.md"))[0])).toMatchObject({ success: true });
  });

  test("show a problem as the API tells it", () => {
    const [, shownProblem] = jsonIn(read("docs/api.md"));
    const shown = problem.strict().parse(shownProblem);
    const faults = orderRequest.safeParse({
      customerId: "cust-1",
      currency: "EUR",
      lines: [{ sku: "MUG-BLUE", quantity: 0, unitPrice: 1250 }],
      color: "red",
    }).error;
    expect(shown.errors?.[0]?.message).toBe(faults?.issues[0]?.message);
    expect(shown.errors).toHaveLength(faults?.issues.length ?? 0);
  });
});
