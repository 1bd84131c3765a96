import {
  bigint,
  char,
  customType,
  datetime,
  index,
  int,
  json,
  mysqlTable,
  primaryKey,
  text,
  uniqueIndex,
  varchar,
} from "drizzle-orm/mysql-core";
import type { ActionDetails, ActionProgress } from "../src/engine/ports.ts";
import { LIMITS } from "../src/order/limits.ts";
import { COLUMN_LENGTHS } from "./column-lengths.ts";
import type { EventType } from "../src/order/event.ts";
import type {
  Address,
  Adjustment,
  Contact,
  Hold,
  Metadata,
  OrderLine,
  StageRecord,
} from "../src/order/order.ts";
import type { SentResult } from "../src/order/ports.ts";
import type {
  DisputeState,
  PaymentAction,
  PaymentState,
  RefundCause,
  RefundLine,
  RefundState,
  Restock,
} from "../src/order/payment.ts";
import type { Cost, Parcel, ShipmentLine, ShipmentState, Voiding } from "../src/order/shipment.ts";

/**
 * The tables. The migrations create them (a test compares both). Times are UTC with milliseconds, set by the
 * application; money is an integer in minor units; text compares byte by byte.
 */

/** UUIDs are ASCII, which takes a quarter of the index space of utf8mb4. */
const uuid = customType<{ data: string }>({ dataType: () => "char(36)" });
const fingerprint = customType<{ data: string }>({ dataType: () => "char(64)" });
const instant = (name: string) => datetime(name, { fsp: 3, mode: "date" });
/** SHA-256 in base64. */
const DIGEST_LENGTH = 44;
const money = (name: string) => bigint(name, { mode: "number" });

export const orders = mysqlTable(
  "orders",
  {
    id: uuid("id").primaryKey(),
    /** Text, not an enum, so that a new stage needs no migration. */
    status: varchar("status", { length: 32 }).notNull(),
    customerId: varchar("customer_id", { length: LIMITS.identifier }).notNull(),
    reference: varchar("reference", { length: LIMITS.identifier }),
    currency: char("currency", { length: 3 }).notNull(),
    total: money("total").notNull(),
    paymentToken: varchar("payment_token", { length: LIMITS.paymentToken }),
    shipTo: json("ship_to").$type<Address>(),
    /** Set together, for an order in this stage's failed set. */
    failedStage: varchar("failed_stage", { length: 32 }),
    failedReason: varchar("failed_reason", { length: LIMITS.reason }),
    failedAt: instant("failed_at"),
    /** Set together, while a stage waits for somebody else to act. */
    waitingStage: varchar("waiting_stage", { length: 32 }),
    waitingFor: varchar("waiting_for", { length: LIMITS.reason }),
    waitingSince: instant("waiting_since"),
    waitingUntil: instant("waiting_until"),
    /** When it was last woken; null once a stage that waits has been asked since. */
    wokenAt: instant("woken_at"),
    /** Set together, once, by a cancellation request. */
    cancelRequestedAt: instant("cancel_requested_at"),
    cancelReason: varchar("cancel_reason", { length: LIMITS.reason }),
    /** Set together, if the client sent an idempotency key. */
    idempotencyClient: char("idempotency_client", { length: DIGEST_LENGTH }),
    idempotencyKey: varchar("idempotency_key", { length: COLUMN_LENGTHS.idempotencyKey }),
    requestHash: char("request_hash", { length: DIGEST_LENGTH }),
    createdAt: instant("created_at").notNull(),
    updatedAt: instant("updated_at").notNull(),
    /** SQL never looks inside: null where the client gave nothing. */
    adjustments: json("adjustments").$type<readonly Adjustment[]>(),
    customer: json("customer").$type<Contact>(),
    billTo: json("bill_to").$type<Address>(),
    metadata: json("metadata").$type<Metadata>(),
    note: varchar("note", { length: LIMITS.note }),
    /**
     * When the client or an operator last changed the order, apart from cancelling it: what was read of it before is out
     * of date. Null for nearly all.
     */
    changedAt: instant("changed_at"),
    holds: json("holds").$type<readonly StoredHold[]>(),
    /** Null is the same as `cancel`. */
    whenSoldOut: varchar("when_sold_out", { length: 8 }).$type<"cancel" | "wait">(),
    /** From when deadlines count; null for its creation. */
    dueFrom: instant("due_from"),
  },
  (table) => [
    uniqueIndex("orders_by_idempotency").on(table.idempotencyKey, table.idempotencyClient),
    index("orders_by_status").on(table.status, table.id),
    index("orders_by_customer").on(table.customerId, table.id),
    index("orders_by_reference").on(table.reference, table.id),
    index("orders_by_failure").on(table.failedStage, table.id),
    index("orders_by_wait").on(table.waitingStage, table.id),
  ],
);

