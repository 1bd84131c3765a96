import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Frame } from "./frame.ts";

/** Maximum bytes buffered per client. A slower client is disconnected and gets the rest when it reconnects. */
const BUFFERED_BYTES = 256 * 1024;
/** Milliseconds for a client that catches up to read a page. */
const DRAIN_MS = 30_000;
/** Milliseconds for clients to read the rest at shutdown. */
const LAST_MOMENT_MS = 500;
/** Milliseconds after which a disconnected client should reconnect. */
const RETRY_MS = 2_000;

export const EVENT_STREAM = "text/event-stream; charset=utf-8";
const HEADERS = new Map([
  ["Content-Type", EVENT_STREAM],
  ["Cache-Control", "no-store"],
  // Keeps nginx from buffering.
  ["X-Accel-Buffering", "no"],
]);

/** A client that listens to some orders or to all. */
export class Listener {
  /** Undefined if it listens to all orders. */
  readonly orders: ReadonlySet<string> | undefined;
  /** The last event that it has been sent or skipped. */
  after: number;
  readonly #response: ServerResponse;
  #isOpen = true;

  constructor(response: ServerResponse, orders: readonly string[] | undefined, after: number) {
    this.#response = response;
    this.orders = orders && new Set(orders);
    this.after = after;
    response.setHeaders(HEADERS);
    // The id lets a client resume even if it is disconnected before its first event.
    response.write(`retry: ${RETRY_MS}\nid: ${after}\n\n`);
    response.once("close", () => (this.#isOpen = false));
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Calls back once, when the client has disconnected. */
  onClose(callback: () => void): void {
    if (this.#response.closed) callback();
    else this.#response.once("close", callback);
  }

  /** The frames that this client wants and has not been sent. */
  missing(frames: readonly Frame[]): Frame[] {
    return frames.filter(
      ({ id, orderId }) => id > this.after && (this.orders === undefined || this.orders.has(orderId)),
    );
  }

  /** Sends the frames, oldest first, that this client wants and has not been sent. */
  send(frames: readonly Frame[]): void {
    const wanted = this.missing(frames);
    const last = wanted.at(-1);
    if (last) this.write(Buffer.concat(wanted.map(({ bytes }) => bytes)), last.id);
  }

  /** @param upTo the last event in `bytes`. */
  write(bytes: Buffer, upTo: number): void {
    if (!this.#isOpen) return;
    this.after = upTo;
    this.#response.write(bytes);
    if (this.#response.writableLength > BUFFERED_BYTES) this.#disconnect();
  }

  /** Waits until the client has read what it was sent; disconnects it if that takes too long. */
  async drained(): Promise<void> {
    if (!this.#isOpen || !this.#response.writableNeedDrain) return;
    const timer = setTimeout(() => this.#disconnect(), DRAIN_MS);
    const waiting = new AbortController();
    const { signal } = waiting;
    const drained = ["drain", "close"].map((event) => once(this.#response, event, { signal }));
    // Whichever comes first; the other is cancelled.
    await Promise.race(drained).catch(() => undefined);
    waiting.abort();
    await Promise.allSettled(drained);
    clearTimeout(timer);
  }

  /** Ends the stream; the client will reconnect. */
  end(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#response.end();
    setTimeout(() => this.#disconnect(), LAST_MOMENT_MS).unref();
  }

  #disconnect(): void {
    this.#isOpen = false;
    this.#response.destroy();
  }
}
