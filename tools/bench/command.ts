import { readFile, writeFile } from "node:fs/promises";
import type { Terminal } from "../shared/terminal.ts";
import { messageOf } from "../shared/text.ts";
import { errorCode, Failure } from "../shared/failure.ts";
import { BENCH_HELP, readBenchOptions, type BenchOptions } from "./options.ts";
import { writePage } from "./page.ts";
import { benchReport, type BenchReport } from "./report.ts";
import { measure } from "./run.ts";
import { renderReport } from "./table.ts";

const WRONG_OPTIONS = 2;

/**
 * `npm run bench`: runs the benchmarks and prints a report.
 *
 * @returns the exit code.
 * @throws {Failure} for errors that the user can fix; the signal's reason when interrupted.
 */
export async function bench(
  args: readonly string[],
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  let options: BenchOptions | undefined;
  try {
    options = readBenchOptions(args);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    terminal.note(error.message);
    return WRONG_OPTIONS;
  }
  if (!options) {
    terminal.say(BENCH_HELP);
    return 0;
  }
  // Check that the report can be written before the run.
  if (options.json !== undefined) await write(options.json, "", "a");
  const report =
    options.from === undefined ? await measure(options, terminal, signal) : await read(options.from);
  for (const line of renderReport(report)) terminal.say(line);
  if (options.json !== undefined) await write(options.json, `${JSON.stringify(report, null, 2)}\n`, "w");
  if (options.isForDocs) terminal.note(`written: ${(await writePage(report)).join(", ")}`);
  return 0;
}

async function read(path: string): Promise<BenchReport> {
  try {
    return benchReport.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (error) {
    throw new Failure(
      `${path} is not a report of a run (${errorCode(error) ?? messageOf(error).split("\n")[0]})`,
    );
  }
}

async function write(path: string, text: string, flag: "a" | "w"): Promise<void> {
  try {
    await writeFile(path, text, { flag });
  } catch (error) {
    throw new Failure(`${path} can't be written (${errorCode(error) ?? messageOf(error)})`);
  }
}
