import { pino, type Logger } from "pino";

export type { Logger } from "pino";

/**
 * JSON lines on standard output. Log ids, never orders: payment tokens and addresses have no business in a log. The
 * redaction is the second line of defence.
 */
export function createLogger({
  fields,
  ...options
}: {
  name: string;
  level: string;
  /** What every line is to tell besides, of its own moment. */
  fields?: (() => object) | undefined;
}): Logger {
  return pino(
    {
      ...options,
      ...(fields && { mixin: fields }),
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), bindings: ({ pid, name }) => ({ name, pid }) },
      redact: ["*.paymentToken", "*.shipTo", "paymentToken", "shipTo", "*.headers.authorization"],
    },
    (output ??= standardOutput()),
  );
}

/** Says what supervisors and people who start a process wait for: written whatever the level is. */
export function announce(log: Logger, fields: object, message: string): void {
  log.child({}, { level: "info" }).info(fields, message);
}

/** One for all loggers of a process. */
let output: { write(line: string): void } | undefined;

/** Characters of log lines that are kept back at most. */
const MOST_KEPT = 65_536;

/**
 * Standard output, to which the lines of one turn of the event loop go together: at a thousand orders a second a write
 * for every line takes a twentieth of a process's time. None is lost when the process exits by itself.
 */
function standardOutput(): { write(line: string): void } {
  let kept = "";
  const write = () => {
    const lines = kept;
    kept = "";
    if (lines !== "") process.stdout.write(lines);
  };
  // Whoever read the log may be gone; the work goes on without. (pino's own destination never ends then.)
  process.stdout.on("error", () => undefined);
  process.on("exit", write);
  return {
    write(line) {
      if (kept === "") setImmediate(write);
      kept += line;
      if (kept.length > MOST_KEPT) write();
    },
  };
}
