import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { changeRefund, listRefunds } from "../../../db/refunds.ts";
import { changeShipment, nudgeShipment } from "../../../db/shipments.ts";
import { findStock, setStock } from "../../../db/stock.ts";
import { listMovements } from "../../../db/stock-movements.ts";
import { NotNowError, type Ports } from "../../../src/order/ports.ts";
import { Refunds } from "../../../src/providers/payments/refunds.ts";
import { createOrder } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";
import { parcelsOf, shipmentOf, startShipping, type Shipping } from "../../support/shipping.ts";

const LINES = [
  { sku: "MUG-BLUE", quantity: 3, unitPrice: 1_000 },
  { sku: "MUG-RED", quantity: 1, unitPrice: 500 },
];

/** What warehouses and customer service do. */
function deskOf(shipping: Shipping) {
  const { database } = shipping;
  const parcels = parcelsOf(shipping);
  const refunds = new Refunds(database, () => undefined);
  return {
    async refund(id: string, quantity: number, { sku = "MUG-BLUE", restock = true } = {}) {
      const wish = { lines: [{ sku, quantity }], reason: "one too many", restock, actor: null };
      return (await refunds.request(await shipping.order(id), wish)).refund;
    },
    async plan(id: string, quantity?: number) {
      const lines = quantity === undefined ? undefined : [{ sku: "MUG-BLUE", quantity }];
      return parcels.plan(await shipping.order(id), { lines }, "ada");
    },
    async book(id: string, number: number) {
      await parcels.book(await shipping.order(id), await shipmentOf(shipping, id, number), "ada");
    },
    async callOff(id: string, number: number) {
      await parcels.void(await shipping.order(id), await shipmentOf(shipping, id, number), "ada");
    },
    look: async (carrierId: string | null | undefined) => nudgeShipment(database, carrierId ?? ""),
  };
}

/** Whether a stage is run again soon, without an attempt that is used up. */
const isPutOff = (step: Promise<{ readonly outcome: string }>) =>
  step.then(
    ({ outcome }) => outcome === "snoozed",
    (error: unknown) => error instanceof NotNowError && error.waitMs <= 100,
  );

/** Runs the step that is due; once more if the order was read before a refund, or its pieces have changed. */
async function stepped(shipping: Shipping, id: string) {
  const first = shipping.step(id);
  return (await isPutOff(first)) ? shipping.step(id) : first;
}

const stockOf = async ({ database }: Shipping, sku: string) => (await findStock(database, [sku]))[0];

