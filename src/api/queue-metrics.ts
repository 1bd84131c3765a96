import type { Queues } from "../../queues/queues.ts";
import type { Metrics } from "../platform/metrics.ts";

const STATES = ["waiting", "active", "delayed", "failed"] as const;

/**
 * How many jobs each queue has, asked of Redis when Prometheus asks: a few lengths that Redis knows, however many jobs
 * there are. Every API process tells the same numbers, so take the maximum over processes, not the sum.
 */
export function watchQueues(metrics: Metrics, queues: Pick<Queues, "all">): void {
  const up = metrics.gauge({
    name: "conveyor_redis_up",
    help: "1 when Redis answered this scrape with the lengths of all queues, else 0.",
    collect: () => count(),
  });
  const jobs = metrics.gauge({
    name: "conveyor_queue_jobs",
    help: "Jobs in the queue of each stage. All API processes tell the same: take the maximum, not the sum.",
    labelNames: ["stage", "state"],
    // The first of the two to be collected asks for both.
    collect: () => count(),
  });

  let counting: Promise<void> | undefined;
  /** Both gauges, and scrapes of the same moment, share a question. */
  function count(): Promise<void> {
    counting ??= countNow().finally(() => (counting = undefined));
    return counting;
  }

  async function countNow(): Promise<void> {
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
      // Nothing is known now: what was known before would be taken for the present.
      jobs.reset();
      up.set(0);
    }
  }
}
