import {
  createServer,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import { Server as NetServer, type Socket } from "node:net";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { listen } from "../platform/listen.ts";
import type { Logger } from "../platform/log.ts";

/** The classes that a server makes requests and responses of. */
export type MessageClasses = Pick<ServerOptions, "IncomingMessage" | "ServerResponse">;

export interface HttpServerOptions {
  /** Of requests and responses; those of `node:http` by default. */
  readonly classes?: MessageClasses;
  /** How long requests under way may take while the server closes; ten seconds by default. Milliseconds. */
  readonly closeWithinMs?: number;
  readonly log?: Pick<Logger, "warn">;
}

const CLOSE_WITHIN_MS = 10_000;
/** Milliseconds in which a server that closes still reads what clients have already sent. */
const LAST_READ_MS = 500;
/** Milliseconds that answers take to be written after the deadline of the work for them. */
const LAST_WRITE_MS = 500;

/**
 * An HTTP server that closes without cutting off a client: first it goes on with each answer being the last on its
 * connection ({@link retire}), then it closes as soon as the last request is answered, even with keep-alive clients.
 * (`Server.close()` alone waits for connections whose answer came after it, and resets those with a request that it has not
 * read yet. http-terminator has the second fault too.)
 */
export class HttpServer {
  readonly #server: Server;
  readonly #log: Pick<Logger, "warn"> | undefined;
  readonly #closeWithinMs: number;
  /** Open connections, with their unfinished responses. */
  readonly #connections = new Map<Socket, Set<ServerResponse>>();
  /** Connections so far. */
  #accepted = 0;
  /** Whether each answer is the last on its connection. */
  #retiring = false;
  /** When {@link close} cuts off what is unfinished, by `performance.now()`. */
  #cutAt: number | undefined;

  constructor(
    listener: RequestListener,
    { classes = {}, closeWithinMs = CLOSE_WITHIN_MS, log }: HttpServerOptions = {},
  ) {
    this.#log = log;
    this.#closeWithinMs = closeWithinMs;
    this.#server = createServer(classes);
    this.#server.on("connection", (socket: Socket) => {
      this.#accepted++;
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

  /** Goes on for this long, and asks each client to connect anew, so that those of a load balancer go elsewhere. */
  async retire(graceMs: number): Promise<void> {
    this.#endConnections();
    await sleep(graceMs);
    this.#cutAt = performance.now() + this.#closeWithinMs;
  }

  /** Stops accepting, and resolves when the requests under way are answered, or cut off because their time is up. */
  async close(): Promise<void> {
    this.#endConnections();
    await this.#quietMoment();
    const closed = new Promise<void>((resolve, reject) => {
      // That of http.Server would reset the connections whose next request has arrived but is not read yet.
      NetServer.prototype.close.call(this.#server, (error) => (error ? reject(error) : resolve()));
    });
    await Promise.race([closed, sleep(LAST_READ_MS)]);
    for (const [socket, underWay] of this.#connections) if (underWay.size === 0) socket.destroy();
    const now = performance.now();
    const cutAt = Math.max(this.#cutAt ?? now + this.#closeWithinMs, now + LAST_WRITE_MS);
    const timer = setTimeout(() => this.#cut(), cutAt - now);
    await closed;
    clearTimeout(timer);
  }

  /**
   * Waits until the loop has run once without a new connection, since the system resets those that it has accepted and
   * nobody has fetched.
   */
  async #quietMoment(): Promise<void> {
    const deadline = performance.now() + LAST_READ_MS;
    let seen;
    do {
      seen = this.#accepted;
      await immediate();
    } while (this.#accepted !== seen && performance.now() < deadline);
  }

  #endConnections(): void {
    this.#retiring = true;
    for (const underWay of this.#connections.values()) {
      const last = [...underWay].at(-1);
      if (last?.headersSent === false) last.setHeader("Connection", "close");
    }
  }

  #cut(): void {
    this.#log?.warn(
      { requests: this.#connections.size },
      "requests took too long to finish: cutting them off",
    );
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  #follow(socket: Socket, response: ServerResponse): void {
    const underWay = this.#connections.get(socket);
    if (this.#retiring) {
      // Only the last of several requests that came at once ends the connection.
      for (const earlier of underWay ?? []) if (!earlier.headersSent) earlier.removeHeader("Connection");
      response.setHeader("Connection", "close");
    }
    underWay?.add(response);
    response.on("close", () => {
      underWay?.delete(response);
      if (this.#retiring && underWay?.size === 0) socket.end();
    });
  }
}
