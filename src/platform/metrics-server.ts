import { createServer, type Server, type ServerResponse } from "node:http";
import { listen } from "./listen.ts";
import type { Metrics } from "./metrics.ts";

/** Longer than any scraper needs to send a request. Milliseconds. */
const REQUEST_TIMEOUT_MS = 10_000;

/**
 * `/metrics` on a port of its own, for workers, which have no other, and wherever whoever scrapes is to have no key
 * that orders can be placed with. It asks for none: the port is for a network of one's own.
 */
export class MetricsServer {
  readonly #server: Server;

  constructor(metrics: Pick<Metrics, "text" | "contentType">) {
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      if (request.url?.split("?", 1)[0] !== "/metrics")
        return answer(response, 404, "there is nothing but /metrics\n");
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

  /** @param port 0 for any that is free. @returns the address of the metrics. @throws {StartupError} */
  async listen(port: number, host: string): Promise<string> {
    return `${await listen(this.#server, { port, host, variable: "METRICS_PORT" })}/metrics`;
  }

  /** A scrape that is under way is cut off: the next one finds the process gone as well. */
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
