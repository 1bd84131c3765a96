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
  uniqueIndex,
  varchar,
} from "drizzle-orm/mysql-core";
import { LIMITS } from "../src/order/limits.ts";
import { COLUMN_LENGTHS } from "./column-lengths.ts";
import type { EventType } from "../src/order/event.ts";
import type { Address, StageRecord } from "../src/order/order.ts";

/**
 * The tables, as queries see them. The migrations create them (a test holds both to each other). Times are UTC with
 * milliseconds and set by the application; money is an integer in minor units; text compares byte by byte.
 */

/** UUIDs are ASCII: a quarter of the index that utf8mb4 would reserve. */
const uuid = customType<{ data: string }>({ dataType: () => "char(36)" });
const instant = (name: string) => datetime(name, { fsp: 3, mode: "date" });
/** SHA-256 in base64. */
const DIGEST_LENGTH = 44;
const money = (name: string) => bigint(name, { mode: "number" });

export const orders = mysqlTable(
  "orders",
  {
    id: uuid("id").primaryKey(),
    /** Text, not an enum: a stage put in later brings a status without a migration. */
    status: varchar("status", { length: 32 }).notNull(),
    customerId: varchar("customer_id", { length: LIMITS.identifier }).notNull(),
    reference: varchar("reference", { length: LIMITS.identifier }),
    currency: char("currency", { length: 3 }).notNull(),
    total: money("total").notNull(),
    paymentToken: varchar("payment_token", { length: LIMITS.paymentToken }),
    shipTo: json("ship_to").$type<Address>(),
    /** Set together: the order rests in this stage's failed set. */
    failedStage: varchar("failed_stage", { length: 32 }),
    failedReason: varchar("failed_reason", { length: LIMITS.reason }),
    failedAt: instant("failed_at"),
    /** Set together, once: the executor undoes the finished stages and sets CANCELLED. */
    cancelRequestedAt: instant("cancel_requested_at"),
    cancelReason: varchar("cancel_reason", { length: LIMITS.reason }),
    /** Set together, when the client gave an idempotency key. */
    idempotencyClient: char("idempotency_client", { length: DIGEST_LENGTH }),
    idempotencyKey: varchar("idempotency_key", { length: COLUMN_LENGTHS.idempotencyKey }),
    requestHash: char("request_hash", { length: DIGEST_LENGTH }),
    createdAt: instant("created_at").notNull(),
    updatedAt: instant("updated_at").notNull(),
  },
  (table) => [
    uniqueIndex("orders_by_idempotency").on(table.idempotencyKey, table.idempotencyClient),
    index("orders_by_status").on(table.status, table.id),
    index("orders_by_customer").on(table.customerId, table.id),
    index("orders_by_reference").on(table.reference, table.id),
    index("orders_by_failure").on(table.failedStage, table.id),
  ],
);

export const orderLines = mysqlTable(
  "order_lines",
  {
    orderId: uuid("order_id").notNull(),
    position: int("position").notNull(),
    sku: varchar("sku", { length: LIMITS.identifier }).notNull(),
    quantity: int("quantity").notNull(),
    unitPrice: money("unit_price").notNull(),
  },
  (table) => [primaryKey({ columns: [table.orderId, table.position] })],
);

/**
 * Append-only: one row a transition, and what else happened to an order on its way. The durable log that everything else
 * is fed from.
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
    /** What the stage left behind. A cancellation has no stage, and its record is what undoing gave. */
    record: json("record").$type<StageRecord>(),
    at: instant("at").notNull(),
    type: varchar("type", { length: 32 }).$type<EventType>().notNull().default("status"),
    /** Who asked for it, an operator or a client; null for what the service did by itself. */
    actor: varchar("actor", { length: COLUMN_LENGTHS.actor }),
    /** Set together: which attempt at the stage led to this, and when it began. */
    attempt: int("attempt"),
    startedAt: instant("started_at"),
  },
  (table) => [index("order_events_by_order").on(table.orderId, table.id)],
);

