import type { BookedLabel } from "../simulators/providers.ts";
import { groupBy } from "../../src/platform/group-by.ts";
import type { LineRow, OrderRow, ShipmentRow } from "./evidence.ts";

/* The audit of parcels. It knows the states' names, and uses none of the service's code. */

/** States of parcels that no longer bring their pieces to the customer. */
const GIVES_UP = new Set(["VOIDED", "RETURNED", "LOST"]);

/** Whether its goods have left the stock. */
export function hasLeft({ state }: Pick<ShipmentRow, "state">): boolean {
  return state !== "PLANNED" && state !== "VOIDED";
}

/** What is wrong with the labels of an order, which all are of its parcels. */
export function faultsOfLabels({
  order: { id, status },
  hasEnded,
  shipments,
  labels,
}: {
  readonly order: Pick<OrderRow, "id" | "status">;
  readonly hasEnded: boolean;
  readonly shipments: readonly ShipmentRow[];
  readonly labels: readonly BookedLabel[];
}): string[] {
  const faults: string[] = [];
  const byKey = groupBy(labels, ({ key }) => key);
  for (const [key, those] of byKey)
    if (those.length > 1) faults.push(`${id} is ${status} with ${those.length} labels bought for ${key}`);
  const known = new Set(shipments.map(({ reference }) => reference));
  const isValid = ({ voided }: BookedLabel) => !voided;
  const stray = labels.filter((label) => !known.has(label.key) && isValid(label));
  if (stray.length > 0) faults.push(`${id} is ${status} with ${stray.length} labels for no parcel`);
  for (const { reference, number, state, trackingNumber, isClosed } of shipments) {
    const valid = (byKey.get(reference) ?? []).filter(isValid);
    const due = hasLeft({ state }) ? 1 : 0;
    // One in progress may already have its label, and so may one whose label the carrier did not take back.
    if ((hasEnded && !isClosed) || due === 1 ? valid.length !== due : valid.length > 1)
      faults.push(`${id} is ${status} with ${valid.length} labels for parcel ${number}, which is ${state}`);
    for (const label of valid)
      if (due === 1 && label.trackingNumber !== trackingNumber)
        faults.push(`${id}: parcel ${number} is ${trackingNumber}, and its label ${label.trackingNumber}`);
  }
  return faults;
}

/** What is wrong with the pieces of an order. */
export function faultsOfPieces(
  { id, status }: Pick<OrderRow, "id" | "status">,
  lines: readonly LineRow[],
  shipments: readonly ShipmentRow[],
): string[] {
  const left = new Map<string, number>();
  const add = (sku: string, quantity: number) => left.set(sku, (left.get(sku) ?? 0) + quantity);
  for (const { sku, quantity, cancelled = 0 } of lines) add(sku, quantity - cancelled);
  const holding = shipments.filter(({ state }) => !GIVES_UP.has(state));
  for (const { pieces } of holding) for (const { sku, quantity } of pieces) add(sku, -quantity);
  const faults = [...left].flatMap(([sku, quantity]) =>
    quantity < 0 ? [`${id}: ${-quantity} ${sku} more in parcels than were ordered`] : [],
  );
  // What was lost or returned, and closed, is settled, unless it was shipped again before.
  const closed = shipments.filter(
    ({ state, isClosed }) => isClosed && (state === "LOST" || state === "RETURNED"),
  );
  for (const { pieces } of closed) for (const { sku, quantity } of pieces) add(sku, -quantity);
  if (status === "DELIVERED")
    for (const [sku, quantity] of left)
      if (quantity > 0) faults.push(`${id} is DELIVERED without ${quantity} ${sku}`);
  const open = holding.filter(({ state, isClosed }) => !isClosed && state !== "DELIVERED");
  if (status === "DELIVERED" || status === "CANCELLED")
    for (const { number, state } of open)
      faults.push(`${id} is ${status}, and its parcel ${number} is ${state}`);
  return faults;
}
