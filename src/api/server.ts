import {
  createServer,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import { Server as NetServer, type Socket } from "node:net";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { Connections } from "../platform/connections.ts";
import { listen } from "../platform/listen.ts";
import type { Logger } from "../platform/log.ts";
import { isKnown } from "./auth.ts";

/** The classes that a server makes requests and responses of. */
export type MessageClasses = Pick<ServerOptions, "IncomingMessage" | "ServerResponse">;

export interface HttpServerOptions {
  /** Of requests and responses; those of `node:http` by default. */
  readonly classes?: MessageClasses;
  /** How long requests under way may take while the server closes; ten seconds by default. Milliseconds. */
  readonly closeWithinMs?: number;
  /** Open connections at most; any number by default. */
  readonly mostConnections?: number;
  readonly log?: Pick<Logger, "warn">;
}

/** How long a client may take to send a request's head, and all of it. Milliseconds. */
const RECEIVE_WITHIN = { headersTimeout: 15_000, requestTimeout: 60_000, connectionsCheckingInterval: 5_000 };
/** Longer than load balancers keep an idle connection, so that none is closed just when a request comes. Milliseconds. */
const KEEP_ALIVE_MS = 75_000;
const CLOSE_WITHIN_MS = 10_000;
/** Milliseconds in which a server that closes still reads what clients have already sent. */
const LAST_READ_MS = 500;
/** A turn of the event loop that took less had nothing to do. Milliseconds. */
const QUIET_MS = 0.1;
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
  readonly #connections: Connections;
  readonly #log: Pick<Logger, "warn"> | undefined;
  readonly #closeWithinMs: number;
  /** Whether each answer is the last on its connection. */
  #retiring = false;
  /** Requests that wait until no more connections are taken; undefined while none has to wait. */
  #held: (() => void)[] | undefined;
  /** When {@link close} cuts off what is unfinished, by `performance.now()`. */
  #cutAt: number | undefined;

  constructor(listener: RequestListener, options: HttpServerOptions = {}) {
    const { classes = {}, closeWithinMs = CLOSE_WITHIN_MS, mostConnections = Infinity, log } = options;
    this.#log = log;
    this.#closeWithinMs = closeWithinMs;
    this.#connections = new Connections(mostConnections, log, isKnown);
    this.#server = createServer({ ...RECEIVE_WITHIN, keepAliveTimeout: KEEP_ALIVE_MS, ...classes });
    this.#server.on("connection", (socket: Socket) => this.#connections.add(socket));
    this.#server.on("request", (request, response) => {
      this.#follow(request.socket, response);
      if (this.#held === undefined) listener(request, response);
      else this.#held.push(() => listener(request, response));
    });
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
    // Who waits for an answer does not connect anew because of one, and be reset by the end of the listener.
    const held: (() => void)[] = [];
    this.#held = held;
    await this.#quietMoment();
    const closed = new Promise<void>((resolve, reject) => {
      // That of http.Server would reset the connections whose next request has arrived but is not read yet.
      NetServer.prototype.close.call(this.#server, (error) => (error ? reject(error) : resolve()));
    });
    this.#held = undefined;
    for (const answer of held) answer();
    await Promise.race([closed, sleep(LAST_READ_MS)]);
    this.#connections.destroyIdle();
    const now = performance.now();
    const cutAt = Math.max(this.#cutAt ?? now + this.#closeWithinMs, now + LAST_WRITE_MS);
    const timer = setTimeout(() => this.#cut(), cutAt - now);
    await closed;
    clearTimeout(timer);
  }

  /**
   * Waits until the loop has run twice with nothing to do, since the system resets connections that it has accepted and
   * nobody has fetched. One that comes while the loop is at work, often because of an answer that it has just sent, is not
   * seen before the next turn.
   */
  async #quietMoment(): Promise<void> {
    const deadline = performance.now() + LAST_READ_MS;
    let quietTurns = 0;
    for (let at = performance.now(); at < deadline;) {
      const seen = this.#connections.accepted;
      await immediate();
      const now = performance.now();
      quietTurns = this.#connections.accepted === seen && now - at < QUIET_MS ? quietTurns + 1 : 0;
      if (quietTurns === 2) return;
      at = now;
    }
  }

  #endConnections(): void {
    this.#retiring = true;
    for (const underWay of this.#connections.busy()) endAfter(underWay);
  }

  #cut(): void {
    const requests = [...this.#connections.busy()].length;
    this.#log?.warn({ requests }, "requests took too long to finish: cutting them off");
    this.#connections.destroyAll();
  }

  #follow(socket: Socket, response: ServerResponse): void {
    const underWay = this.#connections.follow(socket, response, () => {
      if (this.#retiring) socket.end();
    });
    if (this.#retiring) endAfter([...underWay]);
  }
}

/** Only the last of several requests that came at once ends the connection. */
function endAfter(underWay: readonly ServerResponse[]): void {
  for (const [index, response] of underWay.entries()) {
    if (response.headersSent) continue;
    if (index === underWay.length - 1) response.setHeader("Connection", "close");
    else response.removeHeader("Connection");
  }
}
