import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { context, propagation, SpanKind, SpanStatusCode, trace, type Span } from "@opentelemetry/api";
import { routeOf, withoutSecrets } from "../route.ts";
import { tracer } from "./tracer.ts";

/** Polled by machines, and not about orders. */
const NOT_FOLLOWED = /^\/(health|metrics)\b/;

/** Wraps a listener to make each request a span, in the client's trace if it sent one. */
export function followRequests(listener: RequestListener): RequestListener {
  return (request, response) => {
    const [path = ""] = (request.url ?? "").split("?", 1);
    if (NOT_FOLLOWED.test(path)) return listener(request, response);
    const { method = "" } = request;
    const span = tracer.startSpan(
      method,
      {
        kind: SpanKind.SERVER,
        attributes: { "http.request.method": method, "url.path": withoutSecrets(path), "url.scheme": "http" },
      },
      propagation.extract(context.active(), request.headers),
    );
    const within = trace.setSpan(context.active(), span);
    // Otherwise their events would run in the context of the connection, which serves many requests.
    context.bind(within, request);
    context.bind(within, response);
    response.once("close", () => end(span, request, response));
    context.with(within, () => listener(request, response));
  };
}

function end(span: Span, request: IncomingMessage, response: ServerResponse): void {
  const route = routeOf(request);
  if (route !== undefined) {
    span.updateName(`${request.method ?? ""} ${route}`);
    span.setAttribute("http.route", route);
  }
  span.setAttribute("http.response.status_code", response.statusCode);
  if (response.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  if (!response.writableFinished) span.setAttribute("error.type", "aborted");
  span.end();
}
