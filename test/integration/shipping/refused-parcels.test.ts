import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { changeShipment } from "../../../db/shipments.ts";
import { setStock } from "../../../db/stock.ts";
import type { Shipment } from "../../../src/order/shipment.ts";
import type { WantedParcel } from "../../../src/providers/shipping/parcels.ts";
import { countCalls, parcelsOf, shipmentOf, startShipping, type Shipping } from "../../support/shipping.ts";

/* Parcels that their carrier does not take as they are planned, or whose goods are sold out. */

let line: Shipping;
beforeAll(async () => {
  line = await startShipping({ FULFILMENT: "manual" });
});
afterAll(async () => line.close());
afterEach(() => line.easypost.setFault({ kind: "none" }));

const MUGS = (quantity: number) => [{ sku: "MUG-BLUE", quantity, unitPrice: 1250 }];
const NO_PIGEON =
  "parcel 1 can't be booked (the carrier does not offer Pigeon, but USPS GroundAdvantage, USPS Priority, USPS Express)";

const labelsOf = (id: string) =>
  line.easypost.easypost.bought.filter(({ reference }) => reference?.startsWith(id) ?? false);

/** Plans a parcel as the warehouse does, and asks for its label. */
async function plan(id: string, quantity: number, wanted: WantedParcel = {}, sku = "MUG-BLUE") {
  const parcels = parcelsOf(line);
  const planned = await parcels.plan(await line.order(id), { ...wanted, lines: [{ sku, quantity }] }, "ada");
  return parcels.book(await line.order(id), planned, "ada");
}

async function callOff(id: string, number: number): Promise<Shipment> {
  return parcelsOf(line).void(await line.order(id), await shipmentOf(line, id, number), "ada");
}

/** Runs the stage that is due; once more if the order was woken while it was asked. */
async function look(id: string, by = line.executor) {
  const outcome = await line.step(id, { by });
  return outcome.outcome === "snoozed" ? line.step(id, { by }) : outcome;
}

async function lose(id: string, number: number): Promise<void> {
  const change = { state: "LOST" as const };
  await changeShipment(line.database, await shipmentOf(line, id, number), { change });
}

