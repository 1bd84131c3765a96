import type { Connection } from "../queues/connection.ts";
import { readHeartbeats } from "../queues/telemetry/heartbeats.ts";
import type { Queues } from "../queues/queues.ts";
import type { Logger } from "../src/platform/log.ts";
import type { Service } from "../src/platform/service.ts";
import { shareOf } from "../src/engine/suspects.ts";
import { RedisCheck } from "./redis-check.ts";
import type { StageWorker } from "./stage-worker.ts";

/** Interval in milliseconds: each time three Redis keys per step, and the heartbeats if a limit is set. */
const INTERVAL_MS = 3_000;

export interface SuspectQuotaOptions {
  readonly redis: Connection;
  readonly queues: Pick<Queues, "of" | "turnsOf">;
  readonly workers: readonly Pick<StageWorker, "name" | "step" | "suspects">[];
  /** This process's heartbeat id. */
  readonly self: string;
}

/**
 * Where an operator's limit on a step is below what the workers would take, a quarter of each worker's places could be
 * all that is allowed. So live workers divide a quarter of the limit among themselves, following changes of the limit
 * and of the workers within seconds. Suspects' turns follow a changed rate limit in the same way.
 */
export function suspectQuota(options: SuspectQuotaOptions & { readonly log: Logger }): Service {
  return new RedisCheck({
    name: "suspects' quota",
    redis: options.redis,
    everyMs: INTERVAL_MS,
    failure: "could not read the queues' limits",
    log: options.log,
    run: () => divideQuota(options),
  });
}

/** Reads and divides the limits, and respaces suspects after a changed rate limit. @throws {Error} from Redis. */
export async function divideQuota({ redis, queues, workers, self }: SuspectQuotaOptions): Promise<void> {
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

/**
 * One worker's share of the suspects' places. Together the workers have a quarter of the limit, at least one; one
 * worker may have none.
 *
 * @param limit null for no limit. @param workers ids of the live workers.
 */
export function quotaOf(limit: number | null, workers: readonly string[], self: string): number {
  if (limit === null) return Infinity;
  const all = [...new Set([...workers, self])].toSorted();
  const quota = shareOf(limit);
  const isAhead = all.indexOf(self) < quota % all.length;
  return Math.floor(quota / all.length) + (isAhead ? 1 : 0);
}
