import type { Redis } from "ioredis";
import type { Logger } from "../src/log.ts";
import type { Pausable } from "./database-watch.ts";

/** Milliseconds between two questions whether Redis takes writes again. */
const PROBE_INTERVAL_MS = 500;
/** Written to ask. */
const PROBE = "conveyor:probe";
const PROBE_SECONDS = 60;
const REASON = "Redis takes no writes";

/**
 * A Redis that answers, but takes no writes (a replica, out of memory, a disk that fails), is nobody's failure either.
 * And BullMQ would ask it for the next job again and again without a pause: so while it lasts, the workers of this
 * process stand still. One that can't be reached needs nothing of this: connections wait for it by themselves.
 */
export class RedisWatch {
  readonly #redis: Redis;
  readonly #log: Logger;
  readonly #paused: Pausable[] = [];
  #away = false;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: { readonly redis: Redis; readonly log: Logger }) {
    this.#redis = options.redis;
    this.#log = options.log;
  }

  /** From now on, pauses this one too. */
  add(pausable: Pausable): void {
    this.#paused.push(pausable);
  }

  /** Somebody found that Redis takes no writes. Said again while it is so, it changes nothing. */
  reportAway(): void {
    if (this.#away || this.#stopped) return;
    this.#away = true;
    this.#log.warn("Redis takes no writes: taking no jobs until it does");
    void Promise.all(this.#paused.map((each) => each.hold(REASON)));
    this.#probeLater();
  }

  /** Asks no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #probeLater(): void {
    this.#timer = setTimeout(() => {
      this.#redis.set(PROBE, 1, "EX", PROBE_SECONDS).then(
        () => this.#goOn(),
        () => this.#stopped || this.#probeLater(),
      );
    }, PROBE_INTERVAL_MS);
  }

  #goOn(): void {
    this.#away = false;
    if (this.#stopped) return;
    this.#log.info("Redis takes writes again: taking jobs");
    void Promise.all(this.#paused.map((each) => each.release(REASON)));
  }
}