export const stock = mysqlTable("stock", {
  sku: varchar("sku", { length: LIMITS.identifier }).primaryKey(),
  /** Pieces in the house, reserved ones included. */
  onHand: int("on_hand").notNull(),
  /** Pieces set aside; a CHECK keeps 0 <= reserved <= on_hand. */
  reserved: int("reserved").notNull(),
});

export type ReservationState = "HELD" | "SHIPPED" | "RELEASED";

/** One row an order. What it holds are the order's lines, which never change. */
export const reservations = mysqlTable("reservations", {
  orderId: uuid("order_id").primaryKey(),
  state: varchar("state", { length: 16 }).$type<ReservationState>().notNull(),
  updatedAt: instant("updated_at").notNull(),
});

export type LedgerKind = "charge" | "refund" | "label" | "label-void";
/** Pending: asked for, and not answered yet. Void: must not be approved any more. */
export type LedgerOutcome = "pending" | "approved" | "declined" | "void";

/** The books of the simulated payment provider and carrier: one row an idempotency key. */
export const providerLedger = mysqlTable(
  "provider_ledger",
  {
    idempotencyKey: varchar("idempotency_key", { length: 128 }).primaryKey(),
    kind: varchar("kind", { length: 16 }).$type<LedgerKind>().notNull(),
    orderId: uuid("order_id").notNull(),
    /** Minor units; 0 for labels. */
    amount: money("amount").notNull(),
    currency: char("currency", { length: 3 }),
    outcome: varchar("outcome", { length: 16 }).$type<LedgerOutcome>().notNull(),
    /** Why it was declined. */
    reason: varchar("reason", { length: LIMITS.reason }),
    /** The provider's own name for it: a charge id, a tracking number. */
    providerId: varchar("provider_id", { length: 64 }).notNull(),
    /** How often it was asked for. */
    attempts: int("attempts").notNull(),
    createdAt: instant("created_at").notNull(),
  },
  (table) => [index("provider_ledger_by_order").on(table.orderId)],
);

/** Whether a simulated provider answers, as `npm run providers` sets it for every worker. */
export const providerStates = mysqlTable("provider_states", {
  provider: varchar("provider", { length: 32 }).primaryKey(),
  /** With the milliseconds that one takes to answer, when it is up and slow. */
  state: varchar("state", { length: 16 }).$type<"up" | "down" | `slow ${number}`>().notNull(),
  since: instant("since").notNull(),
});

/** How far the log of events has been passed on, and to whom. */
export const relayPositions = mysqlTable("relay_positions", {
  name: varchar("name", { length: 32 }).primaryKey(),
  /** Every event up to this one has been passed on. */
  eventId: money("event_id").notNull(),
  updatedAt: instant("updated_at").notNull(),
});

/** What operators did, and how far those things have come that take a while. */
export const operatorActions = mysqlTable(
  "operator_actions",
  {
    id: money("id").autoincrement().primaryKey(),
    at: instant("at").notNull(),
    actor: varchar("actor", { length: COLUMN_LENGTHS.actor }).notNull(),
    action: varchar("action", { length: 32 }).notNull(),
    /** What it was done to: an order's id, a stage, a queue, a webhook endpoint's id. */
    target: varchar("target", { length: 64 }).notNull(),
    details: json("details").$type<Readonly<Record<string, string | number | boolean | null>>>(),
    state: varchar("state", { length: 16 }).$type<"running" | "done" | "failed">().notNull(),
    /** Orders it was done to until now, and how many there are to be; null where that was not counted. */
    done: int("done").notNull(),
    total: int("total"),
    updatedAt: instant("updated_at").notNull(),
  },
  (table) => [index("operator_actions_by_target").on(table.target, table.id)],
);

/** How operators want the queues: Redis has a copy, which BullMQ's workers go by. */
export const queueSettings = mysqlTable("queue_settings", {
  step: varchar("step", { length: 32 }).primaryKey(),
  /** Since when it is paused; null for one that is not. */
  pausedAt: instant("paused_at"),
  /** Jobs at the same moment over all workers; null for as many as they take. */
  concurrency: int("concurrency"),
  /** Set together: so many jobs in so many milliseconds over all workers. */
  rateMax: int("rate_max"),
  rateDurationMs: int("rate_duration_ms"),
  updatedAt: instant("updated_at").notNull(),
});

