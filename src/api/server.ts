import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { listen } from "../platform/listen.ts";

/**
 * Milliseconds for which a connection is kept that nobody uses: longer than load balancers keep theirs, commonly 60 s. Who
 * closes first must not be the server, which can't know that the next request is on its way already.
 */
const KEEP_ALIVE_MS = 75_000;
/** The same for a connection that has not been used yet. */
const HEADERS_MS = 80_000;

/**
 * An HTTP server that closes as soon as the last request is answered, however many clients keep their connections.
 * (`Server.close()` alone keeps connections open whose answer came after it. http-terminator does the same as this, with a
 * logger and a deadline of its own, where the deadline is the whole process's.)
 */
export class HttpServer {
  readonly #server: Server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, headersTimeout: HEADERS_MS });
  /** The open connections, each with the answers that are under way on it. */
  readonly #connections = new Map<Socket, Set<ServerResponse>>();
  #closing = false;

  constructor(listener: RequestListener) {
    this.#server.on("connection", (socket: Socket) => {
      this.#connections.set(socket, new Set());
      socket.once("close", () => this.#connections.delete(socket));
    });
    this.#server.on("request", (request, response) => this.#follow(request.socket, response));
    this.#server.on("request", listener);
  }

  /** @param port 0 for any that is free. @returns the address. @throws {StartupError} */
  listen(port: number, host: string): Promise<string> {
    return listen(this.#server, { port, host, variable: "PORT" });
  }

  /** Takes no more connections and requests, and resolves when those under way are answered. */
  close(): Promise<void> {
    this.#closing = true;
    const closed = new Promise<void>((resolve, reject) => {
      this.#server.close((error) => (error ? reject(error) : resolve()));
    });
    for (const [socket, underWay] of this.#connections) {
      const last = [...underWay].at(-1);
      if (last === undefined) socket.destroy();
      else if (!last.headersSent) last.setHeader("Connection", "close");
    }
    return closed;
  }

  #follow(socket: Socket, response: ServerResponse): void {
    const underWay = this.#connections.get(socket);
    underWay?.add(response);
    response.once("close", () => {
      underWay?.delete(response);
      if (this.#closing && underWay?.size === 0) socket.end();
    });
  }
}
