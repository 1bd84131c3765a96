import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { context, propagation, SpanKind, SpanStatusCode, trace, type Span } from "@opentelemetry/api";
import { routeOf } from "../route.ts";
import { tracer } from "./tracer.ts";

/** Asked again and again by machines, of no order. */
const NOT_FOLLOWED = /^\/(health|metrics)\b/;

/** The same listener, whose requests are spans: parts of the client's trace, if it sent one along. */
export function followRequests(listener: RequestListener): RequestListener {
  return (request, response) => {
    const [path = ""] = (request.url ?? "").split("?", 1);
    if (NOT_FOLLOWED.test(path)) return listener(request, response);
    const { method = "" } = request;
    const span = tracer.startSpan(
      method,
      {
        kind: SpanKind.SERVER,
        attributes: { "http.request.method": method, "url.path": path, "url.scheme": "http" },
      },
      propagation.extract(context.active(), request.headers),
    );
    const within = trace.setSpan(context.active(), span);
    // What comes of them is told in the context of their connection, which is not that of one request.
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
