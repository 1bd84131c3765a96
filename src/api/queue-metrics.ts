import type { Queues } from "../../queues/queues.ts";
import type { Metrics } from "../platform/metrics.ts";
import { shared } from "../platform/shared.ts";

const STATES = ["waiting", "active", "delayed", "failed"] as const;

/**
 * Queue lengths, read from Redis at each scrape at a cost that does not grow with the number of jobs. Every API process
 * reports the same values, so take the maximum over processes, not the sum.
 */
export function watchQueues(metrics: Metrics, queues: Pick<Queues, "all">): void {
  const up = metrics.gauge({
    name: "conveyor_redis_up",
    help: "1 if Redis answered this scrape with the lengths of all queues, else 0.",
    collect: () => count(),
  });
  const jobs = metrics.gauge({
    name: "conveyor_queue_jobs",
    help: "Jobs in the queue of each stage. All API processes report the same: take the maximum, not the sum.",
    labelNames: ["stage", "state"],
    // Whichever gauge is collected first reads for both.
    collect: () => count(),
  });

  /** Both gauges and concurrent scrapes share one read. */
  const count = shared(0, async () => {
    try {
      const counts = await Promise.all(
        queues.all.map(async (queue) => ({
          stage: queue.name,
          found: await queue.getJobCounts(...STATES),
        })),
      );
      for (const { stage, found } of counts)
        for (const state of STATES) jobs.set({ stage, state }, found[state] ?? 0);
      up.set(1);
    } catch {
      // Drop the old values, which would pass for current ones.
      jobs.reset();
      up.set(0);
    }
  });
}
