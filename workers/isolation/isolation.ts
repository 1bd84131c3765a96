import { fork, type ChildProcess } from "node:child_process";
import path from "node:path";
import type { Logger } from "../../src/platform/log.ts";
import type { Execution } from "../../src/engine/executor.ts";
import { FailedAttemptError } from "../../src/engine/failure.ts";
import { CrashError, IsolatedProcess } from "./isolated-process.ts";
import { CANCELLED, type Lifecycle } from "../../src/order/lifecycle.ts";
import type { Attempt } from "./messages.ts";

/**
 * Runs jobs whose worker died while holding them in a separate process, so that no job can kill workers repeatedly.
 * Which of a dead worker's jobs was to blame is unknown; usually none was, and someone killed the worker. So they first
 * run together in one process; if that dies too, each runs alone. A job that is alone at the third crash is to blame.
 */
export class Isolation {
  readonly #together: IsolatedProcess;
  readonly #alone: IsolatedProcess;
  readonly #carriedTrace: (() => string | undefined) | undefined;
  readonly #lifecycle: Lifecycle;
  readonly #log: Logger;
  /** The last attempt in the line of those to run alone. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: {
    /** Starts an isolated process. */
    readonly fork?: () => ChildProcess;
    /** The current trace context, to pass to the process. */
    readonly carriedTrace?: () => string | undefined;
    readonly lifecycle: Lifecycle;
    readonly log: Logger;
  }) {
    const { fork: start = forkMain, carriedTrace, lifecycle, log } = options;
    this.#lifecycle = lifecycle;
    this.#together = new IsolatedProcess(start);
    this.#alone = new IsolatedProcess(start);
    this.#carriedTrace = carriedTrace;
    this.#log = log;
  }

  /**
   * @throws {FailedAttemptError} if the attempt failed, not retryable if it crashed the process; the signal's reason if
   * aborted.
   */
  async attempt(attempt: Attempt, signal: AbortSignal | undefined): Promise<Execution> {
    return this.#withOwnTransition(await this.#attempt(attempt, signal));
  }

  /** Messages carry copies. */
  #withOwnTransition(execution: Execution): Execution {
    if (!("next" in execution) || execution.next === undefined) return execution;
    const { from, to } = execution.next;
    const next = to === CANCELLED ? this.#lifecycle.cancelling(from) : this.#lifecycle.due(from);
    return { ...execution, next };
  }

  async #attempt(attempt: Attempt, signal: AbortSignal | undefined): Promise<Execution> {
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

  /** Stops both processes; resolves when they have exited. */
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
      throw new FailedAttemptError({ kind: "permanent", message }, { cause: error });
    }
  }
}

/** Runs main.ts, or main.js in a compiled build. */
function forkMain(): ChildProcess {
  return fork(path.join(import.meta.dirname, `main${path.extname(import.meta.filename)}`));
}
