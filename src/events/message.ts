import type { LoggedEvent } from "../../db/event-log.ts";
import type { EventType } from "../order/event.ts";

/** Who tells it; together with the id it names an event in the world. */
const SOURCE = "/conveyor/orders";

/**
 * An event as other services hear of it, with the attributes of CloudEvents 1.0: the same in the Redis Stream, in live
 * updates and in replays. No personal data and no free text: who needs more asks for the order. Fields are only ever
 * added; what would break a reader gets a new version in its type. docs/events.md and docs/event.schema.json describe it.
 */
export interface EventMessage {
  readonly specversion: "1.0";
  /** The event's place in the log. Of two messages with the same id, one is a repetition. */
  readonly id: string;
  readonly source: typeof SOURCE;
  readonly type: `conveyor.order.${EventType}.v1`;
  /** The order's id. */
  readonly subject: string;
  readonly time: string;
  readonly datacontenttype: "application/json";
  readonly data: {
    /** Null for the order's creation; the same as `to` where the order stays where it stands. */
    readonly from: string | null;
    readonly to: string;
    /** Null for what no stage did. */
    readonly stage: string | null;
    /** Which attempt at the stage led to it, and when that began; null where none did. */
    readonly attempt: number | null;
    readonly startedAt: string | null;
  };
}

export function toMessage(event: LoggedEvent): EventMessage {
  const { id, orderId, type, from, to, stage, attempt, startedAt, at } = event;
  return {
    specversion: "1.0",
    id: String(id),
    source: SOURCE,
    type: `conveyor.order.${type}.v1`,
    subject: orderId,
    time: at.toISOString(),
    datacontenttype: "application/json",
    data: { from, to, stage, attempt, startedAt: startedAt?.toISOString() ?? null },
  };
}
