import { tracingChannel } from "node:diagnostics_channel";
import { context, SpanKind, trace, type Span } from "@opentelemetry/api";
import { noteError, tracer } from "./tracer.ts";

/** A statement's operation and table, which come before any value. */
const STATEMENT = /^\s*([a-z]+)/i;
const TABLE = /^\s*(?:insert\s+into|update|delete\s+from|select\b[^'"]*?\bfrom)\s+`?(\w+)/i;
/** What `Database` sends along with a transaction's first and last statements. */
const START = "START TRANSACTION;\n";
const COMMIT = ";\nCOMMIT";
/** Characters to examine. */
const BEGINNING = 4_000;

/**
 * Traces MySQL statements that belong to a trace, through the driver's diagnostics channel. Never records their
 * text, since it contains values such as payment tokens and addresses.
 */
export function followStatements(): void {
  const spans = new WeakMap<object, Span>();
  const end = (message: object, error?: unknown) => {
    const span = spans.get(message);
    spans.delete(message);
    if (span && error !== undefined) noteError(span, error);
    span?.end();
  };
  tracingChannel("mysql2:query").subscribe({
    start(message) {
      if (!trace.getSpan(context.active())?.isRecording()) return;
      const [operation, table, name] = summaryOf("query" in message ? String(message.query) : "");
      spans.set(
        message,
        tracer.startSpan(name, {
          kind: SpanKind.CLIENT,
          attributes: {
            "db.system.name": "mysql",
            "db.operation.name": operation,
            "db.query.summary": name,
            ...(table === undefined ? {} : { "db.collection.name": table }),
            ...("database" in message ? { "db.namespace": String(message.database) } : {}),
            ...("serverAddress" in message ? { "server.address": String(message.serverAddress) } : {}),
          },
        }),
      );
    },
    end: () => undefined,
    asyncStart: (message) => end(message),
    asyncEnd: () => undefined,
    error: (message) => end(message, "error" in message ? message.error : undefined),
  });
}

/**
 * Summarizes a statement by operation and table. Several statements in one are summarized by the first one that
 * does work and by whether they commit. Exported for its test.
 */
export function summaryOf(
  statement: string,
): [operation: string, table: string | undefined, summary: string] {
  const beginning = statement.slice(0, BEGINNING).replace(START, "");
  const operation = STATEMENT.exec(beginning)?.[1]?.toUpperCase() ?? "STATEMENT";
  const table = TABLE.exec(beginning)?.[1];
  const summary = table === undefined ? operation : `${operation} ${table}`;
  return [operation, table, statement.endsWith(COMMIT) ? `${summary}; COMMIT` : summary];
}
