import { describe, expect, it } from "@jest/globals";
import { readReplayOptions } from "../../tools/cli/replay/options.ts";
import { findTarget } from "../../tools/cli/target.ts";
import { counted, printable, shown } from "../../tools/shared/text.ts";

const HERE = { conveyorUrl: "http://127.0.0.1:3000", apiKey: "ck_here" };

describe("findTarget", () => {
  it("takes what the environment names, before what runs here", () => {
    const environment = { CONVEYOR_URL: "https://orders.example/api", CONVEYOR_API_KEY: "key" };
    expect(findTarget(environment, () => HERE)).toEqual({
      url: new URL("https://orders.example/api"),
      apiKey: "key",
    });
  });

  it("takes what runs here, with a key of one's own if there is one", () => {
    const url = new URL(HERE.conveyorUrl);
    expect(findTarget({ CONVEYOR_URL: "" }, () => HERE)).toEqual({ url, apiKey: "ck_here" });
    expect(findTarget({ CONVEYOR_API_KEY: "mine" }, () => HERE)).toEqual({ url, apiKey: "mine" });
  });

  it.each([
    ["run `npm start`, or set CONVEYOR_URL and CONVEYOR_API_KEY", {}],
    ["CONVEYOR_API_KEY is not", { CONVEYOR_URL: "http://localhost:3000" }],
    ["CONVEYOR_URL must be an address", { CONVEYOR_URL: "localhost:3000", CONVEYOR_API_KEY: "key" }],
    ["CONVEYOR_URL must be an address", { CONVEYOR_URL: "nonsense", CONVEYOR_API_KEY: "key" }],
    ["visible ASCII", { CONVEYOR_URL: "http://localhost:3000", CONVEYOR_API_KEY: "a key" }],
  ])("says what to do: %s", (message, environment) => {
    expect(() => findTarget(environment, () => undefined)).toThrow(message);
  });
});

describe("readReplayOptions", () => {
  it("has defaults for everything but the file", () => {
    expect(readReplayOptions(["sales.csv"])).toEqual({
      file: "sales.csv",
      concurrency: 50,
      patience: 120_000,
      json: undefined,
    });
  });

  it("reads options", () => {
    expect(
      readReplayOptions(["--concurrency", "5", "--timeout=7", "sales.csv", "--json", "out.json"]),
    ).toEqual({
      file: "sales.csv",
      concurrency: 5,
      patience: 7_000,
      json: "out.json",
    });
  });

  it("asks for help", () => {
    expect(readReplayOptions(["--help"])).toBeUndefined();
    expect(readReplayOptions(["-h", "sales.csv"])).toBeUndefined();
  });

  it.each([
    ["name one file", []],
    ["name one file", ["a.csv", "b.csv"]],
    ["name one file", [""]],
    ["Unknown option '--speed'; see npm run replay -- --help", ["a.csv", "--speed", "9"]],
    ["--concurrency must be a whole number from 1 to 1000", ["a.csv", "--concurrency", "0"]],
    ["--concurrency must be a whole number", ["a.csv", "--concurrency", "many"]],
    ["--timeout must be a whole number", ["a.csv", "--timeout", "1.5"]],
    ["--json", ["a.csv", "--json"]],
  ])("says in one line what is wrong: %s", (message, args) => {
    expect(() => readReplayOptions(args)).toThrow(message);
    expect(() => readReplayOptions(args)).toThrow(/^[^\n]*$/);
  });
});

describe("text for the terminal", () => {
  it("counts", () => {
    expect([counted(1, "order"), counted(1_234, "order"), counted(2, "SKU is", "SKUs are")]).toEqual([
      "1 order",
      "1,234 orders",
      "2 SKUs are",
    ]);
  });

  it("shows foreign text harmlessly", () => {
    expect(shown('a"b')).toBe(String.raw`"a\"b"`);
    expect(shown("x".repeat(50))).toBe(`"${"x".repeat(40)}…"`);
    expect(printable("\u001B[31mred\r\n\u202Eback\uD800")).toBe("·[31mred···back\uFFFD");
  });
});
