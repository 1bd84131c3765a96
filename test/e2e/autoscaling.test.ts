import path from "node:path";
import { describe, expect, jest, test } from "@jest/globals";
import { spawnGuarded } from "../../tools/launcher/guard.ts";
import { endWithJest } from "../support/end-with-jest.ts";
import { canHavePrometheus, findPrometheus, PROMETHEUS_START_MS } from "../support/prometheus.ts";

jest.setTimeout(PROMETHEUS_START_MS);

const REPOSITORY = path.resolve(import.meta.dirname, "../..");

(canHavePrometheus ? describe : describe.skip)("an autoscaler with the rules of deploy/kubernetes", () => {
  test("starts workers in a flash sale and stops them after it, and nothing is lost", async () => {
    await findPrometheus();
    endWithJest();
    const lines: string[] = [];
    const script = ["--import", "tsx", "tools/bench/autoscaling.ts"];
    const args = ["--minutes", "1", "--peak", "30", "--speed", "60"];
    const run = spawnGuarded(process.execPath, [...script, ...args], {
      cwd: REPOSITORY,
      env: { PATH: process.env["PATH"], HOME: process.env["HOME"] },
      onLine: (line) => lines.push(line),
    });
    const { code } = await run.exited;
    expect({ code, lines }).toMatchObject({ code: 0 });
    const workers = lines.flatMap((line) => {
      const [, count] = /^\d\d:\d\d +\d+ +(\d+) /.exec(line) ?? [];
      return count === undefined ? [] : [Number(count)];
    });
    expect(workers).toHaveLength(48);
    expect(workers[0]).toBe(2);
    expect(Math.max(...workers)).toBeGreaterThan(3);
    const [, started, stopped] = /(\d+) workers started, (\d+) stopped/.exec(lines.join("\n")) ?? [];
    expect(Number(stopped)).toBe(Number(started) - 2);
  });
});
