import { orderStore } from "../../db/order-store.ts";
import type { Database } from "../../db/database.ts";
import { appendFailedAttempts } from "../../db/order-events.ts";
import { markFailed } from "../../db/failures.ts";
import { stageOverrides, type StagesConfig } from "./config.ts";
import { COMMITS } from "../platform/group-commit.ts";
import type { Logger } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { pay } from "../order/stages/pay.ts";
import type { Tracing } from "../platform/tracing/contract.ts";
import { connectPorts } from "./providers.ts";
import { StageMetrics } from "../engine/metrics.ts";
import { BatchingStore } from "../engine/batching-store.ts";
import { Sweeper } from "../engine/sweeper.ts";
import { openWebhooks } from "./webhooks.ts";
import type { Webhooks } from "../events/webhooks/webhooks.ts";
import { InlineProcessing } from "../engine/inline/processing.ts";

/**
 * What carrying orders on takes in a process without queues, which is the API's: the work itself, who looks for orders
 * that were left, and who sends webhooks. Nothing is started.
 */
export function openInline({
  config,
  database,
  metrics,
  tracing,
  log,
}: {
  readonly config: StagesConfig;
  readonly database: Database;
  readonly metrics: Metrics;
  readonly tracing: Tracing;
  readonly log: Logger;
}): { processing: InlineProcessing; sweeper: Sweeper; webhooks: Webhooks } {
  const stages = new StageMetrics(metrics, lifecycle);
  const observers = new Map(lifecycle.steps.map((step) => [step, stages.of(step)]));
  const commit = metrics.measured(tracing.commit(COMMITS[config.GROUP_COMMIT]));
  const store = orderStore(database);
  const processing = new InlineProcessing({
    lifecycle,
    ports: connectPorts(config, database, commit),
    store: new BatchingStore({ store, commit }),
    markFailed: ({ step, ...failure }) =>
      markFailed(database, {
        ...failure,
        whileIn: lifecycle.statusesIn(step),
        stage: step.name,
        at: new Date(),
      }),
    noteFailedAttempt: ({ step, ...failure }) =>
      appendFailedAttempts(database, [{ ...failure, stage: step.name, at: new Date() }]),
    overrides: stageOverrides(config),
    probeIntervalMs: config.PROBE_INTERVAL_MS,
    observerOf: (step) => observers.get(step),
    tracing,
    log,
  });
  const sweeper = new Sweeper({
    store,
    dispatcher: processing,
    lease: undefined,
    marker: undefined,
    lifecycle,
    deadlines: lifecycle.deadlines({ [pay.name]: config.PAYMENT_DEADLINE }),
    observer: stages,
    log,
    intervalMs: config.SWEEP_INTERVAL_MS,
    afterMs: config.SWEEP_AFTER_MS,
  });
  return { processing, sweeper, webhooks: openWebhooks({ config, database, log }) };
}