describe("pieces that are refunded before they are in a parcel", () => {
  let shipping: Shipping;
  let desk: ReturnType<typeof deskOf>;
  beforeAll(async () => {
    shipping = await startShipping({ FULFILMENT: "manual" });
    desk = deskOf(shipping);
  });
  afterAll(() => shipping.close());

  test("are not shipped, and go back into stock or are written off", async () => {
    const before = await stockOf(shipping, "MUG-BLUE");
    const id = await shipping.paid({ lines: LINES });
    expect(await desk.refund(id, 1)).toMatchObject({
      restock: "done",
      lines: [{ cancelled: 1, worth: 1_000 }],
    });
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
      onHand: before?.onHand,
      reserved: Number(before?.reserved) + 2,
    });
    await desk.refund(id, 1, { restock: false });
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
      onHand: Number(before?.onHand) - 1,
      reserved: Number(before?.reserved) + 1,
    });
    const { items } = await listMovements(shipping.database, "MUG-BLUE", { limit: 1 });
    expect(items).toMatchObject([{ kind: "adjustment", delta: -1, reason: "refunded", orderId: id }]);
    expect((await shipping.order(id)).lines).toMatchObject([{ quantity: 3, cancelled: 2 }, { quantity: 1 }]);
    const { lines } = await desk.plan(id);
    expect(lines).toMatchObject([
      { sku: "MUG-BLUE", quantity: 1 },
      { sku: "MUG-RED", quantity: 1 },
    ]);
    await desk.book(id, 1);
    expect(await stepped(shipping, id)).toMatchObject({ outcome: "done", status: "SHIPPED" });
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
      onHand: Number(before?.onHand) - 2,
      reserved: before?.reserved,
    });
    // The others come back when they do.
    expect(await desk.refund(id, 1)).toMatchObject({ restock: "due" });
  });

  test.each([
    ["before they are shipped", false],
    ["after they were", true],
  ])("go to an order that waits for them, if they are refunded %s", async (_when, isShipped) => {
    const { database } = shipping;
    const sku = `CUP-${isShipped}`;
    const lines = [{ sku, quantity: 1, unitPrice: 900 }];
    await setStock(database, [{ sku, onHand: 1 }]);
    const id = await shipping.paid({ lines });
    const waiting = await createOrder(database, { lines, whenSoldOut: "wait" });
    expect(await shipping.step(waiting)).toMatchObject({ outcome: "waiting" });
    if (isShipped) {
      await desk.plan(id);
      await desk.book(id, 1);
      await stepped(shipping, id);
    }
    const refund = await desk.refund(id, 1, { sku });
    if (isShipped) await changeRefund(database, refund, { state: "SUCCEEDED" });
    expect(await stockOf(shipping, sku)).toEqual({ sku, onHand: 1, reserved: 1 });
    expect((await shipping.order(waiting)).wokenAt).not.toBeNull();
  });

  test("are those in no parcel first; what is in one ships", async () => {
    const id = await shipping.paid({ lines: LINES });
    await desk.plan(id, 2);
    await expect(desk.refund(id, 2)).rejects.toThrow(
      "1 of 2 MUG-BLUE are in a parcel: call it off first, or refund them without restock",
    );
    expect((await shipping.order(id)).lines).toMatchObject([{ quantity: 3 }, { quantity: 1 }]);
    expect(await desk.refund(id, 2, { restock: false })).toMatchObject({
      lines: [{ quantity: 2, cancelled: 1 }],
    });
    await expect(desk.plan(id, 1)).rejects.toThrow("no pieces of MUG-BLUE are left to ship");
  });

  test("of a refund that fails are not shipped all the same, and are paid for by the next one", async () => {
    const id = await shipping.paid({ lines: LINES });
    const { id: refundId } = await desk.refund(id, 1);
    await shipping.database.transaction((transaction) =>
      transaction.commit([{ sql: "UPDATE refunds SET state = 'FAILED' WHERE id = ?", values: [refundId] }]),
    );
    expect(await desk.refund(id, 1, { restock: false })).toMatchObject({ lines: [{ cancelled: 1 }] });
    expect((await shipping.order(id)).lines).toMatchObject([{ quantity: 3, cancelled: 1 }, {}]);
    await desk.refund(id, 1);
    expect((await shipping.order(id)).lines).toMatchObject([{ quantity: 3, cancelled: 2 }, {}]);
  });

  test("are counted once each, also if one request names them twice", async () => {
    const before = await stockOf(shipping, "MUG-BLUE");
    const id = await shipping.paid({ lines: LINES });
    const piece = { sku: "MUG-BLUE", quantity: 1 };
    const wish = { lines: [piece, piece], reason: "twice", restock: true, actor: null };
    const refunds = new Refunds(shipping.database, () => undefined);
    await refunds.request(await shipping.order(id), wish);
    expect((await shipping.order(id)).lines).toMatchObject([{ quantity: 3, cancelled: 2 }, {}]);
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({ reserved: Number(before?.reserved) + 1 });
  });

  test("are not released once more when the order is cancelled", async () => {
    const before = [await stockOf(shipping, "MUG-BLUE"), await stockOf(shipping, "MUG-RED")];
    const id = await shipping.paid({ lines: LINES });
    await desk.refund(id, 2);
    await shipping.cancel(id);
    expect([await stockOf(shipping, "MUG-BLUE"), await stockOf(shipping, "MUG-RED")]).toEqual(before);
  });

  test("come back once, with the order, if it is being cancelled or was", async () => {
    const { database, store } = shipping;
    const before = await stockOf(shipping, "MUG-BLUE");
    const id = await shipping.paid({ lines: LINES });
    const cancelling = { orderId: id, whileIn: ["PAID"], reason: "asked for", at: new Date() };
    await store.requestCancellation(cancelling);
    await expect(desk.refund(id, 1)).rejects.toThrow(
      "the order is being cancelled, which puts its pieces back into stock: refund them without restock",
    );
    await shipping.cancel(id);
    expect(await shipping.order(id)).toMatchObject({ status: "CANCELLED" });
    await expect(desk.refund(id, 1)).rejects.toThrow("the order was cancelled");
    expect(await listRefunds(database, [id])).toMatchObject([{ cause: "cancelled" }]);
    expect(await stockOf(shipping, "MUG-BLUE")).toEqual(before);
  });

  test("of a refund that fails are written off, and come back with the next one that wants them", async () => {
    const before = await stockOf(shipping, "MUG-BLUE");
    const id = await shipping.paid({ lines: LINES });
    const failed = await desk.refund(id, 1, { restock: false });
    await changeRefund(shipping.database, failed, { state: "FAILED" });
    const reserved = Number(before?.reserved) + 2;
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
      onHand: Number(before?.onHand) - 1,
      reserved,
    });
    const next = await desk.refund(id, 1);
    expect(next).toMatchObject({ restock: "done", lines: [{ cancelled: 1 }] });
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({ onHand: before?.onHand, reserved });
    // Once is enough.
    await changeRefund(shipping.database, next, { state: "FAILED" });
    await desk.refund(id, 1);
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({ onHand: before?.onHand, reserved });
  });

  test.each([
    ["go back into stock once", true, 0],
    ["are written off", false, 3],
  ])(
    "whose label was voided after the order had shipped %s, and the order ends",
    async (_how, restock, less) => {
      const before = await stockOf(shipping, "MUG-BLUE");
      const id = await shipping.paid({ lines: LINES.slice(0, 1) });
      await desk.plan(id);
      await desk.book(id, 1);
      expect(await stepped(shipping, id)).toMatchObject({ outcome: "done", status: "SHIPPED" });
      await desk.callOff(id, 1);
      await stepped(shipping, id);
      expect(await shipping.shipments(id)).toMatchObject([{ state: "VOIDED" }]);
      const refund = await desk.refund(id, 3, { restock });
      if (refund.state === "PENDING") await changeRefund(shipping.database, refund, { state: "SUCCEEDED" });
      expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
        onHand: Number(before?.onHand) - less,
        reserved: before?.reserved,
      });
      expect(await stepped(shipping, id)).toMatchObject({ outcome: "done", status: "DELIVERED" });
    },
  );

  test.each([
    ["go back into stock once", true, 2],
    ["stay away", false, 3],
  ])("that come back in a parcel %s, and are not sent again", async (_how, restock, gone) => {
    const before = await stockOf(shipping, "MUG-BLUE");
    const id = await shipping.paid({ lines: LINES.slice(0, 1) });
    await desk.plan(id);
    await desk.book(id, 1);
    expect(await stepped(shipping, id)).toMatchObject({ outcome: "done", status: "SHIPPED" });
    const [parcel] = await shipping.shipments(id);
    shipping.easypost.easypost.move(parcel?.trackingNumber ?? "", "return_to_sender", "refused");
    await waitFor("the parcel to be back", async () => {
      await desk.look(parcel?.carrierId);
      await stepped(shipping, id);
      return (await shipping.shipments(id))[0]?.state === "RETURNED";
    });
    const refund = await desk.refund(id, 1, { restock });
    expect(refund).toMatchObject({ lines: [{ cancelled: 1 }] });
    if (refund.state === "PENDING") await changeRefund(shipping.database, refund, { state: "SUCCEEDED" });
    expect((await desk.plan(id)).lines).toMatchObject([{ quantity: 2 }]);
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
      onHand: Number(before?.onHand) - gone,
      reserved: before?.reserved,
    });
  });

  test.each([
    ["planned", false, false, 1],
    ["booked", true, false, 1],
    ["booked, and to go back into stock", true, true, 0],
  ])(
    "while they were in a parcel that was %s, and is called off, are not sent again",
    async (_how, isBooked, restock, less) => {
      const before = await stockOf(shipping, "MUG-BLUE");
      const id = await shipping.paid({ lines: LINES.slice(0, 1) });
      await desk.plan(id);
      if (isBooked) {
        await desk.book(id, 1);
        expect(await stepped(shipping, id)).toMatchObject({ status: "SHIPPED" });
      }
      const refund = await desk.refund(id, 1, { restock });
      expect(refund.lines).toMatchObject([{ quantity: 1 }]);
      await desk.callOff(id, 1);
      await stepped(shipping, id);
      expect(await shipping.shipments(id)).toMatchObject([{ state: "VOIDED" }]);
      if (refund.state === "PENDING") await changeRefund(shipping.database, refund, { state: "SUCCEEDED" });
      expect((await shipping.order(id)).lines).toMatchObject([{ quantity: 3, cancelled: 1 }]);
      expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
        onHand: Number(before?.onHand) - less,
        reserved: Number(before?.reserved) + 2,
      });
      expect((await desk.plan(id)).lines).toMatchObject([{ sku: "MUG-BLUE", quantity: 2 }]);
      // It is known which pieces were kept back: the next refund is of another.
      expect(await desk.refund(id, 1, { restock: false })).toMatchObject({ lines: [{ quantity: 1 }] });
      expect((await shipping.order(id)).lines).toMatchObject([{ cancelled: 1 }]);
    },
  );

  test("while they were in one of two parcels are sent, if only the other one is called off", async () => {
    const id = await shipping.paid({ lines: LINES.slice(0, 1) });
    await desk.plan(id, 1);
    await desk.plan(id, 2);
    await desk.refund(id, 1, { restock: false });
    await desk.callOff(id, 2);
    await stepped(shipping, id);
    // It may have been in the first.
    expect((await shipping.order(id)).lines).not.toMatchObject([{ cancelled: expect.any(Number) }]);
    await desk.callOff(id, 1);
    await stepped(shipping, id);
    expect((await shipping.order(id)).lines).toMatchObject([{ cancelled: 1 }]);
    expect((await desk.plan(id)).lines).toMatchObject([{ quantity: 2 }]);
  });

  test("leave an order with nothing to ship, which ends without a parcel", async () => {
    const before = await stockOf(shipping, "MUG-BLUE");
    const id = await shipping.paid({ lines: LINES });
    await desk.refund(id, 3);
    await desk.refund(id, 1, { sku: "MUG-RED" });
    expect(await stepped(shipping, id)).toMatchObject({ outcome: "done", status: "SHIPPED" });
    expect(await shipping.step(id)).toMatchObject({ outcome: "done", status: "DELIVERED" });
    expect(await stockOf(shipping, "MUG-BLUE")).toEqual(before);
    expect(await shipping.shipments(id)).toEqual([]);
  });
});

