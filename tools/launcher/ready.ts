import { setTimeout as delay } from "node:timers/promises";
import type { GuardedProcess } from "./guard.ts";
import { Failure } from "../shared/failure.ts";
import type { LogFile } from "./log-file.ts";

const POLL_MS = 30;
const LINES = 12;

export interface ReadyOptions {
  /** For messages: "MySQL", "the API". */
  name: string;
  process: GuardedProcess;
  log: LogFile;
  /** Milliseconds to become ready. */
  timeoutMs: number;
}

/**
 * Polls `probe` until it returns something other than undefined. An error means "not yet", unless it is a
 * Failure.
 *
 * @throws Failure with the end of the log if the process exits or time runs out; or the probe's own Failure
 */
export async function untilReady<T>(
  { name, process: child, log, timeoutMs }: ReadyOptions,
  probe: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  while (Date.now() < deadline) {
    const answer = await Promise.race([probe().catch(notYet), child.exited.then(() => undefined)]);
    // The process may have exited, and another one answered on its port.
    if (!child.running) throw await exitedEarly(name, child, log);
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

async function exitedEarly(name: string, child: GuardedProcess, log: LogFile): Promise<Failure> {
  const { code, signal } = await child.exited;
  return new Failure(
    `${name} exited while starting (${signal ?? `exit code ${code}`}): ${log.path}`,
    log.tail(LINES),
  );
}
