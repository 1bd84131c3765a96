/** Milliseconds between two notifications of a process. */
const INTERVAL_MS = 200;

/**
 * Notifies others of new events: at once, but only a few times a second, however many events there are. A notification may
 * get lost. Sending one costs the caller no more than a check of a timer.
 */
export class EventNotifier {
  readonly #send: () => void;
  readonly #intervalMs: number;
  #timer: NodeJS.Timeout | undefined;
  #again = false;

  constructor(send: () => void, { intervalMs = INTERVAL_MS }: { readonly intervalMs?: number } = {}) {
    this.#send = send;
    this.#intervalMs = intervalMs;
  }

  /** Sends a notification: now, or at the end of the interval. */
  notify(): void {
    if (this.#timer === undefined) this.#notifyNow();
    else this.#again = true;
  }

  /** Stops sending. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #notifyNow(): void {
    this.#again = false;
    this.#send();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#again) this.#notifyNow();
    }, this.#intervalMs).unref();
  }
}
