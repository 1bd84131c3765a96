import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { AS_IT_IS } from "../process.ts";
import type { Load, LoadAnswer, LoadCommand, LoadResult } from "./messages.ts";

interface Waiting {
  readonly resolve: (result: LoadResult) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A process of its own that sends orders: what the benchmark does meanwhile must not hold up its clock. It ends with
 * this one.
 */
export class LoadGenerator {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #commands = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", (answer: LoadAnswer) => this.#settle(answer));
    child.on("exit", (code) => {
      const error = new Error(`the source of the load ended with ${code}`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  /** Starts the process; resolves when it can be told what to do. */
  static async start(): Promise<LoadGenerator> {
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
    return new LoadGenerator(child);
  }

  /** Several loads may run at the same time. */
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

  #settle({ id, result, error }: LoadAnswer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (result) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }
}
