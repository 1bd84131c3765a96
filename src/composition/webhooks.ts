import type { Connection } from "../../queues/connection.ts";
import type { Base } from "./base.ts";
import type { StagesConfig } from "./config.ts";
import { Networks } from "../events/webhooks/networks.ts";
import { Webhooks } from "../events/webhooks/webhooks.ts";

const DAY_MS = 24 * 3_600_000;
const DISABLE_AFTER_MS = 5 * DAY_MS;
const KEEP_MS = 30 * DAY_MS;

/** Builds the webhook sender. @param connectListener absent without Redis. */
export function openWebhooks(
  config: StagesConfig,
  { database, log }: Base,
  connectListener?: () => Connection,
): Webhooks {
  return new Webhooks({
    database,
    networks: new Networks(config.WEBHOOK_ALLOWED_NETWORKS),
    connectListener,
    timeoutMs: config.WEBHOOK_TIMEOUT_MS,
    concurrency: config.WEBHOOK_CONCURRENCY,
    disableAfterMs: config.WEBHOOK_DISABLE_AFTER ?? DISABLE_AFTER_MS,
    keepMs: config.WEBHOOK_RETENTION ?? KEEP_MS,
    log,
  });
}
