/** The longest that a timer of Node's can wait, in milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface RepeatOptions {
  /** The work. @returns milliseconds to rest, instead of `everyMs`; 0 to go on at once. */
  readonly run: () => Promise<number | void>;
  /** Milliseconds from the end of a run to the beginning of the next; Infinity for work that is only done when woken. */
  readonly everyMs: number;
  /** Is told why a run failed. The next one comes after `everyMs`. Must not fail itself. */
  readonly onError: (error: unknown) => Promise<void> | void;
}

/** Does something again and again, never twice at once, until it is stopped. */
export class Repeat {
  /** Resolves when the first run has ended, or there will be none since it is stopped. */
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

  /** Whether no run is under way, and none is about to begin. */
  get isResting(): boolean {
    return !this.#isRunning && !this.#isWoken;
  }

  /** Begins, after so many milliseconds. Starting a second time, or after {@link stop}, changes nothing. */
  start(afterMs = 0): void {
    this.#ended ??= this.#repeat(afterMs);
  }

  /** Runs now; if a run is under way, once more right after it. */
  wake(): void {
    if (this.#isStopped) return;
    this.#isWoken = true;
    this.#endRest?.();
  }

  /** Resolves when the run that is under way has ended. There is none after it. */
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

  /** Never without a pause: others are to have their turn, however often this is woken. */
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
