import type { LoggedEvent } from "../../../db/event-log.ts";
import { toMessage } from "../message.ts";

/** An event encoded for streaming; made once and shared by all listeners. */
export interface Frame {
  readonly id: number;
  readonly orderId: string;
  readonly bytes: Buffer;
}

/** @param message the event as JSON, on one line. */
export function frameOf(id: number, orderId: string, message: string): Frame {
  return { id, orderId, bytes: Buffer.from(`id: ${id}\ndata: ${message}\n\n`) };
}

export function frameOfLogged(event: LoggedEvent): Frame {
  return frameOf(event.id, event.orderId, JSON.stringify(toMessage(event)));
}
