import { execFile } from "node:child_process";
import {
  canHavePrometheus as canHave,
  startPrometheus as start,
  type Prometheus,
  type PrometheusTools,
} from "../../tools/launcher/servers/prometheus.ts";
import { endWithJest } from "./end-with-jest.ts";

export { findPrometheus, type PrometheusTools } from "../../tools/launcher/servers/prometheus.ts";

/** Fetching and unpacking it takes what the network takes. */
export const PROMETHEUS_START_MS = 600_000;

/** Whether this machine has it, or can have it. */
export const canHavePrometheus = canHave();

/** A Prometheus that belongs to a test. */
export type TestPrometheus = Prometheus;

/** What promtool prints. @throws {Error} with that, when it finds a fault. */
export function check(
  { promtool: program }: PrometheusTools,
  args: readonly string[],
  input = "",
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, [...args], (error, stdout, stderr) => {
      const output = stdout + stderr;
      if (error) reject(new Error(`promtool ${args.join(" ")}: ${output}`));
      else resolve(output);
    });
    child.stdin?.on("error", () => undefined).end(input);
  });
}

/** Starts a Prometheus with this configuration, which keeps its data in this folder. */
export function startPrometheus(...given: Parameters<typeof start>): Promise<TestPrometheus> {
  endWithJest();
  return start(...given);
}
