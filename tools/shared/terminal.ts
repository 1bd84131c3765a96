import { setMaxListeners } from "node:events";
import type { WriteStream } from "node:tty";
import { errorCode, Failure } from "./failure.ts";
import { messageOf, printable } from "./text.ts";

/** Exit code of a command that Ctrl-C ended, as shells have it: 128 + SIGINT. */
export const INTERRUPTED = 130;

const HIDE_CURSOR = "\u001B[?25l";
const SHOW_CURSOR = "\u001B[?25h";

/** A standard stream; only a terminal has a size and colours. */
type Output = NodeJS.WritableStream & Partial<Pick<WriteStream, "isTTY" | "columns" | "rows" | "hasColors">>;

/** Where a command writes: results to stdout, what goes on meanwhile and what went wrong to stderr. */
export class Terminal {
  readonly #stdout: Output;
  readonly #stderr: Output;
  #drawn = 0;

  constructor(stdout: Output = process.stdout, stderr: Output = process.stderr) {
    this.#stdout = stdout;
    this.#stderr = stderr;
  }

  /** Whether somebody looks on, so that lines can be drawn over. */
  get isLive(): boolean {
    return this.#stdout.isTTY === true && this.#stderr.isTTY === true;
  }

  /** Whether colours are wanted; NO_COLOR and the like are heeded. */
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

  /** A line of the result. */
  say(line: string): void {
    this.#stdout.write(`${line}\n`);
  }

  /** A line about the run. */
  note(line: string): void {
    this.#stderr.write(`${line}\n`);
  }

  /** Draws these lines over those of the last call; the cursor is hidden until {@link release}. */
  redraw(lines: readonly string[]): void {
    const up = this.#drawn > 0 ? `\u001B[${this.#drawn}A` : HIDE_CURSOR;
    this.#stdout.write(`${up}\r\u001B[J${lines.join("\n")}\n`);
    this.#drawn = lines.length;
  }

  /** Leaves what was drawn standing, and gives the cursor back. */
  release(): void {
    if (this.#drawn > 0) this.#stdout.write(SHOW_CURSOR);
    this.#drawn = 0;
  }
}

/** What a command does: its arguments in, its exit code out. Ctrl-C aborts the signal; it is the command's to end. */
export type Command = (args: readonly string[], terminal: Terminal, signal: AbortSignal) => Promise<number>;

/** Runs a command as this process: a failure is one line and exit code 1, and no stack trace meets the user. */
export async function runAsProcess(command: Command): Promise<void> {
  const terminal = new Terminal();
  const stop = new AbortController();
  // Every request under way listens to it.
  setMaxListeners(0, stop.signal);
  const interrupt = () => {
    // Whoever asks twice does not want to wait for a summary.
    if (stop.signal.aborted) end(terminal, INTERRUPTED);
    stop.abort();
  };
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
  // The reader of a pipe, such as `head`, may leave before the end.
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
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
  }
}

function end(terminal: Terminal, code: number): never {
  terminal.release();
  process.exit(code);
}

function lineOf(error: unknown): string {
  if (error instanceof Failure) return error.message;
  return `this should not have happened: ${printable(messageOf(error))}`;
}
