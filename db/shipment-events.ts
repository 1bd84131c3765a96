import type { EventType } from "../src/order/event.ts";
import type { ShipmentChange, ShipmentState } from "../src/order/shipment.ts";
import type { NewOrderEvent } from "./order-events.ts";

/** What is told of a shipment that has got into a state. */
export const EVENT_OF_STATE = {
  PLANNED: "shipment.planned",
  BOOKED: "shipment.booked",
  IN_TRANSIT: "shipment.in_transit",
  OUT_FOR_DELIVERY: "shipment.out_for_delivery",
  DELIVERED: "shipment.delivered",
  EXCEPTION: "shipment.exception",
  RETURNED: "shipment.returned",
  LOST: "shipment.lost",
  VOIDED: "shipment.voided",
} as const satisfies Record<ShipmentState, EventType>;

/** The event of what has become of a shipment, while its order had this status. Without any personal data. */
export function shipmentEvent(
  shipment: ShipmentChange,
  status: string,
  { type = EVENT_OF_STATE[shipment.state], actor = null }: { type?: EventType; actor?: string | null } = {},
): NewOrderEvent {
  const { orderId, number, lines, carrier, service, trackingNumber, trackingUrl, expectedAt } = shipment;
  return {
    orderId,
    type,
    from: status,
    to: status,
    stage: null,
    reason: shipment.reason,
    record: {
      shipment: number,
      pieces: lines.reduce((sum, { quantity }) => sum + quantity, 0),
      carrier,
      ...(service !== null && { service }),
      ...(trackingNumber !== null && { trackingNumber }),
      ...(trackingUrl !== null && { trackingUrl }),
      ...(expectedAt !== null && { expectedAt: expectedAt.toISOString() }),
    },
    at: shipment.updatedAt,
    actor,
  };
}
