import type { Redis } from "ioredis";
import { nudgeChannelOf } from "./stream.ts";

/**
 * Lets somebody who looks for events rest until there may be new ones: until it is said over Redis, as by a `Nudge`, or
 * until it is time to look all the same, since what is said may get lost.
 */
export class Nudges {
  readonly #connect: (() => Redis) | undefined;
  readonly #intervalMs: number;
  #listener: Redis | undefined;
  #isNudged = false;
  #wake: (() => void) | undefined;

  /** @param connect a connection that waits for Redis; without it nothing is heard. */
  constructor(connect: (() => Redis) | undefined, options: { readonly intervalMs: number }) {
    this.#connect = connect;
    this.#intervalMs = options.intervalMs;
  }

  /** Hears what is said from now on. */
  listen(): void {
    if (this.#listener) return;
    const listener = this.#connect?.();
    listener?.on("error", () => undefined);
    listener?.on("message", () => {
      this.#isNudged = true;
      this.wake();
    });
    listener?.subscribe(nudgeChannelOf(listener)).catch(() => undefined);
    this.#listener = listener;
  }

  /** Hears nothing more, until it is to listen again. */
  silence(): void {
    this.#listener?.disconnect();
    this.#listener = undefined;
  }

  /** To be said before looking: what is said after that may be of what the look does not see. */
  clear(): void {
    this.#isNudged = false;
  }

  /** Ends a rest. */
  wake(): void {
    this.#wake?.();
  }

  /** @param isLeading whether what was said since {@link clear} is a reason not to rest. */
  async rest(isLeading: boolean): Promise<void> {
    if (this.#isNudged && isLeading) {
      // Once: a look that comes to nothing must not go round and round, and let nothing else happen in the process.
      this.#isNudged = false;
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
