import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Frame } from "./frame.ts";

/** Bytes that may wait for a client to read them. One that is further behind is cut off, and comes back for the rest. */
const BUFFERED_BYTES = 256 * 1024;
/** Milliseconds that a client which catches up has for reading what it was sent. */
const DRAIN_MS = 30_000;
/** Milliseconds that a client has to read what is left when the service ends. */
const LAST_MOMENT_MS = 500;
/** Milliseconds after which a client that was cut off comes back. */
const RETRY_MS = 2_000;

export const EVENT_STREAM = "text/event-stream; charset=utf-8";
const HEADERS = new Map([
  ["Content-Type", EVENT_STREAM],
  ["Cache-Control", "no-store"],
  // nginx would collect what is to be sent at once.
  ["X-Accel-Buffering", "no"],
]);

/** One client that listens: to one order, or to all. */
export class Listener {
  /** Undefined for one that listens to all. */
  readonly orderId: string | undefined;
  /** The last event that it has been sent, or does not want. */
  after: number;
  readonly #response: ServerResponse;
  #isOpen = true;

  constructor(response: ServerResponse, orderId: string | undefined, after: number) {
    this.#response = response;
    this.orderId = orderId;
    this.after = after;
    response.setHeaders(HEADERS);
    // The id is where to go on for a client that is cut off before it has had an event.
    response.write(`retry: ${RETRY_MS}\nid: ${after}\n\n`);
    response.once("close", () => (this.#isOpen = false));
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Calls back once, when the client is gone. */
  onClose(gone: () => void): void {
    if (this.#response.closed) gone();
    else this.#response.once("close", gone);
  }

  /** Those of some frames that it has not had and that are for it. */
  missing(frames: readonly Frame[]): Frame[] {
    return frames.filter(
      ({ id, orderId }) => id > this.after && (this.orderId === undefined || orderId === this.orderId),
    );
  }

  /** Sends those of some frames, oldest first, that it has not had and that are for it. */
  send(frames: readonly Frame[]): void {
    const wanted = this.missing(frames);
    const last = wanted.at(-1);
    if (last) this.write(Buffer.concat(wanted.map(({ bytes }) => bytes)), last.id);
  }

  /** @param upTo the last event in it. */
  write(bytes: Buffer, upTo: number): void {
    if (!this.#isOpen) return;
    this.after = upTo;
    this.#response.write(bytes);
    if (this.#response.writableLength > BUFFERED_BYTES) this.#cutOff();
  }

  /** Waits until the client has read what it was sent, and cuts it off when it takes too long. */
  async drained(): Promise<void> {
    if (!this.#isOpen || !this.#response.writableNeedDrain) return;
    const timer = setTimeout(() => this.#cutOff(), DRAIN_MS);
    const waiting = new AbortController();
    const { signal } = waiting;
    const drained = ["drain", "close"].map((event) => once(this.#response, event, { signal }));
    // One of them comes; the other one is not waited for any more.
    await Promise.race(drained).catch(() => undefined);
    waiting.abort();
    await Promise.allSettled(drained);
    clearTimeout(timer);
  }

  /** Ends it; the client comes back. */
  end(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#response.end();
    setTimeout(() => this.#cutOff(), LAST_MOMENT_MS).unref();
  }

  #cutOff(): void {
    this.#isOpen = false;
    this.#response.destroy();
  }
}
