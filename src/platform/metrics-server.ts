import { createServer, type Server, type ServerResponse } from "node:http";
import { listen } from "./listen.ts";
import type { Metrics } from "./metrics.ts";

/** Milliseconds; more than a scraper needs to send a request. */
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * Serves `/metrics` on a separate port: for workers, which have no other, and for scrapers that should not have an API
 * key. It requires no authentication, so the port must be on a private network.
 */
export class MetricsServer {
  readonly #server: Server;

  constructor(metrics: Pick<Metrics, "text" | "contentType">) {
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      if (request.url?.split("?", 1)[0] !== "/metrics")
        return answer(response, 404, "not found: only /metrics is served here\n");
      if (request.method !== "GET" && request.method !== "HEAD") {
        response.setHeader("Allow", "GET, HEAD");
        return answer(response, 405, "GET and HEAD are allowed\n");
      }
      metrics.text().then(
        (text) => answer(response, 200, text, metrics.contentType),
        () => answer(response, 500, "the metrics could not be collected\n"),
      );
    });
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

function answer(response: ServerResponse, status: number, text: string, type = "text/plain"): void {
  response.writeHead(status, { "Content-Type": type, "X-Content-Type-Options": "nosniff" }).end(text);
}
