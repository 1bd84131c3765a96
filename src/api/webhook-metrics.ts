import type { FailingEndpoint } from "../../db/webhook-endpoints.ts";
import { nowMs } from "../platform/clock.ts";
import type { Metrics } from "../platform/metrics.ts";

/** Which webhook endpoints fail, and for how long. Every API process reports the same values. */
export function watchWebhooks(metrics: Metrics, read: () => Promise<readonly FailingEndpoint[]>): void {
  const failing = metrics.gauge({
    name: "conveyor_webhook_endpoint_failing_seconds",
    help: "How long every attempt to send to the webhook endpoint has failed. Endpoints that do well have no series.",
    labelNames: ["endpoint"],
    async collect() {
      // Unknown without MySQL.
      const found = await read().catch(() => []);
      failing.reset();
      for (const { id, failingSince } of found)
        failing.set({ endpoint: id }, Math.max(0, nowMs() - failingSince.getTime()) / 1_000);
    },
  });
}
