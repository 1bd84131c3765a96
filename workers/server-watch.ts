import type { Logger } from "../src/platform/log.ts";
import { Repeat } from "../src/platform/repeat.ts";

/** Milliseconds between two questions whether the server is back. */
const PROBE_INTERVAL_MS = 500;

/** What stands still while a server is away. */
export interface Holdable {
  hold(reason: string): Promise<void>;
  release(reason: string): Promise<void>;
}

export interface ServerWatchOptions {
  /** "MySQL" */
  readonly server: string;
  /** Asks the server to write. @throws while it is away. */
  readonly probe: () => Promise<unknown>;
  readonly log: Logger;
}

/**
 * The absence of MySQL or Redis is no order's failure: while it lasts, the workers of this process stand still, and go
 * on when the server takes a write. The first is tried at once, since what was found may have been one connection's.
 */
export class ServerWatch {
  readonly #options: ServerWatchOptions;
  readonly #held: Holdable[] = [];
  #isAway = false;
  #backAt = -Infinity;
  readonly #probes = new Repeat({
    run: () => this.#probe(),
    everyMs: PROBE_INTERVAL_MS,
    onError: () => undefined,
  });
  #stopped = false;

  constructor(options: ServerWatchOptions) {
    this.#options = options;
  }

  /** From now on, holds this one too. */
  add(holdable: Holdable): void {
    this.#held.push(holdable);
  }

  /**
   * Somebody found the server away. Said again while it is, it changes nothing.
   *
   * @param how "Redis takes no writes". @param error what was said.
   */
  reportAway(how: string, error?: string): void {
    if (this.#isAway || this.#stopped) return;
    const { server, log } = this.#options;
    this.#isAway = true;
    log.warn({ error }, `${how}: taking no jobs until ${server} takes writes`);
    void Promise.all(this.#held.map((each) => each.hold(server)));
    this.#probes.wake();
    this.#probes.start();
  }

  /** Asks no more. */
  stop(): void {
    this.#stopped = true;
    void this.#probes.stop();
  }

  async #probe(): Promise<number> {
    if (!this.#isAway) return Infinity;
    // Not again and again where the probe succeeds and what the jobs do does not.
    const restMs = this.#backAt + PROBE_INTERVAL_MS - performance.now();
    if (restMs > 0) return restMs;
    await this.#options.probe();
    this.#goOn();
    return Infinity;
  }

  #goOn(): void {
    this.#isAway = false;
    this.#backAt = performance.now();
    if (this.#stopped) return;
    const { server, log } = this.#options;
    log.info(`${server} takes writes again: taking jobs`);
    void Promise.all(this.#held.map((each) => each.release(server)));
  }
}
