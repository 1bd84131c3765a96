import type { Redis } from "ioredis";
import { readHeartbeats } from "../queues/telemetry/heartbeats.ts";
import type { Queues } from "../queues/queues.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import { describeError } from "../src/platform/describe-error.ts";
import { Repeat } from "../src/platform/repeat.ts";
import type { StageWorker } from "./stage-worker.ts";
import { shareOf } from "../src/engine/suspects.ts";

/** Milliseconds between two looks: three keys of Redis a step, and the heartbeats where a limit is set. */
const INTERVAL_MS = 3_000;

export interface SuspectQuotaOptions {
  readonly redis: Redis;
  readonly queues: Pick<Queues, "of" | "turnsOf">;
  readonly workers: readonly Pick<StageWorker, "name" | "step" | "suspects">[];
  /** This process, as its heartbeats name it. */
  readonly self: string;
  readonly log: Logger;
}

/**
 * Where operators let fewer orders into a step than the workers would take, a quarter of each worker's places may be all of
 * what is allowed. Then the workers that are alive divide a quarter of the limit among themselves. The division follows a
 * change of the limit, and a worker that comes or goes, within seconds. So do the turns that suspects wait for behind a rate
 * limit.
 */
export class SuspectQuota implements Service {
  readonly name = "suspects' quota";
  readonly #options: SuspectQuotaOptions;
  readonly #looks = new Repeat({
    run: () => this.divide(),
    everyMs: INTERVAL_MS,
    onError: (error) =>
      this.#options.log.debug({ error: describeError(error) }, "could not read the limits of the queues"),
  });

  constructor(options: SuspectQuotaOptions) {
    this.#options = options;
  }

  /** Resolves after the first look. */
  async start(): Promise<void> {
    this.#looks.start();
    await this.#looks.firstRun;
  }

  /** Ends after the look under way. */
  async stop(): Promise<void> {
    const stopped = this.#looks.stop();
    // Otherwise its commands wait for Redis.
    if (this.#options.redis.status === "ready") await stopped;
  }

  /** Looks at the limits, divides them, and spaces out the suspects where a rate limit has changed. @throws {Error} of Redis. */
  async divide(): Promise<void> {
    const { redis, queues, workers, self } = this.#options;
    const limits = await Promise.all(workers.map((step) => queues.of(step).getGlobalConcurrency()));
    const heartbeats = limits.some((limit) => limit !== null) ? await readHeartbeats(redis) : [];
    for (const [index, { name, suspects }] of workers.entries()) {
      const others = heartbeats.filter(({ steps }) => steps.some((step) => step.name === name));
      suspects.quota = quotaOf(
        limits[index] ?? null,
        others.map(({ id }) => id),
        self,
      );
    }
    await Promise.all(workers.map(({ step }) => queues.turnsOf(step).follow()));
  }
}

/**
 * How many suspected orders one of several workers may have, so that all of them have a quarter of the limit together, and
 * one at least: possibly none here. @param limit null where there is none. @param workers those that are alive.
 */
export function quotaOf(limit: number | null, workers: readonly string[], self: string): number {
  if (limit === null) return Infinity;
  const all = [...new Set([...workers, self])].toSorted();
  const quota = shareOf(limit);
  const isAhead = all.indexOf(self) < quota % all.length;
  return Math.floor(quota / all.length) + (isAhead ? 1 : 0);
}
