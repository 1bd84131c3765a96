import { SingleBar } from "cli-progress";
import type { Terminal } from "../shared/terminal.ts";
import { grouped } from "../shared/text.ts";

/** Milliseconds between two lines without a terminal. */
const LINE_EVERY = 5_000;

/** Shows the progress of one task at a time. */
export interface Progress {
  /** Starts a task and ends the previous one. */
  start(what: string, total: number): void;
  /** Sets how much of the total is done. */
  to(done: number): void;
  /** Ends the task, finished or not. */
  stop(): void;
}

/** A bar on a terminal; elsewhere a line every few seconds. */
export function showProgress(terminal: Terminal): Progress {
  return terminal.isLive ? new Bar(terminal) : new Lines(terminal);
}

class Bar implements Progress {
  readonly #terminal: Terminal;
  #bar: SingleBar | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  start(what: string, total: number): void {
    this.stop();
    this.#bar = new SingleBar({
      stream: this.#terminal.progressStream,
      format: `${what.padEnd(16)} {bar} {percentage}% {value}/{total} {duration_formatted}`,
      barCompleteChar: "━",
      barIncompleteChar: "╌",
      barsize: 30,
      formatValue: (value, _options, type) =>
        type === "value" || type === "total" ? grouped(value) : String(value),
      // The command handles Ctrl-C.
      gracefulExit: false,
      hideCursor: null,
    });
    this.#bar.start(total, 0);
  }

  to(done: number): void {
    this.#bar?.update(done);
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}

class Lines implements Progress {
  readonly #terminal: Terminal;
  #work: { what: string; total: number; done: number; saidAt: number } | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  start(what: string, total: number): void {
    this.stop();
    this.#work = { what, total, done: 0, saidAt: Date.now() };
  }

  to(done: number): void {
    if (!this.#work) return;
    this.#work.done = done;
    if (Date.now() - this.#work.saidAt < LINE_EVERY) return;
    this.#work.saidAt = Date.now();
    this.#say();
  }

  stop(): void {
    // An interrupted task reports its own error.
    if (this.#work && this.#work.done >= this.#work.total) this.#say();
    this.#work = undefined;
  }

  #say(): void {
    if (!this.#work) return;
    const { what, done, total } = this.#work;
    this.#terminal.note(`${what}: ${grouped(done)} of ${grouped(total)}`);
  }
}
