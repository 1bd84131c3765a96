import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Logger } from "./log.ts";

/** Milliseconds between two log lines about the limit. */
const LOG_INTERVAL_MS = 60_000;

/** For a client whose connection is refused: nothing is read from it. */
const REFUSAL = [
  "HTTP/1.1 503 Service Unavailable",
  "Connection: close",
  "Content-Length: 0",
  "Retry-After: 1",
  "X-Content-Type-Options: nosniff",
  "\r\n",
].join("\r\n");

/**
 * A server's open connections, with their unfinished responses. At the limit a new connection takes the place of the one
 * that has been idle for longest, so that silent clients shut nobody out. If none is idle, it takes the place of one that
 * only a stranger's slowness keeps open: half a request was sent, or the answer is not fetched. Without one of those, too,
 * the new one is refused.
 */
export class Connections {
  /** By the time of their last use. */
  readonly #open = new Map<Socket, Set<ServerResponse>>();
  readonly #most: number;
  readonly #log: Pick<Logger, "warn"> | undefined;
  readonly #isKnown: (response: ServerResponse) => boolean;
  #accepted = 0;
  #loggedAt = -Infinity;

  /** @param isKnown whether a response's request came from no stranger; by default, all do. */
  constructor(
    most: number,
    log: Pick<Logger, "warn"> | undefined,
    isKnown: (response: ServerResponse) => boolean = () => false,
  ) {
    this.#most = most;
    this.#log = log;
    this.#isKnown = isKnown;
  }

  /** Connections so far. */
  get accepted(): number {
    return this.#accepted;
  }

  get size(): number {
    return this.#open.size;
  }

  add(socket: Socket): void {
    this.#accepted++;
    if (this.#open.size >= this.#most) {
      this.#logLimit();
      const idle = this.#first((underWay) => underWay.size === 0) ?? this.#first(this.#isHeldOnTo);
      if (idle === undefined) {
        // Nobody listens for its errors yet.
        socket.on("error", () => undefined).end(REFUSAL, () => socket.destroy());
        return;
      }
      this.#open.delete(idle);
      idle.destroy();
    }
    this.#open.set(socket, new Set());
    socket.once("close", () => this.#open.delete(socket));
  }

  /**
   * Follows a response until it is sent.
   *
   * @param onIdle called when its connection has no other.
   * @returns all of its connection, in the order of their requests
   */
  follow(socket: Socket, response: ServerResponse, onIdle: () => void): ReadonlySet<ServerResponse> {
    const underWay = this.#open.get(socket) ?? new Set();
    underWay.add(response);
    response.on("close", () => {
      underWay.delete(response);
      if (underWay.size > 0) return;
      // To the end, as the one that was used last.
      if (this.#open.delete(socket) && !socket.destroyed) this.#open.set(socket, underWay);
      onIdle();
    });
    return underWay;
  }

  /** The unfinished responses of each connection that has some, in the order of their requests. */
  *busy(): Generator<readonly ServerResponse[]> {
    for (const underWay of this.#open.values()) if (underWay.size > 0) yield [...underWay];
  }

  destroyIdle(): void {
    for (const [socket, underWay] of this.#open) if (underWay.size === 0) socket.destroy();
  }

  destroyAll(): void {
    for (const socket of this.#open.keys()) socket.destroy();
  }

  /** The one that was used last before all others of its kind. */
  #first(isOne: (underWay: ReadonlySet<ServerResponse>) => boolean): Socket | undefined {
    for (const [socket, underWay] of this.#open) if (isOne(underWay)) return socket;
    return undefined;
  }

  /** Whether nothing is to be done for any of a connection's requests, which came from strangers, until the client goes on. */
  readonly #isHeldOnTo = (underWay: ReadonlySet<ServerResponse>): boolean =>
    [...underWay].every(
      (response) => !this.#isKnown(response) && (response.writableEnded || !response.req.complete),
    );

  #logLimit(): void {
    const now = performance.now();
    if (now - this.#loggedAt < LOG_INTERVAL_MS) return;
    this.#loggedAt = now;
    this.#log?.warn(
      { connections: this.#open.size },
      "no more connections can be open: closing those that are idle, or refusing new ones",
    );
  }
}
