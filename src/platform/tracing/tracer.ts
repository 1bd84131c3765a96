import { SpanStatusCode, trace, type Span } from "@opentelemetry/api";

/** The tracer of this service's own spans. */
export const tracer = trace.getTracer("conveyor");

/** Marks a span as failed, with the error's kind only, since its message may quote customer data. */
export function noteError(span: Span, error: unknown): void {
  const kind = error instanceof Error ? error.name : typeof error;
  span.setAttribute("error.type", kind);
  span.setStatus({ code: SpanStatusCode.ERROR, message: kind });
}

/** Runs work and ends its span, as failed if the work fails. */
export async function settled<T>(span: Span, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    noteError(span, error);
    throw error;
  } finally {
    span.end();
  }
}
