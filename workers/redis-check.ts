import type { Connection } from "../queues/connection.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import { describeError } from "../src/platform/describe-error.ts";
import { Repeat } from "../src/platform/repeat.ts";

export interface RedisCheckOptions {
  readonly name: string;
  readonly redis: Connection;
  readonly run: () => Promise<void>;
  /** Milliseconds from the end of a run to the start of the next. */
  readonly everyMs: number;
  /** Log message for a failed run. */
  readonly failure: string;
  readonly log: Logger;
}

/** Work that a worker repeats against Redis. A failed run is logged, and the next one tries again. */
export class RedisCheck implements Service {
  readonly name: string;
  readonly #redis: Connection;
  readonly #runs: Repeat;

  constructor({ name, redis, run, everyMs, failure, log }: RedisCheckOptions) {
    this.name = name;
    this.#redis = redis;
    this.#runs = new Repeat({
      run,
      everyMs,
      onError: (error) => log.debug({ error: describeError(error) }, failure),
    });
  }

  /** Resolves after the first run. */
  async start(): Promise<void> {
    this.#runs.start();
    await this.#runs.firstRun;
  }

  /** Stops after the run under way. */
  async stop(): Promise<void> {
    const stopped = this.#runs.stop();
    // Without Redis its commands would wait.
    if (this.#redis.status === "ready") await stopped;
  }
}