/** A hold in JSON, which has no dates. */
export type StoredHold = Omit<Hold, "at"> & { readonly at: string };

/** The part of a line that SQL never looks at. */
export type LineDetails = Omit<OrderLine, "sku" | "quantity" | "unitPrice">;

export const orderLines = mysqlTable(
  "order_lines",
  {
    orderId: uuid("order_id").notNull(),
    position: int("position").notNull(),
    sku: varchar("sku", { length: LIMITS.identifier }).notNull(),
    quantity: int("quantity").notNull(),
    unitPrice: money("unit_price").notNull(),
    /** What else the client said of the line; null if nothing. */
    details: json("details").$type<LineDetails>(),
  },
  (table) => [primaryKey({ columns: [table.orderId, table.position] })],
);

/**
 * Append-only: one row for each transition and other event of an order. The durable log that feeds everything
 * else.
 */
export const orderEvents = mysqlTable(
  "order_events",
  {
    id: money("id").autoincrement().primaryKey(),
    orderId: uuid("order_id").notNull(),
    /** Null for the order's creation. */
    fromStatus: varchar("from_status", { length: 32 }),
    toStatus: varchar("to_status", { length: 32 }).notNull(),
    stage: varchar("stage", { length: 32 }),
    reason: varchar("reason", { length: LIMITS.reason }),
    /** The stage's record; for a cancellation, which has no stage, the results of undoing. */
    record: json("record").$type<StageRecord>(),
    at: instant("at").notNull(),
    type: varchar("type", { length: 32 }).$type<EventType>().notNull().default("status"),
    /** The operator or client who requested it; null if the service did it by itself. */
    actor: varchar("actor", { length: COLUMN_LENGTHS.actor }),
    /** Set together: the stage's attempt that led to this event, and when it started. */
    attempt: int("attempt"),
    startedAt: instant("started_at"),
  },
  (table) => [index("order_events_by_order").on(table.orderId, table.id)],
);

export const stock = mysqlTable("stock", {
  sku: varchar("sku", { length: LIMITS.identifier }).primaryKey(),
  /** Units in the warehouse, including reserved ones. */
  onHand: int("on_hand").notNull(),
  /** Reserved units; a CHECK enforces 0 <= reserved <= on_hand. */
  reserved: int("reserved").notNull(),
});

/** What changed the stock on hand: an adjustment, a count that set it, goods that left, or goods that came back. */
export type MovementKind = "adjustment" | "count" | "shipment" | "return";

/** Append-only: why the stock on hand is what it is. The changes of a SKU add up to it. */
export const stockMovements = mysqlTable(
  "stock_movements",
  {
    id: money("id").autoincrement().primaryKey(),
    sku: varchar("sku", { length: LIMITS.identifier }).notNull(),
    at: instant("at").notNull(),
    kind: varchar("kind", { length: 16 }).$type<MovementKind>().notNull(),
    /** By how much the stock on hand changed. */
    delta: int("delta").notNull(),
    /** The order whose goods moved; null for all else. */
    orderId: uuid("order_id"),
    reason: varchar("reason", { length: LIMITS.reason }),
    reference: varchar("reference", { length: LIMITS.identifier }),
    /** The operator or client who changed it; null if an order did. */
    actor: varchar("actor", { length: COLUMN_LENGTHS.actor }),
  },
  (table) => [index("stock_movements_by_sku").on(table.sku, table.id)],
);

/** Adjustments that were asked for under an idempotency key, with the level that was the answer. */
export const stockAdjustments = mysqlTable(
  "stock_adjustments",
  {
    client: char("client", { length: DIGEST_LENGTH }).notNull(),
    key: varchar("idempotency_key", { length: COLUMN_LENGTHS.idempotencyKey }).notNull(),
    requestHash: char("request_hash", { length: DIGEST_LENGTH }).notNull(),
    sku: varchar("sku", { length: LIMITS.identifier }).notNull(),
    onHand: int("on_hand").notNull(),
    reserved: int("reserved").notNull(),
    at: instant("at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.key, table.client] })],
);

/** The goods of orders that wait for stock: one row for each SKU of such an order. */
export const backorders = mysqlTable(
  "backorders",
  {
    orderId: uuid("order_id").notNull(),
    sku: varchar("sku", { length: LIMITS.identifier }).notNull(),
    quantity: int("quantity").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.orderId, table.sku] }),
    index("backorders_by_sku").on(table.sku, table.orderId),
  ],
);

