import { setTimeout as delay } from "node:timers/promises";
import type { Children } from "./children.ts";
import { Failure } from "../shared/failure.ts";
import type { ExitStatus, GuardedProcess } from "./guard.ts";
import type { LogFile } from "./log-file.ts";
import { PortTaken } from "./servers/server.ts";
import { say, yellow } from "./terminal.ts";

/** So many ends within a minute, and it is given up. */
const MOST_ENDS = 5;
const WITHIN_MS = 60_000;
const FIRST_WAIT_MS = 500;
const LINES = 15;

/** A process that is to run until it is stopped on purpose. */
export interface Supervised {
  /** As the user knows it: "worker", "Redis 7.0.15". */
  name: string;
  /** What runs now. */
  process: GuardedProcess;
  log: LogFile;
  /** Starts it again. A Failure, or a port that is taken, counts as one more end. */
  startAgain: () => GuardedProcess | Promise<GuardedProcess>;
}

/**
 * Starts a process again whenever it ends, after a wait that grows. Returns when everything is stopped on purpose.
 *
 * @throws Failure with the end of the log when it ends again and again
 */
export async function supervise(
  { name, process: first, log, startAgain }: Supervised,
  children: Pick<Children, "stopping">,
): Promise<void> {
  const ends = new RecentEnds();
  for (let start: Supervised["startAgain"] = () => first; ; start = startAgain) {
    const { what, why } = await runToEnd(start);
    if (children.stopping) return;
    const waitMs = ends.add(Date.now());
    if (waitMs === undefined) {
      throw new Failure(
        `${name} ended ${MOST_ENDS} times in a minute (at last: ${why}): ${log.path}`,
        log.tail(LINES),
      );
    }
    say(yellow(`! ${name} ${what} (${why}); starting it again in ${waitMs / 1000} s`));
    await delay(waitMs);
    if (children.stopping) return;
  }
}

/** The ends of one process, as far as they count. */
export class RecentEnds {
  #times: number[] = [];

  /** @returns milliseconds to wait before it is started again; undefined when it has ended too often */
  add(now: number): number | undefined {
    this.#times = [...this.#times.filter((time) => time > now - WITHIN_MS), now];
    return this.#times.length < MOST_ENDS ? FIRST_WAIT_MS * 2 ** (this.#times.length - 1) : undefined;
  }
}

async function runToEnd(start: Supervised["startAgain"]): Promise<{ what: string; why: string }> {
  try {
    const child = await start();
    return { what: "ended unexpectedly", why: describeExit(await child.exited) };
  } catch (error) {
    if (error instanceof PortTaken) return { what: "could not start", why: "its port is taken" };
    if (error instanceof Failure) return { what: "could not start", why: error.message };
    throw error;
  }
}

/** "exit code 1", "SIGKILL" */
function describeExit({ code, signal }: ExitStatus): string {
  return signal ?? `exit code ${code}`;
}
