import type { Redis } from "ioredis";
import type { Database } from "../../db/database.ts";
import type { EventLog } from "../../db/event-log.ts";
import type { Queues } from "../../queues/queues.ts";
import type { FailureGroups } from "../engine/failure-groups.ts";
import type { Operations } from "../engine/operations.ts";
import type { CreatedOrder } from "../engine/ports.ts";
import type { Hub } from "../events/live/hub.ts";
import type { WebhookEndpoints } from "../events/webhooks/endpoints.ts";
import type { Lifecycle } from "../order/lifecycle.ts";
import type { NewOrder, StoredOrder } from "../order/order.ts";
import type { Logger } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { StatusReader } from "./console/status.ts";
import type { Health } from "./readiness.ts";

/** How an order came out of being carried on. */
export interface Processed {
  /** Accepted: it goes on later. Failed: it is cancelled for the reason, or will be. */
  readonly outcome: "processed" | "accepted" | "failed";
  readonly reason?: string;
  readonly order: StoredOrder;
}

/** What the process does with orders, however it processes them. */
export interface OrderServices {
  /** Writes the order down for good, and sees to it that it is worked on. */
  readonly accept: (order: NewOrder) => Promise<CreatedOrder>;
  /**
   * Carries the order on while the client waits, as far as it goes; absent where workers do that in the background.
   *
   * @param created the order, if it was just written down.
   */
  readonly process?: ((orderId: string, created?: StoredOrder) => Promise<Processed>) | undefined;
  readonly operations: Operations;
  readonly failureGroups: FailureGroups;
}

/** All that handlers work with. */
export interface Services extends OrderServices {
  readonly database: Database;
  /** Both undefined where orders are processed without queues. */
  readonly redis?: Redis | undefined;
  readonly queues?: Queues | undefined;
  readonly lifecycle: Lifecycle;
  readonly events: EventLog;
  /** Where live updates come from. */
  readonly live: Hub;
  readonly webhooks: WebhookEndpoints;
  readonly health: Health;
  readonly status: StatusReader;
  readonly metrics: Pick<Metrics, "text" | "contentType">;
  /** What `/openapi.json` answers. */
  readonly document: object;
  readonly log: Logger;
}
