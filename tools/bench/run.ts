import os from "node:os";
import path from "node:path";
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
import { closing, type Context } from "./context.ts";
import { findCommit, Revision } from "./revision.ts";
import { SIZES } from "./sizes.ts";
import { TestBed } from "./test-bed.ts";

const RUNS: Record<Comparison, (context: Context) => Promise<Results>> = {
  accept: async (context) => ({ accept: await accept(context) }),
  drain: async (context) => ({ drain: await drain(context) }),
  alone: async (context) => ({ alone: await alone(context) }),
  outage: async (context) => ({ outage: await outage(context) }),
  growth: async (context) => ({ growth: await growth(context) }),
  scaling: async (context) => ({ scaling: await scaling(context) }),
};

const NOTHING_BEFORE = "the version before: there is no tag; name a commit with --against";

/** Runs the comparisons, one after another, on one set of servers. @throws when aborted. @throws {Failure} */
export async function measure(
  options: BenchOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<BenchReport> {
  const startedAt = new Date();
  const seconds = () => (Date.now() - startedAt.getTime()) / 1_000;
  const note = (line: string) => terminal.note(`${seconds().toFixed(1).padStart(6)} s  ${line}`);
  const isCompared = options.only.includes("drain") || options.against !== undefined;
  const commit = isCompared ? await findCommit(options.against) : undefined;
  const skipped = options.only.includes("drain") && commit === undefined ? [NOTHING_BEFORE] : [];
  for (const line of skipped) terminal.note(`skipped: ${line}`);
  terminal.note("starting MySQL and Redis");
  const testBed = await TestBed.open(signal, options.profiles);
  let isDone = false;
  try {
    if (commit) terminal.note(`checking out and building ${commit.name}`);
    const before = commit && (await Revision.checkOut(commit, path.join(testBed.folder, "before")));
    const context = { testBed, before, sizes: SIZES[options.size], signal, note };
    const results: Results = {};
    for (const name of options.only) {
      signal.throwIfAborted();
      Object.assign(results, await closing((closers) => RUNS[name]({ ...context, closers })));
    }
    isDone = true;
    return {
      version: 1,
      startedAt: startedAt.toISOString(),
      lasted: seconds(),
      size: options.size,
      machine: machineOf(testBed),
      ...results,
      ...ratiosOf(results),
      skipped,
    };
  } finally {
    const logs = await testBed.close(!isDone && !signal.aborted);
    if (!isDone && !signal.aborted) terminal.note(`the processes' logs: ${logs}`);
  }
}

function machineOf({ mysql, redis }: TestBed): BenchReport["machine"] {
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
