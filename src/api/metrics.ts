import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { BUCKETS, type Metrics } from "../platform/metrics.ts";
import { routeOf } from "../platform/route.ts";
import { route } from "./route.ts";

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
/** Far more than there are. Keeps odd requests from creating metrics without end. */
const MOST_ROUTES = 200;
const OTHER = "other";
const NO_ROUTE = "none";

/** `/metrics`, with a key. */
export const metricsRoute = route({
  method: "GET",
  path: "/metrics",
  scope: "operator",
  handler: async ({ response }, { metrics }) => {
    response.set("Content-Type", metrics.contentType).set("Cache-Control", "no-store");
    response.send(await metrics.text());
  },
});

/** Measures requests, and counts accepted orders. */
export class HttpMetrics {
  /** The registry. */
  readonly metrics: Metrics;
  readonly #requests;
  readonly #accepted;
  readonly #routes = new Set<string>();
  /** The histogram's children, keyed by method, status and route. */
  readonly #children = new Map<string, { observe(seconds: number): void }>();

  constructor(metrics: Metrics) {
    this.metrics = metrics;
    this.#requests = metrics.histogram({
      name: "conveyor_http_request_duration_seconds",
      help: "Time from a request's headers to the last byte of its response. Streams are left out.",
      labelNames: ["method", "route", "status"],
      buckets: BUCKETS,
    });
    this.#accepted = metrics.counter({
      name: "conveyor_orders_accepted_total",
      help: "Orders stored; repeated requests for the same order are not counted.",
    });
  }

  /** Wraps `accept` to count new orders. */
  counted<Order, Created extends { readonly repeated: boolean }>(
    accept: (order: Order) => Promise<Created>,
  ): (order: Order) => Promise<Created> {
    return async (order) => {
      const created = await accept(order);
      if (!created.repeated) this.#accepted.inc();
      return created;
    };
  }

  /** Wraps a listener to measure its requests. */
  measured(listener: RequestListener): RequestListener {
    return (request, response) => {
      const startedAt = performance.now();
      response.on("close", () => this.#note(request, response, startedAt));
      listener(request, response);
    };
  }

  #note(request: IncomingMessage, response: ServerResponse, startedAt: number): void {
    // A stream lasts as long as its client likes, which says nothing about speed.
    if (String(response.getHeader("content-type")).startsWith("text/event-stream")) return;
    const { method = "" } = request;
    // The client left before the answer, so there is no status.
    const status = response.headersSent ? `${Math.floor(response.statusCode / 100)}xx` : "aborted";
    const template = this.#bounded(routeOf(request) ?? NO_ROUTE);
    const key = `${method} ${status} ${template}`;
    let child = this.#children.get(key);
    if (child === undefined) {
      child = this.#requests.labels(METHODS.has(method) ? method : OTHER, template, status);
      // Bounded, because Node accepts only known methods.
      this.#children.set(key, child);
    }
    child.observe((performance.now() - startedAt) / 1_000);
  }

  #bounded(template: string): string {
    if (this.#routes.has(template)) return template;
    if (this.#routes.size >= MOST_ROUTES) return OTHER;
    this.#routes.add(template);
    return template;
  }
}