describe("a parcel that its carrier does not take", () => {
  test("keeps none of the others back, is told, and is planned anew by an operator", async () => {
    const id = await line.paid({ lines: MUGS(3) });
    await plan(id, 1, { service: "Pigeon" });
    await plan(id, 2);
    const waits = await look(id);
    expect(waits).toEqual({
      outcome: "waiting",
      for: `an operator: parcels are planned, and not booked, ${NO_PIGEON}`,
    });
    expect(await line.shipments(id)).toMatchObject([
      { state: "PLANNED", bookRequestedAt: null, carrierId: null, reason: expect.stringMatching(/Pigeon/) },
      { state: "BOOKED", reason: null },
    ]);
    expect(await line.eventTypes(id)).toContain("shipment.booking_refused");
    // It is not asked for again and again.
    const calls = countCalls(line.easypost.easypost);
    expect(await look(id)).toEqual(waits);
    expect(calls.count).toBe(0);
    calls.stop();

    expect(await callOff(id, 1)).toMatchObject({ voiding: "requested" });
    expect(await look(id)).toEqual({ outcome: "waiting", for: "the warehouse: 1 piece is to be shipped" });
    expect(await shipmentOf(line, id, 1)).toMatchObject({ state: "VOIDED", reason: null });
    await plan(id, 1);
    expect(await look(id)).toMatchObject({ status: "SHIPPED" });
    expect(labelsOf(id)).toHaveLength(2);
  });

  test("because it is too heavy, is asked for again when an operator books it once more", async () => {
    const id = await line.paid({ lines: MUGS(1) });
    await plan(id, 1, { parcel: { weight: 40_000 } });
    const refusal = "EasyPost offers no service for this parcel: Parcel weight exceeds the maximum of 70 lbs";
    for (let times = 1; times <= 2; times++) {
      expect(await look(id)).toEqual({
        outcome: "waiting",
        for: `an operator: parcels are planned, and not booked, parcel 1 can't be booked (${refusal})`,
      });
      const told = (await line.eventTypes(id)).filter((type) => type === "shipment.booking_refused");
      expect(told).toHaveLength(times);
      const now = await shipmentOf(line, id);
      expect(now).toMatchObject({ bookRequestedAt: null, reason: refusal });
      expect(await parcelsOf(line).book(await line.order(id), now, "ada")).toMatchObject({
        bookRequestedAt: expect.any(Date),
        reason: null,
      });
    }
  });

  test("of an order that was shipped once, keeps none of the others from being tracked", async () => {
    const id = await line.paid({ lines: MUGS(2) });
    await plan(id, 1);
    await plan(id, 1);
    expect(await look(id)).toMatchObject({ status: "SHIPPED" });
    await lose(id, 1);
    await plan(id, 1, { service: "Pigeon" });
    const { trackingNumber } = await shipmentOf(line, id, 2);
    line.easypost.easypost.move(trackingNumber ?? "", "delivered", "arrived_at_destination");
    await changeShipment(line.database, await shipmentOf(line, id, 2), { change: { nudgedAt: new Date() } });
    expect(await look(id)).toMatchObject({
      outcome: "waiting",
      for: expect.stringMatching(/^an operator: .*, parcel 3 can't be booked \(the carrier does not offer/),
    });
    expect((await line.shipments(id)).map(({ state }) => state)).toEqual(["LOST", "DELIVERED", "PLANNED"]);
  });

  test("with FULFILMENT=automatic is left to the operator who has called it off, and the rest is booked", async () => {
    const by = line.executorOf(await line.connect({ FULFILMENT: "automatic" }));
    const id = await line.paid({ lines: MUGS(3) });
    await plan(id, 1, { service: "Pigeon" });
    expect(await look(id, by)).toMatchObject({ outcome: "waiting", for: expect.stringContaining(NO_PIGEON) });
    expect((await line.shipments(id)).map(({ state }) => state)).toEqual(["PLANNED", "BOOKED"]);
    await callOff(id, 1);
    expect(await look(id, by)).toEqual({
      outcome: "waiting",
      for: "an operator: 1 piece is to be shipped",
    });
    await plan(id, 1);
    expect(await look(id, by)).toMatchObject({ status: "SHIPPED" });
    expect((await line.shipments(id)).map(({ state }) => state)).toEqual(["VOIDED", "BOOKED", "BOOKED"]);
  });

  test("repeats no personal data in its reason", async () => {
    const id = await line.paid({ lines: MUGS(1), customer: { phone: "+1 555 0100 200" } });
    await plan(id, 1);
    const { easypost } = line.easypost;
    const handle = easypost.handle.bind(easypost);
    easypost.handle = () => ({
      status: 422,
      body: {
        error: { code: "X.Y", message: "no route to 179 N HARBOR DR, call +1 555 0100 200", errors: [] },
      },
    });
    await look(id);
    easypost.handle = handle;
    expect((await shipmentOf(line, id)).reason).toBe(
      "EasyPost refused it: no route to [redacted], call [redacted] (X.Y)",
    );
  });
});

describe("pieces that are sent once more", () => {
  test("cost no label while they are sold out, and are sent once there are some", async () => {
    await setStock(line.database, [{ sku: "RARE", onHand: 1 }]);
    const id = await line.paid({ lines: [{ sku: "RARE", quantity: 1, unitPrice: 9_900 }] });
    await plan(id, 1, {}, "RARE");
    expect(await look(id)).toMatchObject({ status: "SHIPPED" });
    await lose(id, 1);
    await plan(id, 1, {}, "RARE");
    expect(await look(id)).toEqual({
      outcome: "waiting",
      for: "an operator: parcels are planned, and not booked, parcel 2 can't be booked (parcel 2: sold out: RARE)",
    });
    expect(labelsOf(id)).toHaveLength(1);
    await setStock(line.database, [{ sku: "RARE", onHand: 1 }]);
    await parcelsOf(line).book(await line.order(id), await shipmentOf(line, id, 2), "ada");
    await look(id);
    expect(await shipmentOf(line, id, 2)).toMatchObject({ state: "BOOKED", reason: null });
    expect(labelsOf(id)).toHaveLength(2);
  });
});

describe("calling off", () => {
  test("a parcel that was closed, or whose order has ended, is refused and changes nothing", async () => {
    const id = await line.paid({ lines: MUGS(2) });
    await plan(id, 1);
    await plan(id, 1);
    await look(id);
    const { trackingNumber } = await shipmentOf(line, id, 2);
    await changeShipment(line.database, await shipmentOf(line, id, 1), { change: { state: "EXCEPTION" } });
    const parcels = parcelsOf(line);
    const order = await line.order(id);
    const closed = await parcels.close(order, await shipmentOf(line, id, 1), "it burnt", "ada");
    expect(() => parcels.void(order, closed, "ada")).toThrow(
      "parcel 1 was closed, and can no longer be called off",
    );
    line.easypost.easypost.move(trackingNumber ?? "", "delivered", "arrived_at_destination");
    await changeShipment(line.database, await shipmentOf(line, id, 2), { change: { nudgedAt: new Date() } });
    expect(await look(id)).toMatchObject({ status: "DELIVERED" });
    const ended = await line.order(id);
    for (const number of [1, 2]) {
      const before = await shipmentOf(line, id, number);
      expect(() => parcels.void(ended, before, "ada")).toThrow(
        `the order is DELIVERED: parcel ${number} can no longer be called off`,
      );
      expect(await shipmentOf(line, id, number)).toEqual(before);
    }
  });
});
