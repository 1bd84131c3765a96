import { tracingChannel } from "node:diagnostics_channel";
import { context, SpanKind, trace, type Span } from "@opentelemetry/api";
import { noteError, tracer } from "./tracer.ts";

/** What a statement does, and to which table: both stand before any value. */
const STATEMENT = /^\s*([a-z]+)/i;
const TABLE = /^\s*(?:insert\s+into|update|delete\s+from|select\b[^'"]*?\bfrom)\s+`?(\w+)/i;
/** As the database has them go along. */
const START = "START TRANSACTION;\n";
const COMMIT = ";\nCOMMIT";
/** Characters that are looked at. */
const BEGINNING = 4_000;

/**
 * Statements to MySQL, as the driver itself tells of them, as far as they belong to a trace. Never their text, in which
 * the driver has put the values by then: payment tokens and addresses among them.
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
 * What a statement does, and to which table. Several that go along in one are told by the first of them that does
 * something, and by whether they commit it. Exported for its test.
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
