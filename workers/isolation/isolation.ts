import { fork, type ChildProcess } from "node:child_process";
import path from "node:path";
import type { Logger } from "../../src/platform/log.ts";
import type { Execution } from "../../src/engine/executor.ts";
import { FailedAttemptError } from "../../src/engine/failure.ts";
import { CrashError, IsolatedProcess } from "./isolated-process.ts";
import type { Attempt } from "./messages.ts";

/**
 * Makes attempts for jobs whose worker died over them once, so that no job kills workers again and again. Which of the
 * jobs that a dead worker held was to blame, nobody can tell; most often none was, and somebody stopped it. So they are
 * tried in a process of their own, all together; when that dies too, each alone. The one that is alone with the third
 * crash has no excuse left.
 */
export class Isolation {
  readonly #together: IsolatedProcess;
  readonly #alone: IsolatedProcess;
  readonly #carriedTrace: (() => string | undefined) | undefined;
  readonly #log: Logger;
  /** The last of those that wait to be alone. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: {
    /** Starts an isolated process. */
    readonly fork?: () => ChildProcess;
    /** What the process needs to follow an attempt, asked where it is made. */
    readonly carriedTrace?: () => string | undefined;
    readonly log: Logger;
  }) {
    const { fork: start = forkMain, carriedTrace, log } = options;
    this.#together = new IsolatedProcess(start);
    this.#alone = new IsolatedProcess(start);
    this.#carriedTrace = carriedTrace;
    this.#log = log;
  }

  /**
   * @throws {FailedAttemptError} for an attempt that failed, hopelessly so if it crashed the process; the signal's
   * reason when the signal ends it.
   */
  async attempt(attempt: Attempt, signal: AbortSignal | undefined): Promise<Execution> {
    const followed = { ...attempt, trace: this.#carriedTrace?.() };
    try {
      return await this.#together.attempt(followed, signal);
    } catch (error) {
      if (!(error instanceof CrashError)) throw error;
      this.#log.warn(
        { ...attempt, how: error.message },
        "the isolated process crashed: trying each job alone",
      );
    }
    const turn = this.#turn.then(() => this.#attemptAlone(followed, signal));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** Ends the processes; resolves when they have ended. */
  async stop(): Promise<void> {
    await Promise.all([this.#together.stop(), this.#alone.stop()]);
  }

  async #attemptAlone(attempt: Attempt, signal: AbortSignal | undefined): Promise<Execution> {
    signal?.throwIfAborted();
    try {
      return await this.#alone.attempt(attempt, signal);
    } catch (error) {
      if (!(error instanceof CrashError)) throw error;
      const message = `crashed the process of its worker three times: ${error.message}`;
      throw new FailedAttemptError({ kind: "hopeless", message }, { cause: error });
    }
  }
}

/** The program beside this file, whether it runs from the sources or was compiled. */
function forkMain(): ChildProcess {
  return fork(path.join(import.meta.dirname, `main${path.extname(import.meta.filename)}`));
}
