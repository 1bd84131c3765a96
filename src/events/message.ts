import type { LoggedEvent } from "../../db/event-log.ts";
import type { EventType } from "../order/event.ts";
import type { StageRecord } from "../order/order.ts";

/** The CloudEvents source; with the id, it identifies an event globally. */
const SOURCE = "/conveyor/orders";

/**
 * An event as a CloudEvent 1.0, the same in the Redis Stream, live updates, webhooks and replays. It contains
 * no personal data and no free text. Fields are only added; a breaking change gets a new version in the type.
 * See docs/events.md and docs/event.schema.json.
 */
export interface EventMessage {
  readonly specversion: "1.0";
  /** The event's position in the log. Messages with the same id are duplicates. */
  readonly id: string;
  readonly source: typeof SOURCE;
  readonly type: ReturnType<typeof messageType>;
  /** The order's id. */
  readonly subject: string;
  readonly time: string;
  readonly datacontenttype: "application/json";
  readonly data: {
    /** Null for the order's creation; equal to `to` if the status did not change. */
    readonly from: string | null;
    readonly to: string;
    /** Null if no stage was involved. */
    readonly stage: string | null;
    /** The attempt that led to the event, and its start; null if there was none. */
    readonly attempt: number | null;
    readonly startedAt: string | null;
    /** What was changed or held, by name; absent for all other types. */
    readonly details?: StageRecord;
  };
}

/** An event's type, as messages and filters have it. */
export function messageType(type: EventType) {
  return `conveyor.order.${type}.v1` as const;
}

export function toMessage(event: LoggedEvent): EventMessage {
  const { id, orderId, type, from, to, stage, attempt, startedAt, at, details } = event;
  return {
    specversion: "1.0",
    id: String(id),
    source: SOURCE,
    type: messageType(type),
    subject: orderId,
    time: at.toISOString(),
    datacontenttype: "application/json",
    data: {
      from,
      to,
      stage,
      attempt,
      startedAt: startedAt?.toISOString() ?? null,
      ...(details && { details }),
    },
  };
}
