import type { Redis } from "ioredis";
import { notificationChannelOf } from "./stream.ts";

/**
 * Lets a reader of events rest until there may be new ones: until an `EventNotifier` says so over Redis, or until the
 * interval has passed, since notifications may get lost.
 */
export class EventSubscriber {
  readonly #connect: (() => Redis) | undefined;
  readonly #intervalMs: number;
  #listener: Redis | undefined;
  #isNotified = false;
  #wake: (() => void) | undefined;

  /** @param connect opens a connection that waits for Redis; without it no notification arrives. */
  constructor(connect: (() => Redis) | undefined, options: { readonly intervalMs: number }) {
    this.#connect = connect;
    this.#intervalMs = options.intervalMs;
  }

  /** Receives notifications from now on. */
  subscribe(): void {
    if (this.#listener) return;
    const listener = this.#connect?.();
    listener?.on("error", () => undefined);
    listener?.on("message", () => {
      this.#isNotified = true;
      this.wake();
    });
    listener?.subscribe(notificationChannelOf(listener)).catch(() => undefined);
    this.#listener = listener;
  }

  /** Receives no more notifications until the next {@link subscribe}. */
  unsubscribe(): void {
    this.#listener?.disconnect();
    this.#listener = undefined;
  }

  /** Forgets earlier notifications. Call it before reading: a later one may be about events that the read misses. */
  clear(): void {
    this.#isNotified = false;
  }

  /** Ends a rest. */
  wake(): void {
    this.#wake?.();
  }

  /** @param isLeading whether a notification since {@link clear} is a reason not to rest. */
  async rest(isLeading: boolean): Promise<void> {
    if (this.#isNotified && isLeading) {
      // Once: a read that finds nothing must not repeat without a pause, and block everything else in the process.
      this.#isNotified = false;
      return;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, this.#intervalMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}
