import { SpanStatusCode, trace, type Span } from "@opentelemetry/api";

/** What this service's own spans are made by. */
export const tracer = trace.getTracer("conveyor");

/** Marks a span as failed. Told is the kind of error alone: a message may quote what a customer sent. */
export function noteError(span: Span, error: unknown): void {
  const kind = error instanceof Error ? error.name : typeof error;
  span.setAttribute("error.type", kind);
  span.setStatus({ code: SpanStatusCode.ERROR, message: kind });
}
