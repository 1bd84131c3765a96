import os from "node:os";
import bullmq from "bullmq/package.json" with { type: "json" };
import express from "express/package.json" with { type: "json" };
import type { Terminal } from "../shared/terminal.ts";
import { accept } from "./comparisons/accept.ts";
import { alone } from "./comparisons/alone.ts";
import { drain } from "./comparisons/drain.ts";
import { growth } from "./comparisons/growth.ts";
import { outage } from "./comparisons/outage.ts";
import { scaling } from "./comparisons/scaling.ts";
import type { BenchOptions } from "./options.ts";
import { ratiosOf } from "./ratios.ts";
import type { BenchReport, Comparison, Results } from "./report.ts";
import type { Scene } from "./scene.ts";
import { SIZES } from "./sizes.ts";
import { Stand } from "./stand.ts";
import { leftOut, ONE_TRANSACTION, SYNC } from "./variants.ts";

const RUNS: Record<Comparison, (scene: Scene) => Promise<Results>> = {
  accept: async (scene) => ({ accept: await accept(scene) }),
  drain: async (scene) => ({ drain: await drain(scene) }),
  alone: async (scene) => ({ alone: await alone(scene) }),
  outage: async (scene) => ({ outage: await outage(scene) }),
  growth: async (scene) => ({ growth: await growth(scene) }),
  scaling: async (scene) => ({ scaling: await scaling(scene) }),
};

/** Makes the comparisons, one after the other, on one set of servers. @throws when it is aborted. @throws {Failure} */
export async function measure(
  options: BenchOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<BenchReport> {
  const startedAt = new Date();
  const seconds = () => (Date.now() - startedAt.getTime()) / 1_000;
  const note = (line: string) => terminal.note(`${seconds().toFixed(1).padStart(6)} s  ${line}`);
  const skipped = leftOut([ONE_TRANSACTION, SYNC]);
  for (const line of skipped) terminal.note(`left out: ${line}`);
  terminal.note("starting MySQL and Redis");
  const stand = await Stand.open(signal, options.profiles);
  let isDone = false;
  try {
    const scene = { stand, sizes: SIZES[options.size], signal, note };
    const results: Results = {};
    for (const name of options.only) {
      signal.throwIfAborted();
      Object.assign(results, await RUNS[name](scene));
    }
    isDone = true;
    return {
      version: 1,
      startedAt: startedAt.toISOString(),
      lasted: seconds(),
      size: options.size,
      machine: machineOf(stand),
      ...results,
      ...ratiosOf(results),
      skipped,
    };
  } finally {
    const logs = await stand.close(!isDone && !signal.aborted);
    if (!isDone && !signal.aborted) terminal.note(`the processes' logs: ${logs}`);
  }
}

function machineOf({ mysql, redis }: Stand): BenchReport["machine"] {
  const cpus = os.cpus();
  return {
    cpu: cpus[0]?.model ?? "unknown",
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    system: `${os.type()} ${os.release()}`,
    node: process.version.slice(1),
    mysql: mysql.version,
    redis: redis.version,
    express: express.version,
    bullmq: bullmq.version,
  };
}
