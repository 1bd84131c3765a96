import { setTimeout as delay } from "node:timers/promises";
import type { GuardedProcess } from "./guard.ts";
import { Failure } from "../shared/failure.ts";
import type { LogFile } from "./log-file.ts";

const POLL_MS = 30;
const LINES = 12;

export interface ReadyOptions {
  /** As the user knows it: "MySQL", "the API". */
  name: string;
  process: GuardedProcess;
  log: LogFile;
  /** Time to become ready, milliseconds. */
  timeoutMs: number;
}

/**
 * Asks `probe` again and again until it answers with something else than undefined. A throw means "not yet",
 * unless it is a Failure.
 *
 * @throws Failure with the end of the log when the process ends first, or time is up; or the probe's own
 */
export async function untilReady<T>(
  { name, process: child, log, timeoutMs }: ReadyOptions,
  probe: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  while (Date.now() < deadline) {
    const answer = await Promise.race([probe().catch(notYet), child.exited.then(() => undefined)]);
    // A stranger on the same port may have answered in place of a process that is gone.
    if (!child.running) throw await endedEarly(name, child, log);
    if (answer !== undefined) return answer;
    await Promise.race([delay(POLL_MS), child.exited]);
  }
  throw new Failure(
    `${name} did not become ready within ${timeoutMs / 1000} s: ${log.path}`,
    log.tail(LINES),
  );
}

function notYet(error: unknown): undefined {
  if (error instanceof Failure) throw error;
}

async function endedEarly(name: string, child: GuardedProcess, log: LogFile): Promise<Failure> {
  const { code, signal } = await child.exited;
  return new Failure(
    `${name} ended while starting (${signal ?? `exit code ${code}`}): ${log.path}`,
    log.tail(LINES),
  );
}
