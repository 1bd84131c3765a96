const SPINNER = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME_MS = 100;
/** Without a terminal, print progress as plain lines, at most this often. */
const PLAIN_LINE_MS = 1000;

const out = process.stdout;
const CLEAR_LINE = "\r\u001B[K";

/** Work in progress; one step at a time. */
export interface Step {
  /** Shows what is being done right now; an empty text clears it. */
  progress(text: string): void;
  /** Ends the step and prints a line that stays; without one, the step leaves no trace. */
  done(text?: string): void;
}

/** The step in progress. */
let current: symbol | undefined;
/** Redraws the step, on a terminal. */
let redraw: (() => void) | undefined;
let stopTimer = (): void => {};

// A closed pipe or terminal must not interrupt a shutdown.
out.on("error", () => {});

/** Prints a line above the step in progress. */
export function say(line = ""): void {
  if (redraw) out.write(CLEAR_LINE);
  out.write(`${line}\n`);
  redraw?.();
}

/** Prints a line, with its details indented below. */
export function sayFailure(message: string, details: readonly string[] = []): void {
  endStep();
  say(`${red("✗")} ${message}`);
  for (const detail of details) say(dim(`    ${detail}`));
}

/**
 * Shows work in progress, replacing the previous step. On a terminal it is one line that changes; elsewhere
 * plain lines, printed only if the work takes a while.
 */
export function startStep(name: string): Step {
  const startedAt = Date.now();
  let text = "";
  let frame = 0;
  let lastPlainLine = 0;
  const seconds = (): string => `${((Date.now() - startedAt) / 1000).toFixed(1)} s`;

  endStep();
  const id = Symbol(name);
  current = id;
  if (out.isTTY) {
    const draw = (): void => {
      const line = `${SPINNER[frame++ % SPINNER.length]} ${name}${text && `: ${text}`} ${dim(seconds())}`;
      out.write(CLEAR_LINE + truncate(line, out.columns));
    };
    const timer = setInterval(draw, FRAME_MS).unref();
    redraw = draw;
    stopTimer = () => clearInterval(timer);
    draw();
  } else {
    const timer = setTimeout(() => text === "" && say(`  ${name}`), PLAIN_LINE_MS).unref();
    stopTimer = () => clearTimeout(timer);
  }
  return {
    progress(now) {
      if (current !== id) return;
      text = now;
      if (out.isTTY || now === "" || Date.now() - lastPlainLine < PLAIN_LINE_MS) return;
      lastPlainLine = Date.now();
      say(`  ${name}: ${now}`);
    },
    done(line) {
      if (current !== id) return;
      endStep();
      if (line !== undefined) say(`${green("✓")} ${line} ${dim(`(${seconds()})`)}`);
    },
  };
}

function endStep(): void {
  stopTimer();
  if (redraw) out.write(CLEAR_LINE);
  current = undefined;
  redraw = undefined;
}

/**
 * Cuts a line to the terminal's width, since a wrapped line can't be redrawn. Counts escape sequences as
 * visible.
 */
function truncate(line: string, columns: number): string {
  return columns > 0 && line.length > columns ? `${line.slice(0, columns - 1)}\u001B[0m` : line;
}

const hasColors = out.isTTY && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";
const paint = (code: number) => (text: string) => (hasColors ? `\u001B[${code}m${text}\u001B[0m` : text);

export const bold = paint(1);
export const dim = paint(2);
export const red = paint(31);
export const green = paint(32);
export const yellow = paint(33);
