import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { changeShipment } from "../../../db/shipments.ts";
import { findStock } from "../../../db/stock.ts";
import type { Executor } from "../../../src/engine/executor.ts";
import type { CarrierProvider } from "../../../src/order/ports.ts";
import type { FulfilmentMode } from "../../../src/providers/shipping/desk.ts";
import { ShippingDesk } from "../../../src/providers/shipping/desk.ts";
import { NotYetDoneError, type Parcels } from "../../../src/providers/shipping/parcels.ts";
import {
  carrierOf,
  countCalls,
  labelsOf,
  parcelsOf,
  SHIP_TO,
  shipmentOf,
  startShipping,
  type Shipping,
} from "../../support/shipping.ts";

/* Labels that are bought after their parcel was called off, by a worker that was slow or presumed dead. */

let line: Shipping;
beforeAll(async () => {
  line = await startShipping();
});
afterAll(async () => line.close());
afterEach(() => {
  line.easypost.setFault({ kind: "none" });
  line.easypost.easypost.behave({ refundsRefused: 0, refundMs: 0 });
});

/** A worker with another way to buy. */
function workerWho(buy: CarrierProvider["buy"], fulfilment: FulfilmentMode = "automatic"): Executor {
  const { inventory } = line.ports;
  const provider = { ...carrierOf(line), buy };
  const given = { provider, inventory, database: line.database, fulfilment, from: SHIP_TO };
  return line.executorOf({ ...line.ports, carrier: new ShippingDesk(given) });
}

async function callOff(id: string): Promise<void> {
  await parcelsOf(line).void(await line.order(id), await shipmentOf(line, id), "ada");
}

/** Whoever takes in the webhook that tells of the label. */
async function toldOf(id: string): Promise<Parcels> {
  const { carrierId } = await shipmentOf(line, id);
  const provider = { ...carrierOf(line), parseWebhook: async () => ({ carrierId: carrierId ?? "" }) };
  return parcelsOf(line, { provider });
}

/** An order that was cancelled while a worker bought its label, which has died since. */
async function boughtTooLate(): Promise<string> {
  const id = await line.paid();
  const by = workerWho(async (request) => {
    expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
    await carrierOf(line).buy(request);
    throw new Error("the worker has died");
  });
  await expect(line.step(id, { by })).rejects.toThrow("the worker has died");
  expect(labelsOf(line, id)).toMatchObject([{ refundStatus: null }]);
  return id;
}

describe("a label that is bought after its parcel was called off", () => {
  test("is given back when the carrier tells of it, also when the order has ended", async () => {
    const id = await boughtTooLate();
    const parcels = await toldOf(id);
    await parcels.receive(Buffer.from("{}"), {});
    expect(labelsOf(line, id)).toMatchObject([{ refundStatus: "refunded" }]);
    expect(await line.shipments(id)).toMatchObject([{ state: "VOIDED", voiding: null, nudgedAt: null }]);
    // The carrier tells of the refund, too.
    await parcels.receive(Buffer.from("{}"), {});
    expect(await line.shipments(id)).toMatchObject([{ state: "VOIDED", voiding: null, nudgedAt: null }]);
  });

  test("is given back when the carrier sends its webhook again that was away", async () => {
    const id = await boughtTooLate();
    const parcels = await toldOf(id);
    line.easypost.setFault({ kind: "down" });
    await expect(parcels.receive(Buffer.from("{}"), {})).rejects.toThrow(NotYetDoneError);
    line.easypost.setFault({ kind: "none" });
    await parcels.receive(Buffer.from("{}"), {});
    expect(labelsOf(line, id)).toMatchObject([{ refundStatus: "refunded" }]);
  });

  test("and is not taken back is told, and shown", async () => {
    const id = await boughtTooLate();
    line.easypost.easypost.behave({ refundsRefused: 1 });
    const parcels = await toldOf(id);
    await parcels.receive(Buffer.from("{}"), {});
    await parcels.receive(Buffer.from("{}"), {});
    expect(await line.shipments(id)).toMatchObject([
      { state: "VOIDED", voiding: "refused", reason: expect.stringMatching(/shipped/) },
    ]);
    const told = (await line.eventTypes(id)).filter((type) => type === "shipment.void_refused");
    expect(told).toHaveLength(1);
  });

  test("by a worker that does not know of that, ships no order, and is given back", async () => {
    const level = async () => (await findStock(line.database, ["MUG-BLUE"]))[0];
    const id = await line.paid();
    const before = await level();
    const by = workerWho(async (request) => {
      await callOff(id);
      await line.step(id);
      expect(await shipmentOf(line, id)).toMatchObject({ state: "VOIDED" });
      return carrierOf(line).buy(request);
    });
    expect(await line.step(id, { by })).toMatchObject({ outcome: "snoozed" });
    expect(await line.step(id, { by })).toEqual({
      outcome: "waiting",
      for: "an operator: 2 pieces are to be shipped",
    });
    expect(labelsOf(line, id)).toMatchObject([{ refundStatus: "refunded" }]);
    expect(await line.shipments(id)).toMatchObject([{ state: "VOIDED", nudgedAt: null }]);
    expect(await line.order(id)).toMatchObject({ status: "PAID" });
    expect(await line.eventTypes(id)).not.toContain("shipment.booked");
    expect(await level()).toEqual(before);
  });

  test("and that a carrier does not take back keeps its order from being cancelled", async () => {
    const id = await line.paid();
    const by = workerWho(async (request) => {
      await callOff(id);
      await line.step(id);
      await carrierOf(line).buy(request);
      throw new Error("the worker has died");
    });
    await expect(line.step(id, { by })).rejects.toThrow("the worker has died");
    line.easypost.easypost.behave({ refundsRefused: 1 });
    await expect(line.cancel(id)).rejects.toThrow(/^parcel 1 can't be called off: .*shipped/);
    expect(await line.shipments(id)).toMatchObject([{ state: "VOIDED", voiding: "refused" }]);
    const parcels = parcelsOf(line);
    await parcels.close(await line.order(id), await shipmentOf(line, id), "it is lost money", "ada");
    expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
  });
});

describe("an order whose carrier is another one now", () => {
  test("is cancelled, when all of its parcels were called off before", async () => {
    const id = await line.paid();
    await line
      .step(id, { by: workerWho(() => Promise.reject(new Error("no label"))) })
      .catch(() => undefined);
    await callOff(id);
    await line.step(id);
    expect(await line.shipments(id)).toMatchObject([
      { state: "VOIDED", carrier: "easypost", carrierId: expect.any(String) },
    ]);
    const by = line.executorOf(await line.connect({ CARRIER: "http" }));
    const calls = countCalls(line.easypost.easypost);
    expect(await line.cancel(id, by)).toMatchObject({ outcome: "cancelled" });
    expect(calls.count).toBe(0);
    calls.stop();
  });

  test("can have a parcel of the former one closed, and goes on", async () => {
    const id = await line.paid();
    await line.step(id);
    await changeShipment(line.database, await shipmentOf(line, id), { change: { voiding: "requested" } });
    const by = line.executorOf(await line.connect({ CARRIER: "http" }));
    await line.step(id, { by }).catch(() => undefined);
    expect(await line.shipments(id)).toMatchObject([
      {
        state: "BOOKED",
        voiding: "refused",
        reason: "parcel 1 is one of easypost, and the carrier is http now",
      },
    ]);
    const parcels = parcelsOf(line);
    await parcels.close(await line.order(id), await shipmentOf(line, id), "sent by hand", "ada");
    expect(await line.step(id, { by })).toMatchObject({ status: "DELIVERED" });
  });
});
