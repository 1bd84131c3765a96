import { writeFile } from "node:fs/promises";
import type { Terminal } from "../shared/terminal.ts";
import { messageOf } from "../shared/text.ts";
import { errorCode, Failure } from "../shared/failure.ts";
import { countBreaches } from "./audit.ts";
import { CHAOS_HELP, readChaosOptions, type ChaosOptions } from "./options.ts";
import { jsonOf, renderPlan, renderReport } from "./report.ts";
import { run, type Script } from "./run.ts";
import { planFaults } from "./schedule.ts";
import { easypost } from "./scenarios/easypost.ts";
import { failover } from "./scenarios/failover.ts";
import { flashSale } from "./scenarios/flash-sale.ts";
import { flush } from "./scenarios/flush.ts";
import { frozenMysql } from "./scenarios/frozen-mysql.ts";
import { frozenRedis } from "./scenarios/frozen-redis.ts";
import { httpStage } from "./scenarios/http-stage.ts";
import { poisoned } from "./scenarios/poisoned.ts";
import { relay } from "./scenarios/relay.ts";
import { steady } from "./scenarios/steady.ts";
import { stripe } from "./scenarios/stripe.ts";

const WRONG_OPTIONS = 2;

/**
 * `npm run chaos`: injects the faults that the seed determines, audits the service and prints a report.
 *
 * @returns the exit code.
 * @throws {Failure} for errors that the user can fix; the signal's reason when interrupted.
 */
export async function chaos(
  args: readonly string[],
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  let options: ChaosOptions | undefined;
  try {
    options = readChaosOptions(args);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    terminal.note(error.message);
    return WRONG_OPTIONS;
  }
  if (!options) {
    terminal.say(CHAOS_HELP);
    return 0;
  }
  if (options.isPlanOnly) {
    for (const line of renderPlan(planFaults(options))) terminal.say(line);
    return 0;
  }
  // Check that the report can be written before the run.
  if (options.json !== undefined) await write(options.json, "", "a");
  const report = await run(scriptOf(options), options, terminal, signal);
  for (const line of renderReport(report)) terminal.say(line);
  if (options.json !== undefined) await write(options.json, jsonOf(report), "w");
  return countBreaches(report.checks) === 0 ? 0 : 1;
}

function scriptOf(options: ChaosOptions): Script {
  switch (options.scenario) {
    case "steady":
      return steady(options);
    case "flush":
      return flush(options);
    case "frozen-redis":
      return frozenRedis(options);
    case "frozen-mysql":
      return frozenMysql(options);
    case "flash-sale":
      return flashSale(options);
    case "relay":
      return relay(options);
    case "failover":
      return failover(options);
    case "poisoned":
      return poisoned(options);
    case "http-stage":
      return httpStage(options);
    case "stripe":
      return stripe(options);
    case "easypost":
      return easypost(options);
  }
}

async function write(path: string, text: string, flag: "a" | "w"): Promise<void> {
  try {
    await writeFile(path, text, { flag });
  } catch (error) {
    throw new Failure(`${path} can't be written (${errorCode(error) ?? messageOf(error)})`);
  }
}
