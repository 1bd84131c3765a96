import { setTimeout as delay } from "node:timers/promises";
import type { Children } from "./children.ts";
import { Failure } from "../shared/failure.ts";
import type { ExitStatus, GuardedProcess } from "./guard.ts";
import type { LogFile } from "./log-file.ts";
import { PortTaken } from "./servers/server.ts";
import { say, yellow } from "./terminal.ts";

/** Give up after this many exits within a minute. */
const MAX_EXITS = 5;
const WITHIN_MS = 60_000;
const FIRST_WAIT_MS = 500;
const LINES = 15;

/** A process to keep running until it is stopped on purpose. */
export interface Supervised {
  /** For messages: "worker", "Redis 7.0.15". */
  name: string;
  /** The process that runs now. */
  process: GuardedProcess;
  log: LogFile;
  /** Starts it again. A Failure or a port in use counts as another exit. */
  restart: () => GuardedProcess | Promise<GuardedProcess>;
}

/**
 * Restarts a process whenever it exits, after a growing delay. Returns once everything is stopped on purpose.
 *
 * @throws Failure with the end of the log if the process keeps exiting
 */
export async function supervise(
  { name, process: first, log, restart }: Supervised,
  children: Pick<Children, "stopping">,
): Promise<void> {
  const exits = new RecentExits();
  for (let start: Supervised["restart"] = () => first; ; start = restart) {
    const { what, why } = await runUntilExit(start);
    if (children.stopping) return;
    const waitMs = exits.add(Date.now());
    if (waitMs === undefined) {
      throw new Failure(
        `${name} exited ${MAX_EXITS} times in a minute (last: ${why}): ${log.path}`,
        log.tail(LINES),
      );
    }
    say(yellow(`! ${name} ${what} (${why}); restarting in ${waitMs / 1000} s`));
    await delay(waitMs);
    if (children.stopping) return;
  }
}

/** A process's exits within the last minute. */
export class RecentExits {
  #times: number[] = [];

  /** @returns milliseconds to wait before the restart; undefined if the process has exited too often */
  add(now: number): number | undefined {
    this.#times = [...this.#times.filter((time) => time > now - WITHIN_MS), now];
    return this.#times.length < MAX_EXITS ? FIRST_WAIT_MS * 2 ** (this.#times.length - 1) : undefined;
  }
}

async function runUntilExit(start: Supervised["restart"]): Promise<{ what: string; why: string }> {
  try {
    const child = await start();
    return { what: "exited unexpectedly", why: describeExit(await child.exited) };
  } catch (error) {
    if (error instanceof PortTaken) return { what: "could not start", why: "its port is in use" };
    if (error instanceof Failure) return { what: "could not start", why: error.message };
    throw error;
  }
}

/** "exit code 1", "SIGKILL" */
function describeExit({ code, signal }: ExitStatus): string {
  return signal ?? `exit code ${code}`;
}
