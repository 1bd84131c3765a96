import type { Logger } from "../src/platform/log.ts";

/** Milliseconds between two questions whether the server is back. */
const PROBE_INTERVAL_MS = 500;

/** What stands still while a server is away. */
export interface Holdable {
  hold(reason: string): Promise<void>;
  release(reason: string): Promise<void>;
}

export interface ServerWatchOptions {
  /** What is said while it is away, and when it is back: "MySQL does not answer", "MySQL answers again". */
  readonly absence: string;
  readonly presence: string;
  /** Asks the server. @throws while it is away. */
  readonly probe: () => Promise<unknown>;
  readonly log: Logger;
}

/**
 * The absence of MySQL or Redis is no order's failure: while it lasts, the workers of this process stand still, and go
 * on when the server answers a probe.
 */
export class ServerWatch {
  readonly #options: ServerWatchOptions;
  readonly #held: Holdable[] = [];
  #isAway = false;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: ServerWatchOptions) {
    this.#options = options;
  }

  /** From now on, holds this one too. */
  add(holdable: Holdable): void {
    this.#held.push(holdable);
  }

  /** Somebody found the server away. Said again while it is, it changes nothing. */
  reportAway(): void {
    if (this.#isAway || this.#stopped) return;
    const { absence, log } = this.#options;
    this.#isAway = true;
    log.warn(`${absence}: taking no jobs until it does`);
    void Promise.all(this.#held.map((each) => each.hold(absence)));
    this.#probeLater();
  }

  /** Asks no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #probeLater(): void {
    this.#timer = setTimeout(() => {
      this.#options.probe().then(
        () => this.#goOn(),
        () => this.#stopped || this.#probeLater(),
      );
    }, PROBE_INTERVAL_MS);
  }

  #goOn(): void {
    this.#isAway = false;
    if (this.#stopped) return;
    const { absence, presence, log } = this.#options;
    log.info(`${presence}: taking jobs`);
    void Promise.all(this.#held.map((each) => each.release(absence)));
  }
}
