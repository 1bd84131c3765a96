import type { Connection } from "../../queues/connection.ts";
import type { Database } from "../../db/database.ts";
import type { EventLog } from "../../db/event-log.ts";
import type { Queues } from "../../queues/queues.ts";
import type { FailureGroups } from "../engine/failure-groups.ts";
import type { Operations } from "../engine/operations.ts";
import type { Processed } from "../engine/inline/processing.ts";
import type { CreatedOrder } from "../engine/ports.ts";
import type { Waking } from "../engine/waking.ts";
import type { Hub } from "../events/live/hub.ts";
import type { WebhookEndpoints } from "../events/webhooks/endpoints.ts";
import type { Lifecycle } from "../order/lifecycle.ts";
import type { NewOrder, StoredOrder } from "../order/order.ts";
import type { PaymentProvider } from "../order/ports.ts";
import type { Logger } from "../platform/log.ts";
import type { Refunds } from "../providers/payments/refunds.ts";
import type { PaymentWebhooks } from "../providers/payments/webhooks.ts";
import type { Parcels } from "../providers/shipping/parcels.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { Callbacks } from "../providers/http/callbacks.ts";
import type { StatusReader } from "./console/status.ts";
import type { Health } from "./readiness.ts";

/** What the API does with orders, with or without queues. */
export interface OrderServices {
  /** Stores the order durably, and starts its processing. */
  readonly accept: (order: NewOrder) => Promise<CreatedOrder>;
  /**
   * Processes the order as far as possible while the client waits; absent with queues.
   *
   * @param created the order, if it was just created.
   */
  readonly process?: ((orderId: string, created?: StoredOrder) => Promise<Processed>) | undefined;
  readonly operations: Operations;
  readonly failureGroups: FailureGroups;
  readonly waking: Waking;
}

/** Everything that handlers use. */
export interface Services extends OrderServices {
  readonly database: Database;
  /** For lists and counts, which may be somewhat old, and decide nothing. */
  readonly reads: Database;
  readonly payments: Pick<PaymentProvider, "faultOfAmount">;
  readonly refunds: Pick<Refunds, "request">;
  readonly paymentWebhooks: Pick<PaymentWebhooks, "receive">;
  readonly parcels: Parcels;
  /** Both undefined without queues. */
  readonly redis?: Connection | undefined;
  readonly queues?: Queues | undefined;
  readonly lifecycle: Lifecycle;
  readonly events: EventLog;
  /** The source of live updates. */
  readonly live: Hub;
  readonly callbacks: Callbacks;
  readonly webhooks: WebhookEndpoints;
  readonly health: Health;
  readonly status: StatusReader;
  readonly metrics: Pick<Metrics, "text" | "contentType">;
  /** The content of `/openapi.json`. */
  readonly document: object;
  /** The path that all of this is served below; empty for none. */
  readonly base: string;
  readonly log: Logger;
}
