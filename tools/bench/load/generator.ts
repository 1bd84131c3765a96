import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { TSX_FLAGS } from "../process.ts";
import type { Load, LoadAnswer, LoadCommand, LoadResult } from "./messages.ts";

interface Waiting {
  readonly resolve: (result: LoadResult) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A separate process that sends orders, so that the benchmark's own work never delays it. It exits with this
 * process.
 */
export class LoadGenerator {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #commands = 0;

  private constructor(child: ChildProcess, signal: AbortSignal) {
    this.#child = child;
    child.on("message", (answer: LoadAnswer) => this.#settle(answer));
    child.on("exit", (code) => this.#giveUp(new Error(`the load generator exited with ${code}`)));
    signal.addEventListener("abort", () => this.#giveUp(signal.reason));
  }

  /** Starts the process; resolves when it is ready. @param signal aborts every load */
  static async start(signal: AbortSignal): Promise<LoadGenerator> {
    const child = fork(path.join(import.meta.dirname, "main.ts"), {
      execArgv: TSX_FLAGS,
      env: { PATH: process.env["PATH"] },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const ended = once(child, "exit").then(([code]) => {
      throw new Error(`the load generator exited with ${code}`);
    });
    await Promise.race([once(child, "message"), ended]);
    ended.catch(() => {});
    return new LoadGenerator(child, signal);
  }

  /** Runs a load; several may run at once. @throws if the process exits or the signal aborts */
  run(load: Load): Promise<LoadResult> {
    return new Promise((resolve, reject) => {
      const id = ++this.#commands;
      const command: LoadCommand = { id, load };
      this.#waiting.set(id, { resolve, reject });
      this.#child.send(command);
    });
  }

  /** Kills the process. */
  stop(): void {
    this.#child.kill("SIGKILL");
  }

  #giveUp(error: unknown): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #settle({ id, result, error }: LoadAnswer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (result) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }
}