describe.each([
  ["before a parcel is written down, of an order that was read before", { CARRIER: "easypost" }, "before"],
  ["while the label is bought of a carrier that keeps keys", { CARRIER: "http" }, "after"],
] as const)("pieces that are refunded %s,", (_when, variables, moment) => {
  let shipping: Shipping;
  beforeAll(async () => {
    shipping = await startShipping(variables);
  });
  afterAll(() => shipping.close());

  test.each([
    ["some", 1, LINES, ["MUG-BLUE 2", "MUG-RED 1"]],
    ["all of a line", 3, LINES, ["MUG-RED 1"]],
    ["all", 3, LINES.slice(0, 1), []],
  ])("%s, are not in the parcel, and move once", async (_what, quantity, lines, inParcel) => {
    const before = await stockOf(shipping, "MUG-BLUE");
    const desk = deskOf(shipping);
    const id = await shipping.paid({ lines });
    const { ports } = shipping;
    const by = executorWith(shipping, async (request) => {
      if (moment === "before") await desk.refund(id, quantity);
      const shipped = await ports.carrier.ship(request);
      if (moment === "after") await desk.refund(id, quantity);
      return shipped;
    });
    expect(await isPutOff(shipping.step(id, { by }))).toBe(true);
    expect(await stepped(shipping, id)).toMatchObject({ outcome: "done", status: "SHIPPED" });
    const shipments = await shipping.shipments(id);
    const sent = shipments.filter(({ state }) => state === "BOOKED").flatMap((each) => each.lines);
    const { labels } = shipping.environment.providers.books;
    const bought = labels.filter(({ orderId, voided }) => orderId === id && !voided);
    // One that was bought for nothing is given back.
    if (variables.CARRIER === "http") expect(bought).toHaveLength(inParcel.length > 0 ? 1 : 0);
    expect(sent.map((line) => `${line.sku} ${line.quantity}`)).toEqual(inParcel);
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
      onHand: Number(before?.onHand) - (3 - quantity),
      reserved: before?.reserved,
    });
  });
});

