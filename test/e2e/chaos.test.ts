import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, jest, test } from "@jest/globals";
import { planFaults } from "../../tools/chaos/schedule.ts";
import { ToolRun } from "../support/tool.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(400_000);

/** What was lost is looked for sooner than usual; everything else is as it comes. */
const ENVIRONMENT = { SWEEP_AFTER_MS: "5000" };

const chaos = new ToolRun("chaos", ENVIRONMENT);

test("every promise holds while something of every family is broken under load", async () => {
  const report = path.join(chaos.folder, "report.json");
  const options = ["--seed", "7", "--orders", "350", "--minutes", "0.55", "--workers", "3"];
  const { code } = await chaos.start(...options, "--json", report).exited;
  const output = chaos.lines.join("\n");
  expect([code, output]).toEqual([0, expect.stringMatching(/^passed$/m)]);
  const { faults, checks, breaches, counts } = JSON.parse(readFileSync(report, "utf8"));
  const plan = planFaults({ seed: 7, lengthMs: 33_000, workers: 3, apis: 2 });
  const inOrder = (names: { name: string }[]) => names.map(({ name }) => name);
  expect(inOrder(faults)).toEqual(inOrder(plan));
  for (const { trouble } of faults) expect(trouble).toBeUndefined();
  expect(breaches).toBe(0);
  expect(checks).not.toHaveLength(0);
  expect(counts).toMatchObject({ customers: "350", accepted: "350" });
});

test("every promise holds with a stage in Python that is killed, slow, doubled and late, and calls back twice", async () => {
  const options = ["--scenario", "http-stage", "--orders", "60", "--minutes", "0.2", "--workers", "2"];
  const { code } = await chaos.start(...options, "--apis", "1").exited;
  const output = chaos.lines.join("\n");
  expect([code, output]).toEqual([0, expect.stringMatching(/^passed$/m)]);
  expect(output).toMatch(/^ {2}the stage was killed +[1-9]\d* times?$/m);
  for (const found of ["requests: doubled", "requests: slow", "requests: late answer", "callbacks"])
    expect(output).toMatch(new RegExp(`^  ${found} +[1-9]`, "m"));
});

test("nobody is charged or refunded twice by a Stripe that forgets keys, and loses, doubles and delays webhooks", async () => {
  const report = path.join(chaos.folder, "report.json");
  const options = ["--seed", "3", "--orders", "120", "--minutes", "0.25", "--workers", "2", "--apis", "1"];
  const { code } = await chaos.start("--scenario", "stripe", ...options, "--json", report).exited;
  const output = chaos.lines.join("\n");
  expect([code, output]).toEqual([0, expect.stringMatching(/^passed$/m)]);
  for (const found of ["payments that customers confirmed", "of which there was enough left"])
    expect(output).toMatch(new RegExp(`^  ${found} +[1-9]`, "m"));
}, 900_000);

test("no label is bought twice, and pieces add up, whatever EasyPost loses, doubles, delays and refuses, and whoever plans at once", async () => {
  const options = ["--seed", "3", "--orders", "60", "--minutes", "0.25", "--workers", "2", "--apis", "1"];
  const { code } = await chaos.start("--scenario", "easypost", ...options).exited;
  const output = chaos.lines.join("\n");
  expect([code, output]).toEqual([0, expect.stringMatching(/^passed$/m)]);
  const found = ["of which was refused", "orders with several parcels", "parcels called off"];
  for (const each of [...found, "addresses changed on the way"])
    expect(output).toMatch(new RegExp(`^  ${each} +[1-9]`, "m"));
}, 900_000);

test("a promise that is broken is told, and ends the command with 1", async () => {
  // Nothing is delivered within a second: parcels are on the road for two.
  const options = ["--orders", "10", "--minutes", "0.05", "--patience", "1", "--workers", "1", "--apis", "1"];
  const scenario = ["--scenario", "flash-sale", "--units", "10"];
  const { code } = await chaos.start(...options, ...scenario).exited;
  expect(code).toBe(1);
  const output = chaos.lines.join("\n");
  expect(output).toMatch(/^ {2}BREACH {2}every accepted order is DELIVERED or CANCELLED: \d+ \(of 10 /m);
  expect(output).toMatch(/^\d+ breach(es)?$/m);
});

test("the stream of events loses none and keeps their order, whoever feeds it dies, and when Redis loses it", async () => {
  const report = path.join(chaos.folder, "report.json");
  const options = ["--orders", "400", "--minutes", "0.5", "--workers", "3", "--apis", "1"];
  const { code } = await chaos.start("--scenario", "relay", ...options, "--json", report).exited;
  const output = chaos.lines.join("\n");
  expect([code, output]).toEqual([0, expect.stringMatching(/^passed$/m)]);
  const { faults, checks } = JSON.parse(readFileSync(report, "utf8"));
  const names: string[] = faults.map(({ name }: { name: string }) => name);
  expect(names.toSorted()).toEqual([
    "redis-flushed",
    "worker-frozen",
    ...Array.from({ length: 5 }, () => "worker-killed"),
  ]);
  expect(JSON.stringify(checks)).toContain("every event of the log was read from the stream");
});

test("Ctrl-C ends it with all that it has started", async () => {
  const running = chaos.start("--orders", "1000", "--minutes", "5");
  await waitFor("a fault", () => chaos.lines.some((line) => / lasted \d/.test(line)));
  expect(chaos.left()).not.toHaveLength(0);
  running.kill("SIGINT");
  expect(await running.exited).toEqual({ code: 130, signal: null });
  await waitFor("all processes to be gone", () => chaos.left().length === 0);
  expect(readdirSync(chaos.folder).filter((name) => name.startsWith("conveyor-"))).toEqual([]);
});
