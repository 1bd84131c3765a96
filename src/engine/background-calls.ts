import { describeError } from "../platform/describe-error.ts";
import { OverloadedError } from "../platform/group-commit.ts";
import type { Logger } from "../platform/log.ts";
import { Repeat } from "../platform/repeat.ts";
import { DispatcherUnavailableError } from "./ports.ts";

/** Between two tries while the dispatcher is away. Milliseconds. */
const RETRY_MS = 500;
/** Calls tried again at once: a few milliseconds' work for Redis. */
const BATCH = 100;
/** Calls kept at most; each takes some hundred bytes. */
const MOST_KEPT = 50_000;

/** A call to the dispatcher that nobody waits for. */
export interface BackgroundCall {
  /** Makes the call. Safe to repeat, also when the order has moved on. */
  readonly make: () => Promise<unknown>;
  /** What the log says if it fails, such as "accepted, but not queued yet". */
  readonly missed: string;
  /** What it is about, for the log. */
  readonly about: Readonly<Record<string, string | number>>;
}

export interface BackgroundCallsOptions {
  readonly log: Logger;
  /** Calls kept at most while the dispatcher is away. */
  readonly mostKept?: number;
}

/**
 * Calls the dispatcher in the background. Calls that fail because it is away are kept in memory, and made again as soon as
 * it is back. The sweeper finds what is lost if this process ends before, or if there are too many.
 */
export class BackgroundCalls {
  readonly #log: Logger;
  readonly #mostKept: number;
  readonly #underWay = new Set<Promise<void>>();
  /** Those to make again, the next first. */
  readonly #kept = new Set<BackgroundCall>();
  readonly #retries = new Repeat({
    run: () => this.#retry(),
    everyMs: RETRY_MS,
    onError: () => undefined,
  });
  /** Calls made again since the dispatcher was away. */
  #madeUp = 0;

  constructor({ log, mostKept = MOST_KEPT }: BackgroundCallsOptions) {
    this.#log = log;
    this.#mostKept = mostKept;
  }

  /** Makes a call. Resolves, also if it fails, once it has been tried. */
  make(call: BackgroundCall): Promise<void> {
    const done = call
      .make()
      .then(
        () => undefined,
        (error: unknown) => this.#missed(call, error),
      )
      .finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
    return done;
  }

  /** Resolves when no call is under way. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /** Waits for the calls under way, and leaves those that are kept to the sweeper. */
  async stop(): Promise<void> {
    await this.#retries.stop();
    await this.idle();
    if (this.#kept.size > 0)
      this.#log.warn({ calls: this.#kept.size }, "left to the sweeper: not queued yet");
  }

  #missed(call: BackgroundCall, error: unknown): void {
    this.#log.warn({ ...call.about, error: describeError(error) }, call.missed);
    if (!isAway(error) || this.#kept.size >= this.#mostKept) return;
    this.#kept.add(call);
    // Later ones wait for the next try.
    if (this.#kept.size === 1) this.#retries.wake();
    this.#retries.start();
  }

  async #retry(): Promise<number> {
    if (this.#kept.size === 0) return Infinity;
    const batch = [...this.#kept].slice(0, BATCH);
    const made = await Promise.all(batch.map((call) => this.#again(call)));
    const count = made.filter(Boolean).length;
    this.#madeUp += count;
    if (this.#kept.size === 0) {
      this.#log.info({ calls: this.#madeUp }, "queued what could not be queued before");
      this.#madeUp = 0;
    }
    return count > 0 ? 0 : RETRY_MS;
  }

  async #again(call: BackgroundCall): Promise<boolean> {
    try {
      await call.make();
      this.#kept.delete(call);
      return true;
    } catch (error) {
      this.#kept.delete(call);
      // Last: one that always fails, as those for a shard that is away, holds up no other.
      if (isAway(error)) this.#kept.add(call);
      else this.#log.warn({ ...call.about, error: describeError(error) }, call.missed);
      return false;
    }
  }
}

function isAway(error: unknown): boolean {
  return error instanceof DispatcherUnavailableError || error instanceof OverloadedError;
}
