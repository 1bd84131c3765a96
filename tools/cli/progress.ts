import { SingleBar } from "cli-progress";
import type { Terminal } from "../shared/terminal.ts";
import { grouped } from "../shared/text.ts";

/** Milliseconds between two lines where nobody looks on. */
const LINE_EVERY = 5_000;

/** How far one piece of work has come. */
export interface Progress {
  /** Begins a piece of work; the one before is over. */
  start(what: string, total: number): void;
  /** So much of the total is done. */
  to(done: number): void;
  /** The work is over, done or not. */
  stop(): void;
}

/** A bar on a terminal, and a line now and then in a log. */
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
      // Ctrl-C is the command's.
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
    // What broke off says why itself.
    if (this.#work && this.#work.done >= this.#work.total) this.#say();
    this.#work = undefined;
  }

  #say(): void {
    if (!this.#work) return;
    const { what, done, total } = this.#work;
    this.#terminal.note(`${what}: ${grouped(done)} of ${grouped(total)}`);
  }
}
