import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";

/*
 * Connections are kept for the next request, and the other side may close one just then. That says nothing of the other
 * side's health, so it must cost nobody an attempt: the request goes out again at once, over a fresh connection. Only if no
 * byte of an answer had come.
 */

/** How a request went out. */
export interface Way {
  readonly socket: Socket;
  /** Whether a request went over the connection before. */
  readonly isReused: boolean;
  /** Bytes that had come over it before the request. */
  readonly bytesBefore: number;
  /** In the time of `performance.now()`. */
  readonly sentAt: number;
}

/**
 * A connection that was closed before a request is found to be so at once. One that is closed later may have been at work on
 * the request for long, and its idempotency key may be forgotten by now. Milliseconds.
 */
const AT_ONCE_MS = 1_000;

/** The way of a request that is about to be written. */
export function wayOver(socket: Socket, isReused: boolean): Way {
  return { socket, isReused, bytesBefore: socket.bytesRead, sentAt: performance.now() };
}

/** Whether a request failed at once because the connection, one of before, was closed without a byte of an answer. */
export function wasStale(error: unknown, way: Way | undefined): boolean {
  if (way?.isReused !== true || !isClosed(error)) return false;
  return way.socket.bytesRead === way.bytesBefore && performance.now() - way.sentAt < AT_ONCE_MS;
}

/** Codes of errors of the system, and of fetch for a connection that the other side has ended. */
const CLOSED = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);

function isClosed(error: unknown): boolean {
  if (typeof error !== "object" || error === null) return false;
  const { code, cause }: { readonly code?: unknown; readonly cause?: unknown } = error;
  // fetch's own error has none, but a cause.
  return CLOSED.has(String(code)) || isClosed(cause);
}

interface Exchange {
  way?: Way;
}

const exchangeHere = new AsyncLocalStorage<Exchange>();
/** By fetch's own object for the request. */
const exchanges = new WeakMap<object, Exchange>();
const used = new WeakSet<Socket>();
let follows = false;

/** What Node's fetch tells of its requests: https://undici.nodejs.org/#/docs/api/DiagnosticsChannel */
function follow(): void {
  if (follows) return;
  follows = true;
  subscribe("undici:request:create", (told) => {
    const exchange = exchangeHere.getStore();
    if (exchange && isAboutRequest(told)) exchanges.set(told.request, exchange);
  });
  subscribe("undici:client:sendHeaders", (told) => {
    if (!isAboutRequest(told) || told.socket === undefined) return;
    const exchange = exchanges.get(told.request);
    if (exchange) exchange.way = wayOver(told.socket, used.has(told.socket));
    used.add(told.socket);
  });
}

function isAboutRequest(told: unknown): told is { readonly request: object; readonly socket?: Socket } {
  return typeof told === "object" && told !== null && "request" in told;
}

/** The connection was one of before, and was found closed at once. Whether the request was read is not known. */
export class StaleConnectionError extends Error {
  override name = "StaleConnectionError";
}

/** `fetch` that tells of connections that were closed meanwhile. @throws {StaleConnectionError} */
export async function fetchOnce(url: Parameters<typeof fetch>[0], init?: RequestInit): Promise<Response> {
  follow();
  const exchange: Exchange = {};
  try {
    return await exchangeHere.run(exchange, () => fetch(url, init));
  } catch (error) {
    if (init?.signal?.aborted === true || !wasStale(error, exchange.way)) throw error;
    throw new StaleConnectionError("the connection was closed before an answer", { cause: error });
  }
}

/** `fetch`, again as long as it took connections that were closed meanwhile. The body must be one that can be sent again. */
export async function fetchFresh(url: Parameters<typeof fetch>[0], init?: RequestInit): Promise<Response> {
  for (;;) {
    try {
      return await fetchOnce(url, init);
    } catch (error) {
      // Each of them leaves the pool, so this ends with a fresh one.
      if (!(error instanceof StaleConnectionError)) throw error;
    }
  }
}
