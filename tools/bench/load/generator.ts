import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { AS_IT_IS } from "../process.ts";
import type { Load, LoadAnswer, LoadCommand, LoadResult } from "./messages.ts";

interface Waiting {
  readonly resolve: (result: LoadResult) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A process of its own that sends orders: what the benchmark does meanwhile must not hold up its clock. It ends with
 * this one.
 */
export class LoadGenerator {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #commands = 0;

  private constructor(child: ChildProcess, signal: AbortSignal) {
    this.#child = child;
    child.on("message", (answer: LoadAnswer) => this.#settle(answer));
    child.on("exit", (code) => this.#giveUp(new Error(`the source of the load ended with ${code}`)));
    signal.addEventListener("abort", () => this.#giveUp(signal.reason));
  }

  /** Starts the process; resolves when it can be told what to do. @param signal ends the wait for every load. */
  static async start(signal: AbortSignal): Promise<LoadGenerator> {
    const child = fork(path.join(import.meta.dirname, "main.ts"), {
      execArgv: AS_IT_IS,
      env: { PATH: process.env["PATH"] },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const ended = once(child, "exit").then(([code]) => {
      throw new Error(`the source of the load ended with ${code}`);
    });
    await Promise.race([once(child, "message"), ended]);
    ended.catch(() => {});
    return new LoadGenerator(child, signal);
  }

  /** Several loads may run at the same time. @throws what ended the wait. */
  run(load: Load): Promise<LoadResult> {
    return new Promise((resolve, reject) => {
      const id = ++this.#commands;
      const command: LoadCommand = { id, load };
      this.#waiting.set(id, { resolve, reject });
      this.#child.send(command);
    });
  }

  /** Ends the process. */
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
