import type { ChildProcess } from "node:child_process";
import type { Execution } from "../../src/engine/executor.ts";
import { FailedAttemptError } from "../../src/engine/failure.ts";
import { untilAborted } from "../../src/platform/time-limit.ts";
import type { Answer, Attempt, Request } from "./messages.ts";

/** An idle process is stopped after this long. */
const IDLE_MS = 30_000;
/**
 * A process that is silent for an attempt's time limit plus this counts as blocked. The attempt itself may take longer:
 * it may wait for MySQL or Redis.
 */
const BLOCKED_AFTER_MS = 2_000;
/** How long a process may take to exit on its own, exporting its last traces, before it is killed. */
const END_MS = 3_000;

/** The process exited or blocked during the attempt. */
export class CrashError extends Error {
  override name = "CrashError";
}

/** A process for attempts that may crash it: started on demand, and again after a crash. */
export class IsolatedProcess {
  readonly #fork: () => ChildProcess;
  #child: Child | undefined;

  /** @param fork starts a process that speaks {@link Request} and {@link Answer}. */
  constructor(fork: () => ChildProcess) {
    this.#fork = fork;
  }

  /**
   * Runs an attempt. @throws {FailedAttemptError} if it failed, {@link CrashError} if the process died, and the
   * signal's reason if aborted.
   */
  async attempt(attempt: Attempt, signal: AbortSignal | undefined): Promise<Execution> {
    if (this.#child?.hasEnded !== false) this.#child = new Child(this.#fork());
    return this.#child.attempt(attempt, signal);
  }

  /** Stops the process; attempts under way fail as crashed. Resolves when it has exited. */
  async stop(): Promise<void> {
    await this.#child?.end();
  }
}

interface Pending {
  /** Kills the process; restarted by every message from it. */
  readonly blocked: NodeJS.Timeout;
  readonly resolve: (execution: Execution) => void;
  readonly reject: (error: unknown) => void;
}

class Child {
  readonly #process: ChildProcess;
  readonly #pending = new Map<number, Pending>();
  readonly #ready: Promise<void>;
  #hasEnded = false;
  #lastId = 0;
  #idle: NodeJS.Timeout | undefined;

  constructor(child: ChildProcess) {
    this.#process = child;
    this.#ready = new Promise((resolve, reject) => {
      child.on("message", (answer: Answer) => {
        for (const { blocked } of this.#pending.values()) blocked.refresh();
        if (answer.type === "ready") resolve();
        else if (answer.type !== "alive") this.#settle(answer);
      });
      const end = (how: string) => {
        this.#hasEnded = true;
        clearTimeout(this.#idle);
        reject(new Error(`the isolated process did not start: ${how}`));
        const crash = new CrashError(how);
        for (const { reject: fail } of this.#pending.values()) fail(crash);
        this.#pending.clear();
      };
      child.on("exit", (code, signal) => end(signal ?? `exit code ${code}`));
      child.on("error", (error) => end(error.message));
    });
    // Awaited by attempts, if there are any.
    this.#ready.catch(() => undefined);
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  async attempt(attempt: Attempt, signal: AbortSignal | undefined): Promise<Execution> {
    clearTimeout(this.#idle);
    const id = ++this.#lastId;
    await (signal ? untilAborted(signal, () => this.#ready) : this.#ready);
    const blocked = setTimeout(() => this.kill(), attempt.timeoutMs + BLOCKED_AFTER_MS);
    let abort: (() => void) | undefined;
    try {
      signal?.throwIfAborted();
      return await new Promise<Execution>((resolve, reject) => {
        if (this.#hasEnded) return reject(new CrashError("it had ended"));
        abort = () => {
          reject(signal?.reason);
          this.#send({ type: "abort", id });
        };
        signal?.addEventListener("abort", abort, { once: true });
        this.#pending.set(id, { blocked, resolve, reject });
        this.#send({ type: "attempt", id, ...attempt });
      });
    } finally {
      clearTimeout(blocked);
      if (abort) signal?.removeEventListener("abort", abort);
      this.#pending.delete(id);
      if (this.#pending.size === 0 && !this.#hasEnded) {
        this.#idle = setTimeout(() => void this.end(), IDLE_MS).unref();
      }
    }
  }

  /** Asks the process to exit, and kills it if it does not. Resolves when it has exited. */
  async end(): Promise<void> {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return;
    this.#hasEnded = true;
    clearTimeout(this.#idle);
    if (child.connected) child.disconnect();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        child.kill("SIGKILL");
        resolve();
      }, END_MS);
      child.once("exit", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  kill(): void {
    this.#hasEnded = true;
    this.#process.kill("SIGKILL");
  }

  #send(request: Request): void {
    // A disconnected process is exiting, which settles all attempts.
    if (this.#process.connected) this.#process.send(request, () => undefined);
  }

  #settle(answer: Exclude<Answer, { type: "ready" | "alive" }>): void {
    const pending = this.#pending.get(answer.id);
    if (answer.type === "execution") pending?.resolve(answer.execution);
    else pending?.reject(new FailedAttemptError(answer.failure));
  }
}
