/** Milliseconds between two nudges of a process. */
const INTERVAL_MS = 200;

/**
 * Tells others that there are new events: at once, but however many events there are, a few times a second. It may get
 * lost, and costs who has it said no more than a look at a timer.
 */
export class Nudge {
  readonly #send: () => void;
  readonly #intervalMs: number;
  #timer: NodeJS.Timeout | undefined;
  #again = false;

  constructor(send: () => void, { intervalMs = INTERVAL_MS }: { readonly intervalMs?: number } = {}) {
    this.#send = send;
    this.#intervalMs = intervalMs;
  }

  /** There is something new. */
  hint(): void {
    if (this.#timer === undefined) this.#say();
    else this.#again = true;
  }

  /** Says nothing more. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #say(): void {
    this.#again = false;
    this.#send();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#again) this.#say();
    }, this.#intervalMs).unref();
  }
}
