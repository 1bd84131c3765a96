import { describe, expect, test } from "@jest/globals";
import { chaos } from "../../../tools/chaos/command.ts";
import { CHAOS_HELP, readChaosOptions } from "../../../tools/chaos/options.ts";
import { runHere } from "../../support/tool.ts";

describe("readChaosOptions", () => {
  test("has defaults for everything, and others in other scenarios", () => {
    expect(readChaosOptions([])).toEqual({
      scenario: "steady",
      orders: 5_000,
      lengthMs: 180_000,
      seed: 1,
      workers: 4,
      isSplit: false,
      payLimit: undefined,
      apis: 2,
      units: 500,
      share: 0.3,
      poison: "hangs",
      customers: "each",
      call: "pay",
      patienceMs: 180_000,
      isPlanOnly: false,
      json: undefined,
    });
    expect(readChaosOptions(["--scenario", "flush"])).toMatchObject({ orders: 1_000 });
    expect(readChaosOptions(["--scenario", "frozen-redis"])).toMatchObject({
      orders: 3_000,
      lengthMs: 60_000,
    });
    expect(readChaosOptions(["--scenario", "flash-sale"])).toMatchObject({ orders: 10_000, units: 500 });
    expect(readChaosOptions(["--scenario", "poisoned"])).toMatchObject({
      orders: 300,
      lengthMs: 300_000,
      workers: 1,
      patienceMs: 900_000,
    });
  });

  test("reads options", () => {
    const args = [
      "--orders",
      "20",
      "--minutes",
      "0.5",
      "--seed",
      "7",
      "--workers",
      "2",
      "--apis",
      "1",
      "--split",
    ];
    const more = ["--limit", "5", "--units", "9", "--patience", "30", "--plan", "--json", "out.json"];
    const poisoned = ["--share", "0.5", "--poison", "fails", "--customers", "one", "--call", "ship"];
    expect(readChaosOptions([...args, ...more, ...poisoned])).toEqual({
      scenario: "steady",
      orders: 20,
      lengthMs: 30_000,
      seed: 7,
      workers: 2,
      isSplit: true,
      payLimit: 5,
      apis: 1,
      units: 9,
      share: 0.5,
      poison: "fails",
      customers: "one",
      call: "ship",
      patienceMs: 30_000,
      isPlanOnly: true,
      json: "out.json",
    });
  });
});

describe("the command", () => {
  const run = (...args: string[]) => runHere(chaos, ...args);

  test.each([
    ["--orders must be a whole number from 1 to 1000000", ["--orders", "none"]],
    ["--minutes must be a number from 0.05 to 1440", ["--minutes", "0"]],
    ["--seed must be a whole number", ["--seed=-1"]],
    ["'--seed' argument is ambiguous; see npm run chaos -- --help", ["--seed", "-1"]],
    ["--workers must be a whole number", ["--workers", "0"]],
    ["--limit must be a whole number", ["--limit", "0"]],
    ["--split needs at least two workers", ["--split", "--workers", "1"]],
    [
      "--scenario must be one of steady, flush, frozen-redis, frozen-mysql, flash-sale, relay, failover",
      ["--scenario", "war"],
    ],
    ["--plan is only for the scenario steady", ["--plan", "--scenario", "flush"]],
    ["--json must name a file", ["--json", ""]],
    ['"7" is not an option; see npm run chaos -- --help', ["7"]],
    ["Unknown option '--sed'", ["--sed", "7"]],
  ])("ends with 2 and one line for wrong options: %s", async (message, args) => {
    const { code, stdout, stderr } = await run(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  test("helps", async () => {
    expect(await run("--help")).toEqual({ code: 0, stdout: `${CHAOS_HELP}\n`, stderr: "" });
  });

  test("shows the plan, and starts nothing", async () => {
    const { code, stdout } = await run("--plan", "--seed", "7");
    expect(code).toBe(0);
    expect(stdout).toContain("redis-flushed");
    expect(await run("--plan", "--seed", "7")).toMatchObject({ stdout });
  });
});
