import type { LoggedEvent } from "../../../db/event-log.ts";
import type { WebhookDelivery } from "../../../db/webhook-deliveries.ts";
import { toMessage } from "../message.ts";

/** What is sent to an endpoint: the same bytes with every attempt. */
export interface WebhookMessage {
  /** The event's id; of two messages with the same one, one is a repetition. */
  readonly id: string;
  readonly body: string;
}

/** The message of a delivery; undefined for one whose event is not in the log any more. */
export function webhookMessage(
  delivery: Pick<WebhookDelivery, "id" | "eventId" | "createdAt">,
  event: LoggedEvent | undefined,
): WebhookMessage | undefined {
  if (delivery.eventId === null) return testMessage(delivery);
  return event && { id: String(event.id), body: JSON.stringify(toMessage(event)) };
}

/** A message to try an endpoint with: a CloudEvent of a type of its own, about nothing. */
function testMessage({
  id: deliveryId,
  createdAt,
}: Pick<WebhookDelivery, "id" | "createdAt">): WebhookMessage {
  const id = `test-${deliveryId}`;
  const message = {
    specversion: "1.0",
    id,
    source: "/conveyor/webhooks",
    type: "conveyor.webhook.test.v1",
    time: createdAt.toISOString(),
    datacontenttype: "application/json",
    data: {},
  };
  return { id, body: JSON.stringify(message) };
}
