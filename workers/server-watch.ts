import type { Logger } from "../src/platform/log.ts";
import { Repeat } from "../src/platform/repeat.ts";

/** Probe interval in milliseconds. */
const PROBE_INTERVAL_MS = 500;

/** What is paused during an outage. */
export interface Holdable {
  hold(reason: string): Promise<void>;
  release(reason: string): Promise<void>;
}

export interface ServerWatchOptions {
  /** "MySQL" */
  readonly server: string;
  /** Attempts a write. @throws while the server is away. */
  readonly probe: () => Promise<unknown>;
  readonly log: Logger;
}

/**
 * Pauses this process's workers while MySQL or Redis is away, which is no order's fault, and resumes them when a write
 * succeeds. The first probe is immediate, since the error may have been one connection's.
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

  /** Adds something to pause. */
  add(holdable: Holdable): void {
    this.#held.push(holdable);
  }

  /**
   * Reports an outage. Repeated reports change nothing.
   *
   * @param how "Redis takes no writes". @param error the error text.
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

  /** Stops probing. */
  stop(): void {
    this.#stopped = true;
    void this.#probes.stop();
  }

  async #probe(): Promise<number> {
    if (!this.#isAway) return Infinity;
    // Avoids a busy loop where probes succeed but the jobs' writes fail.
    const restMs = this.#backAt + PROBE_INTERVAL_MS - performance.now();
    if (restMs > 0) return restMs;
    await this.#options.probe();
    this.#resume();
    return Infinity;
  }

  #resume(): void {
    this.#isAway = false;
    this.#backAt = performance.now();
    if (this.#stopped) return;
    const { server, log } = this.#options;
    log.info(`${server} takes writes again: taking jobs`);
    void Promise.all(this.#held.map((each) => each.release(server)));
  }
}
