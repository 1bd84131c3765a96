import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach } from "@jest/globals";
import { spawnGuarded, type GuardedProcess } from "../../tools/launcher/guard.ts";
import { Terminal } from "../../tools/shared/terminal.ts";
import { endWithJest } from "./end-with-jest.ts";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");

/** One of the commands in `tools/`, such as `bench`, as a process. All that it writes lies in a folder of the test's own. */
export class ToolRun {
  readonly #name: string;
  readonly #environment: Readonly<Record<string, string>>;
  #command: GuardedProcess | undefined;
  /** What it has said. */
  lines: string[] = [];
  folder = "";

  constructor(name: string, environment: Readonly<Record<string, string>> = {}) {
    this.#name = name;
    this.#environment = environment;
    beforeEach(() => {
      // Short, and without spaces: sockets lie in it.
      this.folder = mkdtempSync(`/tmp/${name}-`);
      this.lines = [];
    });
    afterEach(async () => {
      await this.#command?.stop(30_000);
      rmSync(this.folder, { recursive: true });
    });
  }

  start(...args: string[]): GuardedProcess {
    endWithJest();
    const { PATH, HOME } = process.env;
    this.#command = spawnGuarded(
      process.execPath,
      ["--import", "tsx", `tools/${this.#name}/main.ts`, ...args],
      {
        cwd: REPOSITORY,
        env: { PATH, HOME, TMPDIR: this.folder, ...this.#environment },
        onLine: (line) => this.lines.push(line),
      },
    );
    return this.#command;
  }

  /** Processes that have its folder open, or the code that it compiled. Linux only. */
  left(): string[] {
    const code = `-${this.#command?.pid}/code/`;
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => {
        try {
          const started = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
          return started.includes(this.folder) || started.includes(code) ? [started] : [];
        } catch {
          return [];
        }
      });
  }
}

/** Runs a command in this process. @returns its exit code, and what it said */
export async function runHere(
  command: (args: readonly string[], terminal: Terminal, signal: AbortSignal) => Promise<number>,
  ...args: string[]
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const stdout = new PassThrough({ encoding: "utf8" });
  const stderr = new PassThrough({ encoding: "utf8" });
  const code = await command(args, new Terminal(stdout, stderr), new AbortController().signal);
  return { code, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}
