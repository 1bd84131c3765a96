import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { changeShipment, nudgeShipment, planShipment } from "../../../db/shipments.ts";
import { listActions } from "../../../db/operator-actions.ts";
import { findStock } from "../../../db/stock.ts";
import type { Executor } from "../../../src/engine/executor.ts";
import { StageUnavailableError } from "../../../src/engine/outage.ts";
import { UndoRefusedError } from "../../../src/order/ports.ts";
import { ShippingDesk } from "../../../src/providers/shipping/desk.ts";
import type { Shipment } from "../../../src/order/shipment.ts";
import { reply, startAnswering } from "../../support/answering.ts";
import { createOrder, readOrder } from "../../support/orders.ts";
import {
  carrierOf,
  countCalls,
  HOUR_MS,
  loseAnswer,
  parcelsOf,
  SHIP_TO,
  startShipping,
  type Shipping,
} from "../../support/shipping.ts";

/* What the stages want of the parcels, whatever carrier and inventory there are. */

const MUGS = (quantity: number) => [{ sku: "MUG-BLUE", quantity, unitPrice: 1250 }];

/** Plans a parcel as the warehouse does, and asks for its label. */
async function plan(line: Shipping, id: string, quantity: number): Promise<Shipment> {
  const { lines } = await line.order(id);
  const planned = await planShipment(
    line.database,
    {
      orderId: id,
      lines: [{ sku: "MUG-BLUE", quantity }],
      parcel: null,
      service: null,
      carrier: "easypost",
      whileIn: ["PAID", "SHIPPED"],
      actor: null,
    },
    lines,
  );
  if ("refused" in planned) throw new Error(planned.refused);
  await ask(line, planned, { bookRequestedAt: new Date() });
  return planned;
}

async function ask(line: Shipping, shipment: Shipment, change: Partial<Shipment>): Promise<void> {
  expect(await changeShipment(line.database, shipment, { change })).toMatchObject({ changed: true });
}

const level = async ({ database }: Shipping) => {
  const [found] = await findStock(database, ["MUG-BLUE"]);
  return { onHand: found?.onHand ?? 0, reserved: found?.reserved ?? 0 };
};

describe("an order that is only authorized", () => {
  let automatic: Shipping;
  let manual: Shipping;
  beforeAll(async () => {
    const stripe = { PAYMENTS: "stripe", STRIPE_SECRET_KEY: "sk_test_1", PAYMENT_CAPTURE: "on-shipment" };
    automatic = await startShipping(stripe);
    manual = await startShipping({ ...stripe, FULFILMENT: "manual" });
  });
  afterAll(async () => {
    await automatic.close();
    await manual.close();
  });

  /** Notes, at each label that is bought, how much of the order was captured by then. */
  function capturedAtLabels({ easypost: { easypost }, environment }: Shipping, id: string): number[] {
    const captured: number[] = [];
    const handle = easypost.handle.bind(easypost);
    easypost.handle = (call) => {
      if (call.path.endsWith("/buy")) {
        const charges = environment.providers.books.charges.filter(({ orderId }) => orderId === id);
        captured.push(charges.reduce((sum, { amount }) => sum + amount, 0));
      }
      return handle(call);
    };
    return captured;
  }

  test("is captured before its label is bought", async () => {
    const id = await automatic.paid({ paymentToken: "pm_card_visa" });
    const captured = capturedAtLabels(automatic, id);
    expect(await automatic.step(id)).toMatchObject({ status: "SHIPPED" });
    expect(captured).toEqual([2_500]);
  });

  test("is captured, once, before the warehouse's first label, and not while it packs", async () => {
    const id = await manual.paid({ paymentToken: "pm_card_visa", lines: MUGS(2) });
    const charges = () => manual.environment.providers.books.charges.filter(({ orderId }) => orderId === id);
    const captured = capturedAtLabels(manual, id);
    expect(await manual.step(id)).toMatchObject({
      outcome: "waiting",
      for: expect.stringMatching(/warehouse/),
    });
    expect(charges()).toEqual([]);
    await plan(manual, id, 1);
    expect(await manual.step(id)).toMatchObject({
      outcome: "waiting",
      for: expect.stringMatching(/warehouse/),
    });
    await plan(manual, id, 1);
    expect(await manual.step(id)).toMatchObject({ status: "SHIPPED" });
    expect(captured).toEqual([2_500, 2_500]);
    expect(charges()).toHaveLength(1);
  });

  test("is not captured while nothing can be sent: to its address, or because the carrier is away", async () => {
    const charges = (id: string) =>
      automatic.environment.providers.books.charges.filter(({ orderId }) => orderId === id);
    const nowhere = await automatic.paid({
      paymentToken: "pm_card_visa",
      shipTo: { ...SHIP_TO, line1: "Nowhere" },
    });
    expect(await automatic.step(nowhere)).toMatchObject({ outcome: "waiting" });
    const id = await automatic.paid({ paymentToken: "pm_card_visa" });
    automatic.easypost.setFault({ kind: "down" });
    await expect(automatic.step(id)).rejects.toThrow("EasyPost answered 503");
    expect([...charges(nowhere), ...charges(id)]).toEqual([]);
    automatic.easypost.setFault({ kind: "none" });
    expect(await automatic.step(id)).toMatchObject({ status: "SHIPPED" });
    expect(charges(id)).toHaveLength(1);
  });

  test("is authorized anew before its label is bought, if the authorization has run out", async () => {
    const id = await automatic.paid({ paymentToken: "pm_card_visa" });
    const captured = capturedAtLabels(automatic, id);
    const payment = (await automatic.order(id)).records["pay"]?.["paymentId"];
    await fetch(
      `${automatic.environment.providers.paymentsUrl}/simulator/payment_intents/${String(payment)}/expire`,
      { method: "POST" },
    );
    expect(await automatic.step(id)).toMatchObject({ status: "SHIPPED" });
    expect(captured).toEqual([2_500]);
  });
});

