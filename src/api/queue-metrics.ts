import type { StepQueues } from "../../queues/step-queues.ts";
import type { Step } from "../order/stage.ts";
import type { Metrics } from "../platform/metrics.ts";
import { shared } from "../platform/shared.ts";

const STATES = ["waiting", "active", "delayed", "failed"] as const;

/**
 * Queue lengths, read from Redis at each scrape at a cost that does not grow with the number of jobs. Every API process
 * reports the same values, so take the maximum over processes, not the sum.
 */
export function watchQueues(
  metrics: Metrics,
  queues: { readonly steps: readonly Step[]; readonly shards: Pick<StepQueues, "known"> },
): void {
  const up = metrics.gauge({
    name: "conveyor_redis_up",
    help: "1 if Redis answered this scrape with the lengths of all queues, else 0.",
    collect: () => count(),
  });
  const jobs = metrics.gauge({
    name: "conveyor_queue_jobs",
    help: "Jobs in the queues of each stage. All API processes report the same: take the maximum, not the sum.",
    labelNames: ["stage", "state"],
    // Whichever gauge is collected first reads for both.
    collect: () => count(),
  });

  /** Both gauges and concurrent scrapes share one read. */
  const count = shared(0, async () => {
    try {
      const counts = await Promise.all(
        queues.steps.map(async (step) => ({
          stage: step.name,
          found: await Promise.all(queues.shards.known(step).map((queue) => queue.getJobCounts(...STATES))),
        })),
      );
      for (const { stage, found } of counts)
        for (const state of STATES)
          jobs.set(
            { stage, state },
            found.reduce((sum, each) => sum + (each[state] ?? 0), 0),
          );
      up.set(1);
    } catch {
      // Drop the old values, which would pass for current ones.
      jobs.reset();
      up.set(0);
    }
  });
}