export type ReservationState = "HELD" | "SHIPPED" | "RELEASED";

/** One row per order. It covers the order's lines, which never change. */
export const reservations = mysqlTable("reservations", {
  orderId: uuid("order_id").primaryKey(),
  state: varchar("state", { length: 16 }).$type<ReservationState>().notNull(),
  updatedAt: instant("updated_at").notNull(),
});

/** Results of HTTP stages that came by callback. */
export const operationResults = mysqlTable(
  "operation_results",
  {
    orderId: uuid("order_id").notNull(),
    stage: varchar("stage", { length: 32 }).notNull(),
    /** Identifies the request whose token brought it: base64url. */
    nonce: char("nonce", { length: 8 }).notNull(),
    result: json("result").$type<SentResult>().notNull(),
    receivedAt: instant("received_at").notNull(),
    /** When it was used, for a result that does not decide. */
    takenAt: instant("taken_at"),
  },
  (table) => [primaryKey({ columns: [table.orderId, table.stage, table.nonce] })],
);

/** What an order's payments have come to. One row per order, unless an authorization had to be renewed. */
export const payments = mysqlTable(
  "payments",
  {
    orderId: uuid("order_id").notNull(),
    /** Counts an order's payments, from 1. */
    sequence: int("sequence").notNull(),
    state: varchar("state", { length: 16 }).$type<PaymentState>().notNull(),
    provider: varchar("provider", { length: 32 }).notNull(),
    /** The provider's id, as soon as there is one. */
    providerId: varchar("provider_id", { length: COLUMN_LENGTHS.providerId }),
    amount: money("amount").notNull(),
    currency: char("currency", { length: 3 }).notNull(),
    captured: money("captured").notNull(),
    /** Idempotency keys that were spent on answers that say nothing. */
    spentKeys: int("spent_keys").notNull(),
    /** Why it was declined. */
    code: varchar("code", { length: 64 }),
    reason: varchar("reason", { length: LIMITS.reason }),
    /** What the customer has to do, while it is pending. */
    action: json("action").$type<PaymentAction>(),
    expiresAt: instant("expires_at"),
    createdAt: instant("created_at").notNull(),
    updatedAt: instant("updated_at").notNull(),
    dispute: varchar("dispute", { length: 8 }).$type<DisputeState>(),
    /** How much of it; null for all of it. */
    disputed: money("disputed"),
  },
  (table) => [
    primaryKey({ columns: [table.orderId, table.sequence] }),
    index("payments_by_provider_id").on(table.providerId),
  ],
);

/** Money to be paid back, or that was. */
export const refunds = mysqlTable(
  "refunds",
  {
    id: uuid("id").primaryKey(),
    orderId: uuid("order_id").notNull(),
    /** Of the payment that it pays back. */
    sequence: int("sequence").notNull(),
    cause: varchar("cause", { length: 16 }).$type<RefundCause>().notNull(),
    state: varchar("state", { length: 16 }).$type<RefundState>().notNull(),
    amount: money("amount").notNull(),
    currency: char("currency", { length: 3 }).notNull(),
    reason: varchar("reason", { length: LIMITS.reason }).notNull(),
    lines: json("lines").$type<readonly RefundLine[]>(),
    restock: varchar("restock", { length: 8 }).$type<Restock>().notNull(),
    actor: varchar("actor", { length: COLUMN_LENGTHS.actor }),
    /** The client and its idempotency key, if it sent one. */
    requestKey: varchar("request_key", { length: 320 }),
    providerId: varchar("provider_id", { length: COLUMN_LENGTHS.providerId }),
    spentKeys: int("spent_keys").notNull(),
    /** How often the provider was asked, and why the last time failed. */
    attempts: int("attempts").notNull(),
    failure: varchar("failure", { length: LIMITS.reason }),
    /** When it is looked at next, while it is pending. */
    dueAt: instant("due_at").notNull(),
    createdAt: instant("created_at").notNull(),
    updatedAt: instant("updated_at").notNull(),
    /** Null without a key. */
    requestHash: char("request_hash", { length: DIGEST_LENGTH }),
  },
  (table) => [
    index("refunds_by_order").on(table.orderId, table.id),
    index("refunds_by_due").on(table.state, table.dueAt),
  ],
);

