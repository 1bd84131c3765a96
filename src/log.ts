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
  // Whoever read the log may be gone; the work goes on without. (pino's own destination never ends then.)
  if (!process.stdout.listeners("error").includes(ignore)) process.stdout.on("error", ignore);
  return pino(
    {
      ...options,
      ...(fields && { mixin: fields }),
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), bindings: ({ pid, name }) => ({ name, pid }) },
      redact: ["*.paymentToken", "*.shipTo", "paymentToken", "shipTo", "*.headers.authorization"],
    },
    process.stdout,
  );
}

/** Says what supervisors and people who start a process wait for: written whatever the level is. */
export function announce(log: Logger, fields: object, message: string): void {
  log.child({}, { level: "info" }).info(fields, message);
}

function ignore(): void {}
