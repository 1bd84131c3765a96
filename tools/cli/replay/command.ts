import { writeFile } from "node:fs/promises";
import { errorCode, Failure } from "../../shared/failure.ts";
import { ConveyorClient } from "../client.ts";
import { showProgress } from "../progress.ts";
import type { Target } from "../target.ts";
import type { Terminal } from "../../shared/terminal.ts";
import { counted, grouped, messageOf } from "../../shared/text.ts";
import { readFile, sizeOf, type FileContents } from "./file.ts";
import { readReplayOptions, REPLAY_HELP } from "./options.ts";
import { renderBadRows, renderFaults, renderReport } from "./render.ts";
import { complaintsOf, jsonOf, type ReplayReport } from "./report.ts";
import { ReplayRun, type RunOptions } from "./run.ts";

/**
 * `npm run replay`: reads the file, replays it and prints a report.
 *
 * @param findTarget finds the service; called once there is a file to send.
 * @returns the exit code.
 * @throws {Failure} for errors that the user can fix; the signal's reason when interrupted.
 */
export async function replay(
  args: readonly string[],
  terminal: Terminal,
  signal: AbortSignal,
  findTarget: () => Target,
): Promise<number> {
  const options = readReplayOptions(args);
  if (!options) {
    terminal.say(REPLAY_HELP);
    return 0;
  }
  const { file: path, json } = options;
  // Check that the report can be written before sending orders.
  if (json !== undefined) await write(json, "", "a");
  const progress = showProgress(terminal);
  try {
    const size = await sizeOf(path);
    const target = findTarget();
    progress.start("reading bytes", size);
    const file = await readFile(path, (bytes) => progress.to(bytes), signal);
    progress.to(size);
    progress.stop();
    for (const line of renderBadRows(file)) terminal.note(line);

    const note = (line: string) => terminal.note(line);
    const found = await run(file, target, { ...options, signal, progress, note });
    const report = { path, ...found };
    for (const line of renderFaults(report)) terminal.note(line);
    for (const line of renderReport(report)) terminal.say(line);
    if (json !== undefined) await write(json, jsonOf(report), "w");
    return complaintsOf(report).length === 0 ? 0 : 1;
  } finally {
    progress.stop();
  }
}

async function run(
  file: FileContents,
  target: Target,
  options: RunOptions,
): Promise<Omit<ReplayReport, "path">> {
  const client = new ConveyorClient(target, { ...options, connections: options.concurrency });
  const replayRun = new ReplayRun(client, file, options);
  try {
    return await replayRun.toReport();
  } catch (error) {
    options.progress.stop();
    if (options.signal.aborted || replayRun.ledger.answered > 0) options.note(soFar(file, replayRun));
    throw error;
  } finally {
    client.close();
  }
}

/** Summary of an interrupted run. */
function soFar({ invoices }: FileContents, { ledger, settled }: ReplayRun): string {
  if (ledger.answered === 0)
    return "stopped before any order was accepted; run the same command again to send them";
  const placed = ledger.accepted.size + ledger.alreadyThere.size;
  return (
    `stopped: ${grouped(placed)} of ${counted(invoices.length, "order")} accepted, ` +
    `${grouped(ledger.refused.length)} refused, at least ${grouped(settled)} settled. Conveyor goes on with them; ` +
    "run the same command again to send the rest, none twice"
  );
}

async function write(path: string, text: string, flag: "a" | "w"): Promise<void> {
  try {
    await writeFile(path, text, { flag });
  } catch (error) {
    throw new Failure(`${path} can't be written (${errorCode(error) ?? messageOf(error)})`);
  }
}