/** Parcels below the orders. What they are made of is JSON: SQL never looks inside. */
export const shipments = mysqlTable(
  "shipments",
  {
    orderId: uuid("order_id").notNull(),
    /** Counts an order's shipments, from 1. */
    number: int("number").notNull(),
    state: varchar("state", { length: 16 }).$type<ShipmentState>().notNull(),
    lines: json("lines").$type<readonly ShipmentLine[]>().notNull(),
    parcel: json("parcel").$type<Parcel>(),
    carrier: varchar("carrier", { length: 32 }).notNull(),
    carrierId: varchar("carrier_id", { length: COLUMN_LENGTHS.carrierId }),
    service: varchar("service", { length: COLUMN_LENGTHS.service }),
    cost: json("cost").$type<Cost>(),
    trackingNumber: varchar("tracking_number", { length: COLUMN_LENGTHS.trackingNumber }),
    trackingUrl: varchar("tracking_url", { length: COLUMN_LENGTHS.parcelUrl }),
    labelUrl: varchar("label_url", { length: COLUMN_LENGTHS.parcelUrl }),
    expectedAt: instant("expected_at"),
    bookRequestedAt: instant("book_requested_at"),
    voiding: varchar("voiding", { length: 16 }).$type<Voiding>(),
    reason: varchar("reason", { length: LIMITS.reason }),
    askedAt: instant("asked_at"),
    nudgedAt: instant("nudged_at"),
    closedAt: instant("closed_at"),
    createdAt: instant("created_at").notNull(),
    updatedAt: instant("updated_at").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.orderId, table.number] }),
    index("shipments_by_carrier_id").on(table.carrierId),
  ],
);

/** How far each relay has read the event log. */
export const relayPositions = mysqlTable("relay_positions", {
  name: varchar("name", { length: 32 }).primaryKey(),
  /** Every event up to this one has been relayed, or looked at: an id of ours, or a payment provider's position. */
  eventId: money("event_id").notNull(),
  updatedAt: instant("updated_at").notNull(),
});

/** Operators' actions, and the progress of long ones. */
export const operatorActions = mysqlTable(
  "operator_actions",
  {
    id: money("id").autoincrement().primaryKey(),
    at: instant("at").notNull(),
    actor: varchar("actor", { length: COLUMN_LENGTHS.actor }).notNull(),
    action: varchar("action", { length: 32 }).notNull(),
    /** The target: an order's id, a stage, a queue or a webhook endpoint's id. */
    target: varchar("target", { length: 64 }).notNull(),
    details: json("details").$type<ActionDetails>(),
    state: varchar("state", { length: 16 }).$type<ActionProgress["state"]>().notNull(),
    /** Orders processed so far, and their total; null if not counted. */
    done: int("done").notNull(),
    total: int("total"),
    updatedAt: instant("updated_at").notNull(),
  },
  (table) => [index("operator_actions_by_target").on(table.target, table.id)],
);

/** Operators' settings of the queues. BullMQ's workers use a copy in Redis. */
export const queueSettings = mysqlTable("queue_settings", {
  step: varchar("step", { length: 32 }).primaryKey(),
  /** When it was paused; null if it is not. */
  pausedAt: instant("paused_at"),
  /** Global concurrency; null for no limit. */
  concurrency: int("concurrency"),
  /** Set together: a rate limit of so many jobs in so many milliseconds, over all workers. */
  rateMax: int("rate_max"),
  rateDurationMs: int("rate_duration_ms"),
  updatedAt: instant("updated_at").notNull(),
});

export type WebhookState = "enabled" | "disabled" | "deleted";

