import { describe, expect, test } from "@jest/globals";
import { bench } from "../../../tools/bench/command.ts";
import { BENCH_HELP, readBenchOptions } from "../../../tools/bench/options.ts";
import { runHere } from "../../support/tool.ts";

describe("readBenchOptions", () => {
  test("measures everything in full, unless it is told otherwise", () => {
    expect(readBenchOptions([])).toEqual({
      size: "full",
      only: ["accept", "drain", "alone", "outage", "growth", "scaling"],
      against: undefined,
      json: undefined,
      isForDocs: false,
      from: undefined,
      profiles: undefined,
    });
  });

  test("reads options", () => {
    const args = [
      "--quick",
      "--only",
      "drain, accept",
      "--json",
      "a.json",
      "--write-docs",
      "--cpu-prof",
      "p",
      "--against",
      "v1",
    ];
    expect(readBenchOptions(args)).toEqual({
      size: "quick",
      only: ["accept", "drain"],
      against: "v1",
      json: "a.json",
      isForDocs: true,
      from: undefined,
      profiles: "p",
    });
    expect(readBenchOptions(["--smoke"])).toMatchObject({ size: "smoke" });
    expect(readBenchOptions(["--from", "a.json", "--write-docs"])).toMatchObject({ from: "a.json" });
  });
});

describe("the command", () => {
  const run = (...args: string[]) => runHere(bench, ...args);

  test.each([
    [
      '--only must be one or more of accept, drain, alone, outage, growth, scaling, not "speed"',
      ["--only", "accept,speed"],
    ],
    ["--only must be one or more of accept", ["--only", ""]],
    ["--json must name a file", ["--json", ""]],
    ["--cpu-prof must name a folder", ["--cpu-prof", ""]],
    ["--against must name a commit", ["--against", ""]],
    ["--against compares accept and drain", ["--against", "HEAD", "--only", "alone"]],
    ["--from measures nothing", ["--from", "a.json", "--against", "HEAD"]],
    ["--quick and --smoke are mutually exclusive", ["--quick", "--smoke"]],
    ["--from measures nothing", ["--from", "a.json", "--quick"]],
    ['"accept" is not an option; see npm run bench -- --help', ["accept"]],
    ["Unknown option '--fast'", ["--fast"]],
  ])("ends with 2 and one line for wrong options: %s", async (message, args) => {
    const { code, stdout, stderr } = await run(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  test("helps", async () => {
    expect(await run("--help")).toEqual({ code: 0, stdout: `${BENCH_HELP}\n`, stderr: "" });
  });

  test.each([
    ["/nowhere/at/all.json", "can't be written (ENOENT)", ["--json", "/nowhere/at/all.json"]],
    ["a file that is not there", "is not a report of a run (ENOENT)", ["--from", "/nowhere/at/all.json"]],
    ["a file of something else", "is not a report of a run", ["--from", "package.json"]],
  ])("refuses %s, before anything is measured", async (_what, message, args) => {
    await expect(run(...args)).rejects.toThrow(message);
  });
});
