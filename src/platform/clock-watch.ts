import { clockSkewMs, isClockInDoubt, TOLERATED_MS, whenClockJumps } from "./clock.ts";
import { describeError } from "./describe-error.ts";
import { durationInWords } from "./duration.ts";
import type { Logger } from "./log.ts";
import { Repeat } from "./repeat.ts";
import type { Service } from "./service.ts";

/** Milliseconds between two looks at the own clock, and between two readings of MySQL's. */
const LOOK_EVERY_MS = 1_000;
const READ_EVERY_MS = 10_000;

/** Keeps the reading of MySQL's clock fresh, also after the own one has jumped, and logs when this process's own is off by more than a second. */
export class ClockWatch implements Service {
  readonly name = "clock";
  readonly #readClock: () => Promise<void>;
  readonly #log: Logger;
  readonly #looks: Repeat;
  #forgetJumps: (() => void) | undefined;
  #readAt = -Infinity;
  #isOff = false;

  /** @param readClock reads MySQL's clock. */
  constructor(readClock: () => Promise<void>, log: Logger) {
    this.#readClock = readClock;
    this.#log = log;
    this.#looks = new Repeat({
      run: () => this.#look(),
      everyMs: LOOK_EVERY_MS,
      onError: (error) => log.debug({ error: describeError(error) }, "could not read MySQL's clock"),
    });
  }

  start(): void {
    this.#forgetJumps = whenClockJumps(() => this.#looks.wake());
    this.#looks.start();
  }

  async stop(): Promise<void> {
    this.#forgetJumps?.();
    await this.#looks.stop();
  }

  async #look(): Promise<void> {
    if (performance.now() - this.#readAt >= READ_EVERY_MS || isClockInDoubt()) {
      await this.#readClock();
      this.#readAt = performance.now();
    }
    const skewMs = Math.round(clockSkewMs() ?? 0);
    const isOff = Math.abs(skewMs) > TOLERATED_MS;
    if (isOff && !this.#isOff)
      this.#log.warn({ skewMs }, `this machine's clock is ${clockInWords(skewMs)}: MySQL's counts`);
    if (!isOff && this.#isOff) this.#log.info("this machine's clock is right again");
    this.#isOff = isOff;
  }
}

/** Such as "2 hours ahead of MySQL's". */
export function clockInWords(skewMs: number): string {
  const ms = Math.abs(skewMs);
  // In whole hours or minutes, once there are some.
  const unit = [3_600_000, 60_000].find((each) => ms >= 2 * each) ?? 1_000;
  const rounded = Math.round(ms / unit) * unit;
  return `${rounded > 1_000 ? durationInWords(rounded) : "a second"} ${skewMs > 0 ? "ahead of" : "behind"} MySQL's`;
}
