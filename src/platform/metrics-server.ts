import { createServer, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Connections } from "./connections.ts";
import { listen } from "./listen.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";

/** Milliseconds; more than a scraper needs to send a request. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Open connections at most: each scraper and each probe needs one. */
export const MOST_SCRAPERS = 32;

/**
 * Serves `/metrics` and the health checks on a separate port: for workers, which have no other, and for scrapers that
 * should not have an API key. It requires no authentication, so the port must be on a private network.
 */
export class MetricsServer {
  readonly #server: Server;

  /** @param isAccepting whether the process has started and is not about to stop */
  constructor(
    metrics: Pick<Metrics, "text" | "contentType">,
    isAccepting: () => boolean,
    log: Pick<Logger, "warn">,
  ) {
    const routes: Readonly<Record<string, (response: ServerResponse) => void>> = {
      "/metrics": (response) =>
        void metrics.text().then(
          (text) => answer(response, 200, text, metrics.contentType),
          () => answer(response, 500, "the metrics could not be collected\n"),
        ),
      // As the API's own: see src/api/health.ts.
      "/health/live": (response) => answerJson(response, 200, { live: true }),
      "/health/accepting": (response) => {
        const accepting = isAccepting();
        answerJson(response, accepting ? 200 : 503, { accepting });
      },
    };
    const paths = Object.keys(routes).join(", ");
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      const path = request.url?.split("?", 1)[0] ?? "";
      const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
      if (route === undefined) return answer(response, 404, `not found: here are only ${paths}\n`);
      if (request.method !== "GET" && request.method !== "HEAD") {
        response.setHeader("Allow", "GET, HEAD");
        return answer(response, 405, "GET and HEAD are allowed\n");
      }
      route(response);
    });
    const connections = new Connections(MOST_SCRAPERS, log);
    this.#server.on("connection", (socket: Socket) => connections.add(socket));
    this.#server.prependListener("request", (request, response) =>
      connections.follow(request.socket, response, () => undefined),
    );
  }

  /** @param port 0 for any free port. @returns the URL of the metrics. @throws {StartupError} */
  async listen(port: number, host: string): Promise<string> {
    return `${await listen(this.#server, { port, host, variable: "METRICS_PORT" })}/metrics`;
  }

  /** Aborts a running scrape; the process is about to exit anyway. */
  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeAllConnections();
    return closed;
  }
}

function answerJson(response: ServerResponse, status: number, body: object): void {
  answer(response, status, JSON.stringify(body), "application/json; charset=utf-8");
}

function answer(response: ServerResponse, status: number, text: string, type = "text/plain"): void {
  response.writeHead(status, { "Content-Type": type, "X-Content-Type-Options": "nosniff" }).end(text);
}
