import type { Database } from "../../../db/database.ts";
import {
  changeShipment,
  listShipments,
  newShipment,
  openShipments,
  type ShipmentUpdate,
} from "../../../db/shipments.ts";
import type { Order } from "../../order/order.ts";
import { unplanned } from "../../order/pieces.ts";
import type { Shipment } from "../../order/shipment.ts";
import { grouped, type Commit } from "../../platform/group-commit.ts";
import { groupBy } from "../../platform/group-by.ts";
import { failureKindOf } from "../../platform/storage-error.ts";

/** The shipments in MySQL, as the desk reads and writes them. What every order needs shares transactions. */
export type Books = ReturnType<typeof booksOf>;

/** @param carrier its name. @param commit group commit. */
export function booksOf(database: Database, carrier: string, commit: Commit = grouped) {
  const reads = commit<string, Shipment[]>({
    name: "shipment_reads",
    flush: async (orderIds) => {
      const found = groupBy(await listShipments(database, orderIds), ({ orderId }) => orderId);
      return orderIds.map((id) => [...(found.get(id) ?? [])]);
    },
    kindOf: failureKindOf,
  });
  const opened = commit<Shipment, Shipment>({
    name: "shipments",
    flush: (wanted) => openShipments(database, wanted),
    kindOf: failureKindOf,
  });
  const open = (shipment: Shipment) => opened.submit(shipment);
  /** That of an order which shipped when shipments were not written down, or by a worker of then, is made of its record. */
  const look = async (order: Order): Promise<{ stored: Shipment[]; unwritten?: Shipment | undefined }> => {
    const stored = await reads.submit(order.id);
    return stored.length > 0 ? { stored } : { stored, unwritten: fromRecord(order, carrier) };
  };
  return {
    /** The order's shipments, without writing anything. */
    async show(order: Order): Promise<Shipment[]> {
      const { stored, unwritten } = await look(order);
      return unwritten ? [unwritten] : stored;
    },
    /** The order's shipments, all of them written down. */
    async list(order: Order): Promise<Shipment[]> {
      const { stored, unwritten } = await look(order);
      return unwritten ? [await open(unwritten)] : stored;
    },
    open,
    change: (shipment: Shipment, update: ShipmentUpdate) => changeShipment(database, shipment, update),
  };
}

function fromRecord(order: Order, carrier: string): Shipment | undefined {
  const trackingNumber = order.records["ship"]?.["trackingNumber"];
  if (typeof trackingNumber !== "string") return undefined;
  const deliveredAt = order.records["deliver"]?.["deliveredAt"];
  const at = typeof deliveredAt === "string" ? new Date(deliveredAt) : order.createdAt;
  const lines = unplanned(order.lines, []);
  return {
    ...newShipment({ orderId: order.id, number: 1, lines, carrier }, at),
    state: deliveredAt === undefined ? "BOOKED" : "DELIVERED",
    trackingNumber,
  };
}