describe("several parcels", () => {
  let line: Shipping;
  beforeAll(async () => {
    line = await startShipping({ FULFILMENT: "manual" });
  });
  afterAll(async () => line.close());

  test("that replace one lost before the order was shipped take their pieces from the stock, too", async () => {
    const before = await level(line);
    const id = await line.paid({ lines: MUGS(3) });
    await plan(line, id, 2);
    await line.step(id);
    const [first] = await line.shipments(id);
    if (first === undefined) throw new Error("no parcel");
    await ask(line, first, { state: "LOST" });
    await plan(line, id, 1);
    await line.step(id);
    await plan(line, id, 2);
    expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
    expect(await level(line)).toEqual({ onHand: before.onHand - 5, reserved: before.reserved });
  });

  test("are called off whatever else is asked for at the same moment", async () => {
    const id = await line.paid({ lines: MUGS(2) });
    const planned = await plan(line, id, 1);
    const [wanted] = await line.shipments(id);
    if (wanted === undefined) throw new Error("no parcel");
    const parcels = parcelsOf(line);
    const order = await line.order(id);
    // Each has read the parcel before the others were answered.
    await ask(line, wanted, { bookRequestedAt: null });
    expect(await parcels.void(order, planned, "ada")).toMatchObject({ voiding: "requested" });
    await expect(parcels.book(order, planned, "ben")).rejects.toThrow(
      "parcel 1 was called off; plan another one",
    );
    expect(await parcels.void(order, planned, "cleo")).toMatchObject({ voiding: "requested" });
    expect(await line.shipments(id)).toMatchObject([{ voiding: "requested", bookRequestedAt: null }]);
  });

  const lose = async (id: string) => {
    const last = (await line.shipments(id)).at(-1);
    if (last === undefined) throw new Error("no parcel");
    await ask(line, last, { state: "LOST" });
  };

  test("leave the stock's books right when what was sent again is called off", async () => {
    const before = await level(line);
    // Two lines of one SKU: which of them a piece is sent for makes no difference to the stock.
    const id = await line.paid({ lines: [...MUGS(1), ...MUGS(1)] });
    await plan(line, id, 1);
    await line.step(id);
    await lose(id);
    await plan(line, id, 1);
    await line.step(id);
    const [, again] = await line.shipments(id);
    if (again === undefined) throw new Error("no parcel");
    expect(await level(line)).toEqual({ onHand: before.onHand - 2, reserved: before.reserved });
    await ask(line, again, { voiding: "requested" });
    await line.step(id);
    expect(await level(line)).toEqual({ onHand: before.onHand - 1, reserved: before.reserved + 1 });
    await plan(line, id, 2);
    expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
    expect(await level(line)).toEqual({ onHand: before.onHand - 3, reserved: before.reserved });
    const last = (await line.shipments(id)).at(-1);
    if (last === undefined) throw new Error("no parcel");
    await ask(line, last, { voiding: "requested" });
    await line.step(id);
    expect(await level(line)).toEqual({ onHand: before.onHand - 1, reserved: before.reserved + 1 });
  });

  test("that are lost one after the other reserve nothing when their order is cancelled", async () => {
    const before = await level(line);
    const red = { sku: "MUG-RED", quantity: 1, unitPrice: 1_250 };
    const id = await line.paid({ lines: [...MUGS(1), red] });
    for (let times = 0; times < 2; times++) {
      await plan(line, id, 1);
      await line.step(id);
      await lose(id);
    }
    expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
    expect(await level(line)).toEqual({ onHand: before.onHand - 2, reserved: before.reserved });
  });

  /** EasyPost says where the order's parcel is, and tells of it. */
  const move = async (
    id: string,
    number: number,
    ...where: ["in_transit" | "delivered" | "failure", string]
  ) => {
    const shipment = (await line.shipments(id)).find((each) => each.number === number);
    line.easypost.easypost.move(shipment?.trackingNumber ?? "", ...where);
    await nudgeShipment(line.database, shipment?.carrierId ?? "");
    const outcome = await line.step(id);
    // An order that was woken while it was asked is asked once more.
    return outcome.outcome === "snoozed" ? line.step(id) : outcome;
  };

  test("are followed from the moment in which the first one leaves, while others are packed", async () => {
    const id = await line.paid({ lines: MUGS(3) });
    await plan(line, id, 1);
    const waits = { outcome: "waiting", for: "the warehouse: 2 pieces are to be shipped" };
    // The plan has woken the order meanwhile, so the stage is asked once more.
    await line.step(id);
    expect(await line.step(id)).toEqual(waits);
    expect(await move(id, 1, "in_transit", "arrived_at_facility")).toEqual(waits);
    expect(await line.shipments(id)).toMatchObject([{ state: "IN_TRANSIT" }]);
    expect(await line.eventTypes(id)).toContain("shipment.in_transit");
    // Also without news, now and then.
    const until = (await line.order(id)).waiting?.until?.getTime() ?? 0;
    expect(until).toBeLessThanOrEqual(Date.now() + 4 * HOUR_MS);
    expect(await move(id, 1, "failure", "lost")).toEqual({
      outcome: "waiting",
      for: "an operator: 3 pieces are to be shipped, parcel 1 is LOST (failure: lost)",
    });
    await plan(line, id, 3);
    expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
  });

  test("that were lost and turn up are as if they had not been, unless they were replaced", async () => {
    const ids = await Promise.all([1, 2].map(() => line.paid({ lines: MUGS(2) })));
    for (const id of ids) {
      await plan(line, id, 2);
      expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
      expect(await move(id, 1, "failure", "lost")).toMatchObject({
        for: expect.stringMatching(/^an operator: 2/),
      });
    }
    const [found = "", replaced = ""] = ids;
    expect(await move(found, 1, "delivered", "arrived_at_destination")).toMatchObject({
      status: "DELIVERED",
    });
    expect((await line.shipments(found)).map(({ state }) => state)).toEqual(["DELIVERED"]);
    await plan(line, replaced, 2);
    await line.step(replaced);
    await move(replaced, 1, "delivered", "arrived_at_destination");
    expect((await line.shipments(replaced)).map(({ state }) => state)).toEqual(["LOST", "BOOKED"]);
    expect((await line.order(replaced)).status).toBe("SHIPPED");
  });

  test("that meet with an exception wait for an operator, and for the carrier", async () => {
    const id = await line.paid({ lines: MUGS(2) });
    await plan(line, id, 1);
    await line.step(id);
    await plan(line, id, 1);
    expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
    expect(await move(id, 1, "failure", "damaged")).toEqual({
      outcome: "waiting",
      for: "an operator: parcel 1 is EXCEPTION (failure: damaged); the carrier may still deliver it",
    });
    await move(id, 2, "delivered", "arrived_at_destination");
    expect(await move(id, 1, "delivered", "arrived_at_destination")).toMatchObject({ status: "DELIVERED" });
  });

  test("are booked at once when one was planned by hand, and the rest is planned by itself", async () => {
    const by = line.executorOf(await line.connect({ FULFILMENT: "automatic" }));
    const before = await level(line);
    const card = { sku: "CARD", quantity: 1, unitPrice: 500, stocked: false };
    const id = await line.paid({ lines: [...MUGS(3), card] });
    await plan(line, id, 1);
    expect(await line.step(id, { by })).toMatchObject({ status: "SHIPPED" });
    expect(await line.shipments(id)).toMatchObject([
      { state: "BOOKED", lines: [{ sku: "MUG-BLUE", quantity: 1 }] },
      {
        state: "BOOKED",
        lines: [
          { sku: "MUG-BLUE", quantity: 2 },
          { sku: "CARD", quantity: 1 },
        ],
      },
    ]);
    expect(await level(line)).toEqual({ onHand: before.onHand - 3, reserved: before.reserved });
  });

  test("keep a wish to call one off that comes while its label is bought", async () => {
    const id = await line.paid({ lines: MUGS(1) });
    const planned = await plan(line, id, 1);
    const { easypost } = line.easypost;
    const handle = easypost.handle.bind(easypost);
    let wish: Promise<void> | undefined;
    easypost.handle = (call) => {
      const answer = handle(call);
      if (!call.path.endsWith("/buy")) return answer;
      wish = (async () => {
        const [now] = await line.shipments(id);
        await ask(line, now ?? planned, { voiding: "requested" });
      })();
      return answer;
    };
    const request = { order: await line.order(id), attempt: 1, signal: AbortSignal.timeout(20_000) };
    const shipped = await line.ports.carrier.ship(request);
    easypost.handle = handle;
    await wish;
    if ("waitFor" in shipped || !shipped.change) throw new Error("nothing was booked");
    await line.store.applyTransitions([
      {
        orderId: id,
        from: "PAID",
        to: "SHIPPED",
        stage: "ship",
        reason: null,
        record: {},
        unlessCancelled: true,
        shipment: shipped.change,
        stock: { operation: "ship", lines: shipped.stock.lines },
        at: new Date(),
      },
    ]);
    expect(await line.shipments(id)).toMatchObject([{ state: "BOOKED", voiding: "requested" }]);
    expect(await line.step(id)).toMatchObject({
      outcome: "waiting",
      for: expect.stringMatching(/^an operator/),
    });
    expect(await line.shipments(id)).toMatchObject([{ state: "VOIDED" }]);
  });

  test("are booked by two workers at once, and their goods leave the stock once", async () => {
    const before = await level(line);
    const id = await line.paid({ lines: MUGS(3) });
    await plan(line, id, 2);
    const others = await Promise.all([1, 2, 3].map(async () => line.executorOf(await line.connect({}))));
    await Promise.all(others.map((by) => line.step(id, { by })));
    expect(await line.shipments(id)).toMatchObject([{ state: "BOOKED" }]);
    expect(await level(line)).toEqual({ onHand: before.onHand - 2, reserved: before.reserved + 1 });
  });

  test("move the stock of an inventory outside under keys of their own, and give it back when they are voided", async () => {
    const asked: object[] = [];
    const server = await startAnswering((response, request) => {
      const { operation, lines } = JSON.parse(request.body);
      asked.push({ operation, key: request.headers["webhook-id"], pieces: lines[0]?.quantity });
      reply(response, 200, { done: {} });
    });
    const by = line.executorOf(await line.connect({ INVENTORY_URL: server.url }));
    const id = await createOrder(line.database, { shipTo: SHIP_TO, lines: MUGS(3) });
    await line.step(id, { by });
    await line.step(id, { by });
    await plan(line, id, 1);
    await line.step(id, { by });
    const [first] = await line.shipments(id);
    if (first) await ask(line, first, { voiding: "requested" });
    await line.step(id, { by });
    await plan(line, id, 1);
    await line.step(id, { by });
    await plan(line, id, 2);
    expect(await line.step(id, { by })).toMatchObject({ status: "SHIPPED" });
    await server.close();
    expect(asked).toEqual([
      { operation: "reserve", key: `${id}:reserve`, pieces: 3 },
      { operation: "ship", key: `${id}:ship`, pieces: 1 },
      { operation: "take-back", key: `${id}:ship:take-back`, pieces: 1 },
      { operation: "ship", key: `${id}:ship:2`, pieces: 1 },
      { operation: "ship", key: `${id}:ship:3`, pieces: 2 },
    ]);
  });

  describe("of an order that is cancelled", () => {
    const booked = async (id: string) => {
      await plan(line, id, 1);
      await line.step(id);
      const [shipment] = await line.shipments(id);
      if (shipment?.state !== "BOOKED") throw new Error("nothing was booked");
      return shipment;
    };
    const moments: readonly (readonly [
      moment: string,
      arrange: (id: string) => Promise<unknown>,
      then: "cancelled" | "rests",
      states: readonly string[],
    ])[] = [
      ["before anything is planned", async () => undefined, "cancelled", ["VOIDED"]],
      [
        "once a parcel is planned",
        async (id) => {
          const planned = await plan(line, id, 1);
          await ask(line, planned, { bookRequestedAt: null });
        },
        "cancelled",
        ["VOIDED"],
      ],
      ["once its label is asked for", (id) => plan(line, id, 1), "cancelled", ["VOIDED"]],
      [
        "once it is booked, beside one that is planned",
        async (id) => [await booked(id), await plan(line, id, 1)],
        "cancelled",
        ["VOIDED", "VOIDED"],
      ],
      [
        "while the carrier refuses to take the label back",
        async (id) => {
          await booked(id);
          line.easypost.easypost.behave({ refundsRefused: 1 });
        },
        "rests",
        ["BOOKED"],
      ],
      [
        "once it is handed over",
        async (id) => {
          const { trackingNumber } = await booked(id);
          line.easypost.easypost.move(trackingNumber ?? "", "in_transit", "x");
        },
        "rests",
        ["BOOKED"],
      ],
    ];
    test.each(moments)("%s", async (_moment, arrange, then, states) => {
      const id = await line.paid({ lines: MUGS(3) });
      const { onHand, reserved } = await level(line);
      await arrange(id);
      const ended = await line.cancel(id).catch((error: unknown) => error);
      line.easypost.easypost.behave({ refundsRefused: 0 });
      const labels = line.easypost.easypost.bought.filter(({ reference }) => reference?.startsWith(id));
      const refunds = line.environment.providers.books.refunds.filter(({ orderId }) => orderId === id);
      expect((await line.shipments(id)).map(({ state }) => state)).toEqual(states);
      if (then === "cancelled") {
        expect(ended).toMatchObject({ outcome: "cancelled" });
        expect(labels.filter(({ refundStatus }) => refundStatus !== "refunded")).toEqual([]);
        expect([await level(line), refunds.length]).toEqual([{ onHand, reserved: reserved - 3 }, 1]);
      } else {
        expect(ended).toBeInstanceOf(UndoRefusedError);
        expect(await line.shipments(id)).toMatchObject([{ voiding: "refused", reason: expect.any(String) }]);
        // The payment is not paid back for goods that are on their way.
        expect([await level(line), refunds.length]).toEqual([
          { onHand: onHand - 1, reserved: reserved - 1 },
          0,
        ]);
      }
    });
  });

  describe("whose order is cancelled", () => {
    afterEach(() => line.easypost.easypost.behave({ refundMs: 0, refundsRefused: 0 }));
    const refundsOf = (id: string) =>
      line.environment.providers.books.refunds.filter(({ orderId }) => orderId === id);
    /** An order of three mugs with this many parcels, of one each, that are booked. */
    const booked = async (count: number) => {
      const id = await line.paid({ lines: MUGS(3) });
      for (let number = 1; number <= count; number++) await plan(line, id, 1);
      await line.step(id);
      return id;
    };

    const obstacles: readonly (readonly [
      what: string,
      given: { by?: () => Promise<Executor>; answer?: { status: number; body: object } },
    ])[] = [
      ["is away", { answer: { status: 503, body: {} } }],
      ["has enough", { answer: { status: 429, body: { error: { code: "RATE_LIMITED", message: "Slow" } } } }],
      ["is another one now", { by: async () => line.executorOf(await line.connect({ CARRIER: "http" })) }],
      [
        "is not asked while its breaker is open",
        {
          by: async () =>
            line.executorOf(line.ports, {
              run: ({ stage }, _signal, work) =>
                stage.name === "ship"
                  ? Promise.reject(new StageUnavailableError(stage, { message: "circuit open" }))
                  : work(),
            }),
        },
      ],
    ];
    test.each(obstacles)(
      "are not paid back while a label stands whose carrier %s",
      async (_what, { by, answer }) => {
        const id = await booked(1);
        const before = await level(line);
        const { easypost } = line.easypost;
        const handle = easypost.handle.bind(easypost);
        if (answer) easypost.handle = () => answer;
        const failed = await line.cancel(id, await by?.()).catch((error: unknown) => error);
        easypost.handle = handle;
        expect(failed).toBeInstanceOf(Error);
        expect([await level(line), refundsOf(id)]).toEqual([before, []]);
        expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
        expect(refundsOf(id)).toHaveLength(1);
      },
    );

    test("are all called off, whatever becomes of the first", async () => {
      const { easypost } = line.easypost;
      const refused = await booked(2);
      const [first] = await line.shipments(refused);
      easypost.move(first?.trackingNumber ?? "", "in_transit", "x");
      await expect(line.cancel(refused)).rejects.toThrow(UndoRefusedError);
      expect(await line.shipments(refused)).toMatchObject([
        { state: "BOOKED", voiding: "refused" },
        { state: "VOIDED" },
      ]);

      const pending = await booked(3);
      easypost.behave({ refundMs: 48 * HOUR_MS });
      const third = (await line.shipments(pending))[2];
      easypost.move(third?.trackingNumber ?? "", "in_transit", "x");
      // What a person has to settle is told, and not what will settle itself.
      await expect(line.cancel(pending)).rejects.toThrow(/^parcel 3 can't be called off/);
      expect((await line.shipments(pending)).map(({ voiding }) => voiding)).toEqual([
        "pending",
        "pending",
        "refused",
      ]);
    });

    test("are asked for again only when there is news, or after hours", async () => {
      const { easypost } = line.easypost;
      const id = await booked(1);
      easypost.behave({ refundMs: 48 * HOUR_MS });
      expect(await line.cancel(id)).toMatchObject({ outcome: "waiting" });
      easypost.behave({ refundMs: 0 });
      const calls = countCalls(easypost);
      // As the sweeper does it every few minutes.
      expect(await line.cancel(id)).toMatchObject({
        outcome: "waiting",
        for: "the carrier to decide on the label of parcel 1",
      });
      calls.stop();
      expect(calls.count).toBe(0);
    });

    test("and of which one has arrived are not paid back before an operator settles that", async () => {
      const id = await booked(1);
      expect(await move(id, 1, "delivered", "arrived_at_destination")).toMatchObject({ outcome: "waiting" });
      expect(await line.shipments(id)).toMatchObject([{ state: "DELIVERED" }]);
      await expect(line.cancel(id)).rejects.toThrow("parcel 1 can't be called off: it was delivered");
      expect(refundsOf(id)).toEqual([]);
      const [arrived] = await line.shipments(id);
      if (arrived === undefined) throw new Error("no parcel");
      expect(arrived).toMatchObject({ state: "DELIVERED", voiding: "refused" });
      expect(await line.eventTypes(id)).toContain("shipment.void_refused");
      await parcelsOf(line).close(await line.order(id), arrived, "the customer keeps it", "olga");
      expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
      expect(refundsOf(id)).toHaveLength(1);
    });
  });

  test("with long reasons wait for an operator like others", async () => {
    const id = await line.paid({ lines: MUGS(3) });
    for (let times = 0; times < 3; times++) {
      await plan(line, id, 1);
      await line.step(id);
      const last = (await line.shipments(id)).at(-1);
      if (last) await ask(line, last, { state: "LOST", reason: "lost ".repeat(80) });
    }
    const waits = await line.step(id);
    expect(waits).toMatchObject({ outcome: "waiting", for: expect.stringMatching(/^an operator: 3 .*…$/) });
    expect("for" in waits && waits.for).toHaveLength(500);
  });

  test("of which one meets with an exception wait for an operator while the others are packed", async () => {
    const id = await line.paid({ lines: MUGS(3) });
    await plan(line, id, 1);
    await line.step(id);
    expect(await move(id, 1, "failure", "damaged")).toEqual({
      outcome: "waiting",
      for: "an operator: 2 pieces are to be shipped, parcel 1 is EXCEPTION (failure: damaged)",
    });
  });

  test("are asked for once there is news, whatever the clocks of those say who tell and ask", async () => {
    const { easypost } = line.easypost;
    const id = await line.paid({ lines: MUGS(1) });
    await plan(line, id, 1);
    await line.step(id);
    await line.step(id);
    const [booked] = await line.shipments(id);
    if (booked === undefined) throw new Error("no parcel");
    easypost.move(booked.trackingNumber ?? "", "in_transit", "x");
    // The worker that asked before is an hour ahead of the API that is told of news.
    await ask(line, booked, { askedAt: new Date(Date.now() + HOUR_MS), nudgedAt: new Date() });
    await line.step(id);
    const [moved] = await line.shipments(id);
    expect(moved).toMatchObject({ state: "IN_TRANSIT", nudgedAt: null });
  });

  test("whose label is bought while they are called off lose it again", async () => {
    const provider = carrierOf(line);
    const id = await line.paid({ lines: MUGS(3) });
    await plan(line, id, 1);
    const slow = new ShippingDesk({
      provider: {
        ...provider,
        async buy(request) {
          expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
          return provider.buy(request);
        },
      },
      inventory: line.ports.inventory,
      database: line.database,
      fulfilment: "manual",
      from: SHIP_TO,
    });
    const order = await line.order(id);
    await expect(slow.ship({ order, attempt: 1, signal: AbortSignal.timeout(20_000) })).rejects.toThrow(
      "was called off",
    );
    expect(line.easypost.easypost.bought.filter(({ reference }) => reference?.startsWith(id))).toMatchObject([
      { refundStatus: "refunded" },
    ]);
  });

  test("that were lost, and whose pieces are shipped again, are not closed", async () => {
    const id = await line.paid({ lines: MUGS(1) });
    await plan(line, id, 1);
    await line.step(id);
    await lose(id);
    const [lost] = await line.shipments(id);
    await plan(line, id, 1);
    if (lost === undefined) throw new Error("no parcel");
    await expect(parcelsOf(line).close(await line.order(id), lost, "paid back", "olga")).rejects.toThrow(
      "the pieces of parcel 1 are shipped again",
    );
    expect((await line.shipments(id)).map(({ closedAt }) => closedAt)).toEqual([null, null]);
    // Of several that were lost, any may be closed.
    await line.step(id);
    await lose(id);
    const parcels = await line.shipments(id);
    for (const each of parcels.slice(1))
      expect(await parcelsOf(line).close(await line.order(id), each, "paid back", "olga")).toMatchObject({
        closedAt: expect.any(Date),
      });
  });

  test("a label that was bought without our knowing, and is not taken back, may be used or closed", async () => {
    for (const way of ["use", "close", "close and go on"] as const) {
      const id = await line.paid({ lines: MUGS(2) });
      const planned = await plan(line, id, 2);
      const { easypost } = line.easypost;
      loseAnswer(line, "/buy");
      await expect(line.step(id)).rejects.toThrow();
      easypost.behave({ refundsRefused: 1 });
      const parcels = parcelsOf(line);
      const known = async () => {
        const [found] = await line.shipments(id);
        if (found === undefined) throw new Error(`no parcel ${planned.number}`);
        return found;
      };
      if (way === "use") {
        await parcels.void(await line.order(id), await known(), "olga");
        await line.step(id);
        expect(await known()).toMatchObject({ state: "PLANNED", voiding: "refused" });
        await parcels.book(await line.order(id), await known(), "olga");
        expect(await line.step(id, { attempt: 2 })).toMatchObject({ status: "SHIPPED" });
        const { items } = await listActions(line.database, { limit: 2 });
        expect(items.map(({ action, actor, target }) => [action, actor, target])).toEqual([
          ["book", "olga", id],
          ["void", "olga", id],
        ]);
      } else if (way === "close and go on") {
        await parcels.void(await line.order(id), await known(), "olga");
        await line.step(id);
        await parcels.close(await line.order(id), await known(), "it was used", "olga");
        const [order, closed] = [await line.order(id), await known()];
        expect(() => parcels.book(order, closed, "olga")).toThrow("parcel 1 was closed");
        expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
        expect(await line.step(id)).toMatchObject({ status: "DELIVERED" });
        expect(await known()).toMatchObject({ state: "PLANNED", closedAt: expect.any(Date) });
      } else {
        await expect(line.cancel(id)).rejects.toThrow(UndoRefusedError);
        await parcels.close(await line.order(id), await known(), "it was stolen", "olga");
        expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
      }
      expect(easypost.bought.filter(({ reference }) => reference?.startsWith(id))).toHaveLength(1);
      easypost.behave({ refundsRefused: 0 });
    }
  });

  test("that are planned, and whose label the carrier has to decide on, wait for that", async () => {
    const id = await line.paid({ lines: MUGS(2) });
    await plan(line, id, 2);
    const { easypost } = line.easypost;
    loseAnswer(line, "/buy");
    await expect(line.step(id)).rejects.toThrow();
    easypost.behave({ refundMs: 48 * HOUR_MS });
    const [planned] = await line.shipments(id);
    if (planned === undefined) throw new Error("no parcel");
    await parcelsOf(line).void(await line.order(id), planned, "olga");
    await line.step(id);
    expect(await line.step(id)).toMatchObject({
      outcome: "waiting",
      for: "the carrier to decide on the label of parcel 1",
    });
    expect(await line.shipments(id)).toMatchObject([{ state: "PLANNED", voiding: "pending" }]);
    easypost.behave({ refundMs: 0 });
  });

  test("wait for what the carrier decides, without asking it again and again", async () => {
    const id = await line.paid({ lines: MUGS(2) });
    await plan(line, id, 1);
    await line.step(id);
    const [first] = await line.shipments(id);
    if (first === undefined) throw new Error("no parcel");
    line.easypost.easypost.behave({ refundMs: 48 * HOUR_MS });
    await ask(line, first, { voiding: "requested" });
    await line.step(id);
    const { easypost } = line.easypost;
    const calls = countCalls(easypost);
    await line.step(id);
    expect([calls.count, await line.shipments(id)]).toMatchObject([
      0,
      [{ state: "BOOKED", voiding: "pending" }],
    ]);
    easypost.advance(49 * HOUR_MS);
    const [pending] = await line.shipments(id);
    if (pending) await ask(line, pending, { nudgedAt: new Date(Date.now() + 1_000) });
    await line.step(id);
    expect(await line.shipments(id)).toMatchObject([{ state: "VOIDED", voiding: null }]);
    calls.stop();
    easypost.behave({ refundMs: 0 });
  });
});

describe("orders that were labelled when parcels were not written down", () => {
  let line: Shipping;
  beforeAll(async () => {
    line = await startShipping({ CARRIER: "http" });
  });
  afterAll(async () => line.close());

  const labels = (id: string) =>
    line.environment.providers.books.labels.filter(({ orderId }) => orderId === id);

  /** An order whose label the version before has bought, with the key of then. */
  async function labelled({ lines = MUGS(2) } = {}): Promise<{ id: string; trackingNumber: string }> {
    const id = await line.paid({ lines });
    const { carrierUrl } = line.environment.providers;
    const answer = await fetch(carrierUrl, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "webhook-id": `${id}:ship`,
        "webhook-timestamp": String(Math.floor(Date.now() / 1_000)),
      },
      body: JSON.stringify({ operation: "create-label", orderId: id }),
    });
    const { done } = z.object({ done: z.object({ trackingNumber: z.string() }) }).parse(await answer.json());
    return { id, trackingNumber: done.trackingNumber };
  }

  /** And whose status it has written. */
  async function shipped(): Promise<string> {
    const { id, trackingNumber } = await labelled();
    await line.store.applyTransitions([
      {
        orderId: id,
        from: "PAID",
        to: "SHIPPED",
        stage: "ship",
        reason: null,
        record: { trackingNumber },
        unlessCancelled: true,
        stock: { operation: "ship", lines: MUGS(2) },
        at: new Date(),
      },
    ]);
    expect(await line.shipments(id)).toEqual([]);
    return id;
  }

  test("are delivered, and their parcel is known from then on", async () => {
    const id = await shipped();
    expect(await line.step(id)).toMatchObject({ status: "DELIVERED" });
    const [label, ...others] = labels(id);
    expect(others).toEqual([]);
    const trackingNumber = label?.trackingNumber;
    expect(await line.shipments(id)).toMatchObject([{ number: 1, state: "DELIVERED", trackingNumber }]);
  });

  test("get no second label when the worker died before it could write the first down", async () => {
    const { id, trackingNumber } = await labelled();
    expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
    expect(labels(id)).toMatchObject([{ trackingNumber, voided: false }]);
  });

  test("lose their label when they are cancelled", async () => {
    const before = await level(line);
    const { id } = await labelled();
    expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
    expect(labels(id)).toMatchObject([{ voided: true }]);
    expect(await level(line)).toEqual(before);
  });

  test("while the warehouse plans a part of them have each piece in one parcel", async () => {
    const before = await level(line);
    const id = await line.paid({ lines: MUGS(3) });
    const { lines } = await line.order(id);
    const { carrier } = line.ports;
    const by = line.executorOf({
      ...line.ports,
      carrier: {
        ping: (signal) => carrier.ping(signal),
        deliver: (request) => carrier.deliver(request),
        undo: (request) => carrier.undo(request),
        hasLabels: (request) => carrier.hasLabels(request),
        async ship(request) {
          const booked = await carrier.ship(request);
          const wish = { orderId: id, parcel: null, service: null, carrier: "http", actor: null };
          const pieces = [{ sku: "MUG-BLUE", quantity: 1 }];
          await planShipment(line.database, { ...wish, lines: pieces, whileIn: ["PAID"] }, lines);
          return booked;
        },
      },
    });
    expect(await line.step(id, { by })).toMatchObject({ outcome: "snoozed" });
    await line.step(id);
    const [planned] = await line.shipments(id);
    if (planned === undefined) throw new Error("no parcel");
    await ask(line, planned, { bookRequestedAt: new Date() });
    expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
    const shipments = await line.shipments(id);
    expect(shipments.map(({ lines: pieces }) => pieces[0]?.quantity)).toEqual([1, 2]);
    expect(await level(line)).toEqual({ onHand: before.onHand - 3, reserved: before.reserved });
  });

  test("are shipped again under another key when their parcel is lost", async () => {
    const id = await shipped();
    line.environment.providers.setTransit(HOUR_MS);
    expect(await line.step(id)).toMatchObject({ outcome: "snoozed" });
    const [first] = await line.shipments(id);
    if (first === undefined) throw new Error("no parcel");
    await ask(line, first, { state: "LOST" });
    const { lines } = await readOrder(line.database, id);
    const wish = { orderId: id, parcel: null, service: null, carrier: "http", whileIn: ["SHIPPED"] };
    const planned = await planShipment(line.database, { ...wish, actor: null }, lines);
    if ("refused" in planned) throw new Error(planned.refused);
    await ask(line, planned, { bookRequestedAt: new Date() });
    line.environment.providers.setTransit(0);
    expect(await line.step(id)).toMatchObject({ status: "DELIVERED" });
    expect(labels(id).map(({ key }) => key)).toEqual([`${id}:ship`, `${id}:ship:2`]);
  });
});