/** Webhook endpoints. */
export const webhookEndpoints = mysqlTable("webhook_endpoints", {
  id: uuid("id").primaryKey(),
  url: varchar("url", { length: COLUMN_LENGTHS.webhookUrl }).notNull(),
  description: varchar("description", { length: COLUMN_LENGTHS.webhookDescription }),
  /** The event types it subscribes to; null for all. */
  eventTypes: json("event_types").$type<readonly EventType[]>(),
  /** `whsec_` and base64. Returned once, when it is created. */
  secret: varchar("secret", { length: 128 }).notNull(),
  /** Set together: the last two secrets before, newest first, separated by a space, and until when they are valid. */
  previousSecret: varchar("previous_secret", { length: 128 }),
  previousSecretUntil: instant("previous_secret_until"),
  state: varchar("state", { length: 16 }).$type<WebhookState>().notNull(),
  /** Set together, while it is disabled. */
  disabledReason: varchar("disabled_reason", { length: LIMITS.reason }),
  disabledAt: instant("disabled_at"),
  /** It receives only events after this one, the newest when it was created or enabled. */
  afterEventId: money("after_event_id").notNull(),
  /** Since when every attempt has failed; null after a success. */
  failingSince: instant("failing_since"),
  /** Why the last attempt failed, and when it is tried again if it is only probed; null after a success. */
  lastError: varchar("last_error", { length: LIMITS.reason }),
  nextAttemptAt: instant("next_attempt_at"),
  createdAt: instant("created_at").notNull(),
  updatedAt: instant("updated_at").notNull(),
});

export type DeliveryState = "pending" | "delivered" | "failed";

/** One row for each event and subscribed endpoint. */
export const webhookDeliveries = mysqlTable(
  "webhook_deliveries",
  {
    id: money("id").autoincrement().primaryKey(),
    endpointId: uuid("endpoint_id").notNull(),
    /** Null for a test message. */
    eventId: money("event_id"),
    /** The event's order; for a test message, an id of its own. */
    orderId: uuid("order_id").notNull(),
    state: varchar("state", { length: 16 }).$type<DeliveryState>().notNull(),
    /** Attempts since it was created or last resent. */
    attempts: int("attempts").notNull(),
    /** When the next attempt is due; once settled, when it was settled. */
    dueAt: instant("due_at").notNull(),
    /** The last attempt's response status, or its error. */
    lastStatus: int("last_status"),
    lastError: varchar("last_error", { length: LIMITS.reason }),
    createdAt: instant("created_at").notNull(),
  },
  (table) => [
    uniqueIndex("webhook_deliveries_by_event").on(table.endpointId, table.eventId),
    index("webhook_deliveries_by_order").on(table.endpointId, table.orderId),
    index("webhook_deliveries_by_due").on(table.endpointId, table.state, table.dueAt),
    index("webhook_deliveries_by_endpoint").on(table.endpointId, table.id),
  ],
);

/** Requests and responses: one row per attempt, kept for some days. */
export const webhookAttempts = mysqlTable(
  "webhook_attempts",
  {
    id: money("id").autoincrement().primaryKey(),
    deliveryId: money("delivery_id").notNull(),
    at: instant("at").notNull(),
    url: varchar("url", { length: COLUMN_LENGTHS.webhookUrl }).notNull(),
    durationMs: int("duration_ms").notNull(),
    /** Null if there was no response; then `error` says why. */
    status: int("status"),
    error: varchar("error", { length: LIMITS.reason }),
    /** The beginning of the response body. */
    response: varchar("response", { length: COLUMN_LENGTHS.webhookResponse }),
  },
  (table) => [
    index("webhook_attempts_by_delivery").on(table.deliveryId, table.id),
    index("webhook_attempts_by_time").on(table.at),
  ],
);

/** Leases for work that only one process may do. They expire by MySQL's clock. Rows stay, so that tokens grow. */
export const leases = mysqlTable("leases", {
  name: varchar("name", { length: 32 }).primaryKey(),
  /** The holder's host and process id, for operators. */
  holder: varchar("holder", { length: COLUMN_LENGTHS.leaseHolder }).notNull(),
  expiresAt: instant("expires_at").notNull(),
  /** Grows with every holder. */
  token: money("token").notNull().default(0),
});

/** One row, which identifies this database. */
export const installation = mysqlTable("installation", {
  /** Always 1. */
  single: int("single").primaryKey(),
  /** Created once, by the migration. */
  id: uuid("id").notNull(),
  /** 64 hexadecimal digits, created once, by the migration. */
  secret: char("secret", { length: 64 }),
  /** When a process last checked that the database accepts writes. */
  writtenAt: instant("written_at").notNull(),
});

/** The pipelines that processes have had. The one in force is the one set last. */
export const pipelines = mysqlTable("pipelines", {
  /** SHA-256 of `stages`, in hexadecimal. */
  fingerprint: fingerprint("fingerprint").primaryKey(),
  /** JSON: what tells it from others (`Outline`). */
  stages: text("stages").notNull(),
  setAt: instant("set_at").notNull(),
  /** When a process with it last was known to run. */
  seenAt: instant("seen_at").notNull(),
});