test("pieces that are refunded while several parcels are booked are in none of them", async () => {
  const shipping = await startShipping();
  try {
    const before = await stockOf(shipping, "MUG-BLUE");
    const desk = deskOf(shipping);
    const id = await shipping.paid({ lines: LINES });
    await desk.plan(id, 1);
    await desk.book(id, 1);
    const { ports } = shipping;
    const by = executorWith(shipping, async (request) => {
      await desk.refund(id, 1);
      return ports.carrier.ship(request);
    });
    expect(await isPutOff(shipping.step(id, { by }))).toBe(true);
    // No label was bought for what is not sent.
    expect(shipping.easypost.easypost.bought).toEqual([]);
    expect(await stepped(shipping, id)).toMatchObject({ outcome: "done", status: "SHIPPED" });
    expect(await shipping.shipments(id)).toMatchObject([
      { state: "BOOKED", lines: [{ sku: "MUG-BLUE", quantity: 1 }] },
      {
        state: "BOOKED",
        lines: [
          { sku: "MUG-BLUE", quantity: 1 },
          { sku: "MUG-RED", quantity: 1 },
        ],
      },
    ]);
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
      onHand: Number(before?.onHand) - 2,
      reserved: before?.reserved,
    });
  } finally {
    await shipping.close();
  }
});

