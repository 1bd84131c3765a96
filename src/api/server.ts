import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { StartupError } from "../platform/startup.ts";

/** An HTTP server that closes as soon as the last request is answered, however many clients keep their connections. */
export class HttpServer {
  readonly #server: Server = createServer();
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

  /** @returns the address, whose port is a free one when 0 was asked for. @throws {StartupError} */
  listen(port: number, host: string): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        const noAddress = `${host} is no address of this machine: set HOST to one`;
        const why: Record<string, string> = {
          EADDRINUSE: `port ${port} of ${host} is taken: set PORT to another one`,
          EACCES: `port ${port} needs more rights than this process has: set PORT to 1024 or above`,
          EADDRNOTAVAIL: noAddress,
          ENOTFOUND: noAddress,
          EAI_AGAIN: noAddress,
        };
        reject(
          new StartupError(why[error.code ?? ""] ?? `cannot listen on ${host}:${port}: ${error.message}`),
        );
      });
      this.#server.listen(port, host, () => {
        const bound = this.#server.address();
        const boundPort = typeof bound === "object" && bound !== null ? bound.port : port;
        resolve(`http://${host.includes(":") ? `[${host}]` : host}:${boundPort}`);
      });
    });
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