export type WebhookState = "enabled" | "disabled" | "deleted";

/** Where events are sent to. */
export const webhookEndpoints = mysqlTable("webhook_endpoints", {
  id: uuid("id").primaryKey(),
  url: varchar("url", { length: COLUMN_LENGTHS.webhookUrl }).notNull(),
  description: varchar("description", { length: COLUMN_LENGTHS.webhookDescription }),
  /** The types of events that it wants; null for all. */
  eventTypes: json("event_types").$type<readonly EventType[]>(),
  /** `whsec_` and base64. Told once, when it is made. */
  secret: varchar("secret", { length: 128 }).notNull(),
  /** Set together: the one before is valid beside it until then. */
  previousSecret: varchar("previous_secret", { length: 128 }),
  previousSecretUntil: instant("previous_secret_until"),
  state: varchar("state", { length: 16 }).$type<WebhookState>().notNull(),
  /** Set together, for one that is not enabled. */
  disabledReason: varchar("disabled_reason", { length: LIMITS.reason }),
  disabledAt: instant("disabled_at"),
  /** Only events after this one are for it: it was made, or enabled, when this was the newest. */
  afterEventId: money("after_event_id").notNull(),
  /** Since when every attempt has failed; null after one that did not. */
  failingSince: instant("failing_since"),
  createdAt: instant("created_at").notNull(),
  updatedAt: instant("updated_at").notNull(),
});

export type DeliveryState = "pending" | "delivered" | "failed";

/** One row for each event and endpoint that wants it. */
export const webhookDeliveries = mysqlTable(
  "webhook_deliveries",
  {
    id: money("id").autoincrement().primaryKey(),
    endpointId: uuid("endpoint_id").notNull(),
    /** Null for a test message, which is about no event. */
    eventId: money("event_id"),
    /** The order that the event is about; a test message has an id of its own here. */
    orderId: uuid("order_id").notNull(),
    state: varchar("state", { length: 16 }).$type<DeliveryState>().notNull(),
    /** Attempts since it was made, or was last asked to be sent again. */
    attempts: int("attempts").notNull(),
    /** When the next attempt is due; for one that is settled, when that was. */
    dueAt: instant("due_at").notNull(),
    /** Of the last attempt: what was answered, or why nothing was. */
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

/** What was sent, and what came back: a row an attempt, kept for some days. */
export const webhookAttempts = mysqlTable(
  "webhook_attempts",
  {
    id: money("id").autoincrement().primaryKey(),
    deliveryId: money("delivery_id").notNull(),
    at: instant("at").notNull(),
    url: varchar("url", { length: COLUMN_LENGTHS.webhookUrl }).notNull(),
    durationMs: int("duration_ms").notNull(),
    /** Null when there was no answer: then `error` says why. */
    status: int("status"),
    error: varchar("error", { length: LIMITS.reason }),
    /** The beginning of the answer's body. */
    response: varchar("response", { length: COLUMN_LENGTHS.webhookResponse }),
  },
  (table) => [
    index("webhook_attempts_by_delivery").on(table.deliveryId, table.id),
    index("webhook_attempts_by_time").on(table.at),
  ],
);

/** Who does what only one process may do: until it expires, by the clock of MySQL. Rows stay: the next token is greater. */
export const leases = mysqlTable("leases", {
  name: varchar("name", { length: 32 }).primaryKey(),
  /** Its host and process id, for operators. */
  holder: varchar("holder", { length: COLUMN_LENGTHS.leaseHolder }).notNull(),
  expiresAt: instant("expires_at").notNull(),
  /** Grows with every holder. */
  token: money("token").notNull().default(0),
});

/** One row: what tells this database from every other. */
export const installation = mysqlTable("installation", {
  /** Always 1. */
  single: int("single").primaryKey(),
  /** Made once, by the migration. */
  id: uuid("id").notNull(),
  /** When a process last checked that the database takes writes. */
  writtenAt: instant("written_at").notNull(),
});
