/** Maximum delay of a Node.js timer in milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface RepeatOptions {
  /** The work. @returns milliseconds to rest instead of `everyMs`; 0 to run again at once. */
  readonly run: () => Promise<number | void>;
  /** Milliseconds from the end of a run to the start of the next; Infinity to run only when woken. */
  readonly everyMs: number;
  /** Called when a run fails; must not throw. The next run comes after `everyMs`. */
  readonly onError: (error: unknown) => Promise<void> | void;
}

/** Runs something repeatedly, never twice at once, until it is stopped. */
export class Repeat {
  /** Resolves when the first run has ended, or will never start because this was stopped. */
  readonly firstRun: Promise<void>;
  readonly #options: RepeatOptions;
  #hasRun: () => void = () => undefined;
  #ended: Promise<void> | undefined;
  #isStopped = false;
  #isRunning = false;
  #isWoken = false;
  #endRest: (() => void) | undefined;

  constructor(options: RepeatOptions) {
    this.#options = options;
    this.firstRun = new Promise((resolve) => (this.#hasRun = resolve));
  }

  /** Whether no run is active or about to start. */
  get isResting(): boolean {
    return !this.#isRunning && !this.#isWoken;
  }

  /** Starts, after so many milliseconds. Starting a second time, or after {@link stop}, does nothing. */
  start(afterMs = 0): void {
    this.#ended ??= this.#repeat(afterMs);
  }

  /** Runs now; if a run is active, once more right after it. */
  wake(): void {
    if (this.#isStopped) return;
    this.#isWoken = true;
    this.#endRest?.();
  }

  /** Allows no further runs. Resolves when the active one has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#isWoken = false;
    this.#endRest?.();
    if (!this.#isRunning) this.#hasRun();
    await this.#ended;
  }

  async #repeat(afterMs: number): Promise<void> {
    if (afterMs > 0) await this.#rest(afterMs);
    while (!this.#isStopped) {
      this.#isWoken = false;
      this.#isRunning = true;
      const restMs = await this.#run();
      this.#isRunning = false;
      this.#hasRun();
      if (!this.#isStopped) await this.#rest(restMs);
    }
  }

  async #run(): Promise<number> {
    const { run, everyMs, onError } = this.#options;
    try {
      return (await run()) ?? everyMs;
    } catch (error) {
      await onError(error);
      return everyMs;
    }
  }

  /** Always yields to the event loop, however often this is woken. */
  async #rest(milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      if (this.#isWoken || milliseconds <= 0) return void setImmediate(resolve);
      const timer =
        milliseconds === Infinity ? undefined : setTimeout(resolve, Math.min(milliseconds, LONGEST_TIMER_MS));
      this.#endRest = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#endRest = undefined;
  }
}
