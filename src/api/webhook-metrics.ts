import type { DisabledEndpoint, FailingEndpoint } from "../../db/webhook-endpoints.ts";
import { nowMs } from "../platform/clock.ts";
import type { Metrics } from "../platform/metrics.ts";

/** Which webhook endpoints fail, and for how long, or are disabled. Every API process reports the same values. */
export function watchWebhooks(
  metrics: Metrics,
  read: {
    readonly failing: () => Promise<readonly FailingEndpoint[]>;
    readonly disabled: () => Promise<readonly DisabledEndpoint[]>;
  },
): void {
  const failing = metrics.gauge({
    name: "conveyor_webhook_endpoint_failing_seconds",
    help: "How long every attempt to send to the webhook endpoint has failed. Endpoints that do well have no series.",
    labelNames: ["endpoint"],
    async collect() {
      // Unknown without MySQL.
      const found = await read.failing().catch(() => []);
      failing.reset();
      for (const { id, failingSince } of found)
        failing.set({ endpoint: id }, Math.max(0, nowMs() - failingSince.getTime()) / 1_000);
    },
  });
  const disabled = metrics.gauge({
    name: "conveyor_webhook_endpoint_disabled_seconds",
    help: "How long ago Conveyor disabled the webhook endpoint. Endpoints that are enabled, or that an operator has disabled, have no series.",
    labelNames: ["endpoint"],
    async collect() {
      const found = await read.disabled().catch(() => []);
      disabled.reset();
      for (const { id, disabledAt } of found)
        disabled.set({ endpoint: id }, Math.max(0, nowMs() - disabledAt.getTime()) / 1_000);
    },
  });
}
