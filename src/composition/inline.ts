import { EventLog } from "../../db/event-log.ts";
import { BatchingStore } from "../engine/batching-store.ts";
import { FailureLog } from "../engine/failure-log.ts";
import { InlineProcessing } from "../engine/inline/processing.ts";
import { StageMetrics } from "../engine/metrics.ts";
import { Hub } from "../events/live/hub.ts";
import { LogSource } from "../events/live/sources.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { UNDISPUTED } from "../platform/lease.ts";
import { opened } from "../platform/service.ts";
import type { Base } from "./base.ts";
import { stageOverrides, type ApiConfig } from "./config.ts";
import { openIntake, openSweeper } from "./engine.ts";
import type { Mode } from "./mode.ts";
import { connectProviders, openRefundRunner, portsOf } from "./providers.ts";
import { openRollout } from "./rollout.ts";
import { openWebhooks } from "./webhooks.ts";

/** Processing in the API process, while clients wait. */
export async function openInline(config: ApiConfig, base: Base): Promise<Mode> {
  const { database, store, commit, metrics, tracing, log } = base;
  const observer = new StageMetrics(metrics, lifecycle);
  const observers = new Map(lifecycle.steps.map((step) => [step, observer.of(step)]));
  const providers = await connectProviders(config, database, commit);
  const rollout = openRollout(config, base);
  const processing = new InlineProcessing({
    lifecycle,
    ports: portsOf(providers, config, { database, commit }),
    store: new BatchingStore({ store, commit, lifecycle }),
    failures: new FailureLog({ store, lifecycle, commit }),
    overrides: stageOverrides(config),
    probeIntervalMs: config.PROBE_INTERVAL_MS,
    mayTake: rollout.mayTake,
    observerOf: (step) => observers.get(step),
    tracing,
    log,
  });
  const intake = openIntake(config, base, { dispatcher: processing });
  const events = new EventLog(database);
  return {
    app: {
      live: new Hub({ database, log: events, source: new LogSource(events), logger: log }),
      process: (orderId, created) => processing.process(orderId, created),
      ...intake.app,
    },
    onEvents: () => undefined,
    services: [
      opened("what is under way", () => processing.idle()),
      openWebhooks(config, base),
      openRefundRunner(config, base, { provider: providers.payments, onEvents: () => undefined }),
      rollout,
      openSweeper(config, base, {
        dispatcher: processing,
        lease: rollout.whileInForce(UNDISPUTED),
        observer,
      }),
      ...intake.services,
    ],
    // So that waiting clients are answered in time.
    beforeRequests: [opened("processing", () => processing.endWithin(config.SHUTDOWN_TIMEOUT_MS))],
  };
}
