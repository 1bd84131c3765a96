import { setMaxListeners } from "node:events";
import type { WriteStream } from "node:tty";
import { ConfigError } from "../../src/platform/config-error.ts";
import { SIGNALS } from "../../src/platform/shutdown.ts";
import { errorCode, Failure } from "./failure.ts";
import { messageOf, printable } from "./text.ts";

/** Exit code after Ctrl-C, by the shells' convention: 128 + SIGINT. */
export const INTERRUPTED = 130;

const HIDE_CURSOR = "\u001B[?25l";
const SHOW_CURSOR = "\u001B[?25h";

/** A standard stream. Only a terminal has a size and colors. */
type Output = NodeJS.WritableStream & Partial<Pick<WriteStream, "isTTY" | "columns" | "rows" | "hasColors">>;

/** Where a command writes: results to stdout, progress and errors to stderr. */
export class Terminal {
  readonly #stdout: Output;
  readonly #stderr: Output;
  #drawn = 0;

  constructor(stdout: Output = process.stdout, stderr: Output = process.stderr) {
    this.#stdout = stdout;
    this.#stderr = stderr;
  }

  /** Whether both streams are terminals, so that lines can be redrawn. */
  get isLive(): boolean {
    return this.#stdout.isTTY === true && this.#stderr.isTTY === true;
  }

  /** Whether to use colors; respects NO_COLOR and the like. */
  get hasColors(): boolean {
    return this.isLive && this.#stdout.hasColors?.() === true;
  }

  get columns(): number {
    return this.#stdout.columns ?? 80;
  }

  get rows(): number {
    return this.#stdout.rows ?? 24;
  }

  /** The stream for a progress bar. */
  get progressStream(): Output {
    return this.#stderr;
  }

  /** Prints a line of the result. */
  say(line: string): void {
    this.#stdout.write(`${line}\n`);
  }

  /** Prints a line about the run. */
  note(line: string): void {
    this.#stderr.write(`${line}\n`);
  }

  /** Draws these lines over the previous ones; hides the cursor until {@link release}. */
  redraw(lines: readonly string[]): void {
    const up = this.#drawn > 0 ? `\u001B[${this.#drawn}A` : HIDE_CURSOR;
    this.#stdout.write(`${up}\r\u001B[J${lines.join("\n")}\n`);
    this.#drawn = lines.length;
  }

  /** Keeps what was drawn and shows the cursor again. */
  release(): void {
    if (this.#drawn > 0) this.#stdout.write(SHOW_CURSOR);
    this.#drawn = 0;
  }
}

/**
 * A command: takes its arguments, returns its exit code. Ctrl-C aborts the signal; the command must then
 * finish.
 */
export type Command = (args: readonly string[], terminal: Terminal, signal: AbortSignal) => Promise<number>;

/** Runs a command as this process. A failure prints one line, without a stack trace, and exits with code 1. */
export async function runAsProcess(command: Command): Promise<void> {
  const terminal = new Terminal();
  const stop = new AbortController();
  // Every request in flight listens to it.
  setMaxListeners(0, stop.signal);
  const interrupt = () => {
    // A second Ctrl-C means: do not wait for a summary.
    if (stop.signal.aborted) end(terminal, INTERRUPTED);
    stop.abort();
  };
  for (const signal of SIGNALS) process.on(signal, interrupt);
  // The reader of a pipe, such as `head`, may exit early.
  process.stdout.on("error", (error) => end(terminal, errorCode(error) === "EPIPE" ? 0 : 1));
  process.stderr.on("error", () => {});
  try {
    process.exitCode = await command(process.argv.slice(2), terminal, stop.signal);
  } catch (error) {
    terminal.release();
    if (!stop.signal.aborted) terminal.note(lineOf(error));
    process.exitCode = stop.signal.aborted ? INTERRUPTED : 1;
  } finally {
    terminal.release();
    for (const signal of SIGNALS) process.off(signal, interrupt);
  }
}

function end(terminal: Terminal, code: number): never {
  terminal.release();
  process.exit(code);
}

function lineOf(error: unknown): string {
  if (error instanceof Failure || error instanceof ConfigError) return error.message;
  return `unexpected error: ${printable(messageOf(error))}`;
}
