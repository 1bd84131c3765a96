import { subscribe } from "node:diagnostics_channel";
import { context, propagation, SpanKind, SpanStatusCode, trace, type Span } from "@opentelemetry/api";
import { noteError, tracer } from "./tracer.ts";

/** A request of fetch's, as Node tells of it. */
interface FetchRequest {
  readonly origin: unknown;
  readonly method: unknown;
  readonly path: unknown;
  readonly addHeader: (name: string, value: string) => unknown;
}

/**
 * Calls of services outside, as Node's fetch itself tells of them, as far as they belong to a trace; they are handed its
 * id, so that the service can go on with it. Parts of the address that may be an order's are left out.
 */
export function followFetches(): void {
  const spans = new WeakMap<object, Span>();
  subscribe("undici:request:create", (message) => {
    const request = requestOf(message);
    if (request === undefined || !trace.getSpan(context.active())?.isRecording()) return;
    const origin = String(request.origin);
    const method = String(request.method);
    const span = tracer.startSpan(method, {
      kind: SpanKind.CLIENT,
      attributes: {
        "http.request.method": method,
        "url.full": origin + String(request.path),
        ...(URL.canParse(origin) && { "server.address": new URL(origin).hostname }),
      },
    });
    spans.set(request, span);
    const headers: Record<string, string> = {};
    propagation.inject(trace.setSpan(context.active(), span), headers);
    for (const [name, value] of Object.entries(headers)) request.addHeader(name, value);
  });
  subscribe("undici:request:headers", (message) => {
    const status = statusOf(message);
    const span = spans.get(requestOf(message) ?? {});
    if (span === undefined || status === undefined) return;
    span.setAttribute("http.response.status_code", status);
    if (status >= 400) span.setStatus({ code: SpanStatusCode.ERROR });
  });
  subscribe("undici:request:trailers", (message) => spans.get(requestOf(message) ?? {})?.end());
  subscribe("undici:request:error", (message) => {
    const span = spans.get(requestOf(message) ?? {});
    if (span === undefined) return;
    noteError(span, fieldOf(message, "error"));
    span.end();
  });
}

function requestOf(message: unknown): FetchRequest | undefined {
  const request = fieldOf(message, "request");
  return isRequest(request) ? request : undefined;
}

function isRequest(value: unknown): value is FetchRequest {
  return typeof fieldOf(value, "addHeader") === "function";
}

function statusOf(message: unknown): number | undefined {
  const status = fieldOf(fieldOf(message, "response"), "statusCode");
  return typeof status === "number" ? status : undefined;
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