test("pieces that are refunded put nothing into stock that was lost with a parcel", async () => {
  const shipping = await startShipping({ FULFILMENT: "manual" });
  try {
    const before = await stockOf(shipping, "MUG-BLUE");
    const desk = deskOf(shipping);
    const id = await shipping.paid({ lines: LINES.slice(0, 1) });
    for (const number of [1, 2]) {
      await desk.plan(id, 1);
      await desk.book(id, number);
      await stepped(shipping, id);
      // The second one replaces the first.
      const lost = { change: { state: "LOST" as const } };
      if (number === 1) await changeShipment(shipping.database, await shipmentOf(shipping, id), lost);
    }
    expect((await shipping.shipments(id)).map(({ state }) => state)).toEqual(["LOST", "BOOKED"]);
    await desk.refund(id, 2);
    expect(await stepped(shipping, id)).toMatchObject({ status: "SHIPPED" });
    expect(await stockOf(shipping, "MUG-BLUE")).toMatchObject({
      onHand: Number(before?.onHand) - 2,
      reserved: before?.reserved,
    });
  } finally {
    await shipping.close();
  }
});

/** An executor of stages whose carrier ships in its own way. */
function executorWith(shipping: Shipping, ship: Ports["carrier"]["ship"]) {
  const { carrier, ...ports } = shipping.ports;
  return shipping.executorOf({
    ...ports,
    carrier: {
      ping: (signal) => carrier.ping(signal),
      ship,
      deliver: (request) => carrier.deliver(request),
      undo: (request) => carrier.undo(request),
      hasLabels: (request) => carrier.hasLabels(request),
    },
  });
}
