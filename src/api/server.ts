import {
  createServer,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import { listen } from "../platform/listen.ts";

/** The classes that a server makes requests and responses of. */
export type MessageClasses = Pick<ServerOptions, "IncomingMessage" | "ServerResponse">;

/**
 * An HTTP server that closes as soon as the last request is answered, even with keep-alive clients. (`Server.close()`
 * alone waits for connections whose answer came after it. http-terminator does the same, but with its own logger and
 * deadline; here the whole process has one deadline.)
 */
export class HttpServer {
  readonly #server: Server;
  /** Open connections, with their unfinished responses. */
  readonly #connections = new Map<Socket, Set<ServerResponse>>();
  #closing = false;

  /** @param classes of requests and responses; those of `node:http` by default. */
  constructor(listener: RequestListener, classes: MessageClasses = {}) {
    this.#server = createServer(classes);
    this.#server.on("connection", (socket: Socket) => {
      this.#connections.set(socket, new Set());
      socket.once("close", () => this.#connections.delete(socket));
    });
    this.#server.on("request", (request, response) => this.#follow(request.socket, response));
    this.#server.on("request", listener);
  }

  /** @param port 0 for any free port. @returns the address. @throws {StartupError} */
  listen(port: number, host: string): Promise<string> {
    return listen(this.#server, { port, host, variable: "PORT" });
  }

  /** Stops accepting, and resolves when the requests under way are answered. */
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
    response.on("close", () => {
      underWay?.delete(response);
      if (this.#closing && underWay?.size === 0) socket.end();
    });
  }
}
