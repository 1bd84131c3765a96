import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { amendOrder } from "../../../db/amendments.ts";
import { changeShipment, planShipment } from "../../../db/shipments.ts";
import { findStock } from "../../../db/stock.ts";
import { patching } from "../../../src/order/amendment.ts";
import { EasyPostClient } from "../../../src/providers/easypost/client.ts";
import { easypostCarrier } from "../../../src/providers/easypost/carrier.ts";
import { BackgroundCalls } from "../../../src/engine/background-calls.ts";
import { Waking } from "../../../src/engine/waking.ts";
import type { DueJob } from "../../../src/engine/ports.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { createLogger } from "../../../src/platform/log.ts";
import {
  NotNowError,
  RequestRefusedError,
  ServiceMisconfiguredError,
  ServiceUnavailableError,
  UndoRefusedError,
} from "../../../src/order/ports.ts";
import {
  carrierOf,
  countCalls,
  HOUR_MS,
  labelsOf,
  loseAnswer,
  parcelsOf,
  SHIP_TO,
  shipmentOf,
  startShipping,
  type Shipping,
} from "../../support/shipping.ts";
import { startAnswering } from "../../support/answering.ts";

let line: Shipping;
beforeAll(async () => {
  line = await startShipping();
});
afterAll(async () => line.close());
beforeEach(() => {
  line.easypost.setFault({ kind: "none" });
  line.easypost.easypost.behave({ refundMs: 0, refundsRefused: 0, refundsRejected: 0 });
});

const level = async (sku: string) => {
  const [found] = await findStock(line.database, [sku]);
  return [found?.onHand, found?.reserved];
};

const ELSEWHERE = {
  ...SHIP_TO,
  line1: "1 Main St",
  city: "Springfield",
  region: "IL",
  postalCode: "62701",
};
const patch = (id: string, shipTo: object = ELSEWHERE) =>
  amendOrder(
    line.database,
    id,
    (order) => patching(lifecycle, order, { shipTo: { ...SHIP_TO, ...shipTo } }),
    {
      actor: "ada",
      at: new Date(),
    },
  );

describe("an order that EasyPost ships", () => {
  test("gets one label, for its address, and leaves the stock with it", async () => {
    const [onHand = 0, reserved] = await level("MUG-BLUE");
    const id = await line.paid();
    expect(await line.step(id)).toMatchObject({ outcome: "done", status: "SHIPPED" });
    const [shipment, ...others] = await line.shipments(id);
    const [label] = labelsOf(line, id);
    expect(others).toEqual([]);
    expect(shipment).toMatchObject({
      number: 1,
      state: "BOOKED",
      carrier: "easypost",
      carrierId: label?.shipmentId,
      service: "USPS GroundAdvantage",
      trackingNumber: label?.trackingCode,
      trackingUrl: expect.stringMatching(/^https:\/\/track\.easypost\.com\//),
      labelUrl: expect.stringMatching(/\.png$/),
      lines: [{ position: 0, sku: "MUG-BLUE", quantity: 2 }],
    });
    expect(shipment?.cost?.currency).toBe("USD");
    expect(label?.reference).toBe(`${id}:ship`);
    expect(await level("MUG-BLUE")).toEqual([onHand - 2, reserved]);
    expect(await line.eventTypes(id)).toContain("shipment.booked");
  });

  test("is delivered when EasyPost says so, and asks rarely without news", async () => {
    const id = await line.paid();
    await line.step(id);
    expect(await line.step(id)).toEqual({ outcome: "waiting", for: "the carrier to deliver the parcel" });
    const [shipment] = await line.shipments(id);
    line.easypost.easypost.move(shipment?.trackingNumber ?? "", "delivered", "arrived_at_destination");
    // Nobody has said that there is news.
    expect(await line.step(id)).toMatchObject({ outcome: "waiting" });
    await line.database.transaction((transaction) =>
      transaction.commit([
        { sql: "UPDATE shipments SET nudged_at = ? WHERE order_id = ?", values: [new Date(), id] },
      ]),
    );
    expect(await line.step(id)).toMatchObject({ outcome: "done", status: "DELIVERED" });
    expect((await line.shipments(id))[0]).toMatchObject({ state: "DELIVERED" });
    expect(await line.eventTypes(id)).toContain("shipment.delivered");
  });

  test("waits for an address that can be delivered to, and not ten attempts", async () => {
    const id = await line.paid({ shipTo: { ...SHIP_TO, line1: "nowhere" } });
    expect(await line.step(id)).toEqual({
      outcome: "waiting",
      for: "an address that can be delivered to: Address not found, House number is missing",
    });
    expect((await line.order(id)).waiting?.for).toMatch(/^an address/);
    expect(labelsOf(line, id)).toEqual([]);
    await patch(id, SHIP_TO);
    expect(await line.step(id)).toMatchObject({ outcome: "done", status: "SHIPPED" });
  });

  test("and waits for an address is announced once, and again only when it is changed", async () => {
    const { easypost } = line.easypost;
    const calls = countCalls(easypost);
    const id = await line.paid({ shipTo: { ...SHIP_TO, line1: "nowhere" } });
    const waits = await line.step(id);
    const until = (await line.order(id)).waiting?.until;
    const [announced, before] = [calls.count, Date.now()];
    // As the sweeper does it every few minutes.
    expect(await line.step(id)).toEqual(waits);
    expect(calls.count).toBe(announced);
    expect((await line.order(id)).waiting?.until).toEqual(until);
    expect(until?.getTime()).toBeGreaterThan(before);
    await patch(id, { ...SHIP_TO, line1: "nowhere at all" });
    expect(await line.step(id)).toEqual(waits);
    expect(calls.count).toBeGreaterThan(announced);
    calls.stop();
  });

  test("to another country carries its customs data", async () => {
    const id = await line.paid({
      shipTo: { ...SHIP_TO, country: "CA", postalCode: "K1A 0B1" },
      lines: [
        {
          sku: "MUG-BLUE",
          quantity: 2,
          unitPrice: 1250,
          weight: 300,
          customs: { description: "Blue mug", origin: "DE", hsCode: "691110" },
        },
      ],
    });
    expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
  });

  test("of what needs no shipping passes without a label", async () => {
    const id = await line.paid({
      lines: [{ sku: "GIFT-CARD", quantity: 1, unitPrice: 1000, requiresShipping: false, stocked: false }],
    });
    expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
    expect(await line.step(id)).toMatchObject({ status: "DELIVERED" });
    expect(await line.shipments(id)).toEqual([]);
  });
});

describe("a lost answer of EasyPost", () => {
  test("to the purchase buys nothing twice: the label is found", async () => {
    const id = await line.paid();
    // The shipment is written down; then the answer to the purchase is lost.
    let calls = 0;
    const { easypost } = line.easypost;
    const handle = easypost.handle.bind(easypost);
    easypost.handle = (call) => {
      const answer = handle(call);
      if (call.path.endsWith("/buy")) calls++;
      return call.path.endsWith("/buy") && calls === 1 ? { status: 504, body: {} } : answer;
    };
    await expect(line.step(id)).rejects.toThrow(/EasyPost answered 504/);
    expect(await line.shipments(id)).toMatchObject([{ state: "PLANNED", carrierId: expect.any(String) }]);
    expect(labelsOf(line, id)).toHaveLength(1);
    expect(await line.step(id, { attempt: 2 })).toMatchObject({ status: "SHIPPED" });
    easypost.handle = handle;
    expect(labelsOf(line, id)).toHaveLength(1);
    expect(calls).toBe(1);
  });

  test("to the announcement is looked up by our own name", async () => {
    const id = await line.paid();
    const { easypost } = line.easypost;
    const handle = easypost.handle.bind(easypost);
    let created = 0;
    easypost.handle = (call) => {
      const answer = handle(call);
      const isCreation = call.method === "POST" && call.path.endsWith("/shipments");
      if (isCreation) created++;
      return isCreation && created === 1 ? { status: 502, body: {} } : answer;
    };
    await expect(line.step(id)).rejects.toThrow(/EasyPost answered 502/);
    expect(await line.step(id, { attempt: 2 })).toMatchObject({ status: "SHIPPED" });
    easypost.handle = handle;
    expect([created, labelsOf(line, id).length]).toEqual([1, 1]);
  });

  test("is nothing to two workers at once: one label", async () => {
    const id = await line.paid();
    const others = await Promise.all([1, 2, 3].map(async () => line.executorOf(await line.connect({}))));
    await Promise.all(others.map((by) => line.step(id, { by })));
    expect((await line.order(id)).status).toBe("SHIPPED");
    expect(labelsOf(line, id)).toHaveLength(1);
    expect(await line.shipments(id)).toMatchObject([
      { carrierId: labelsOf(line, id)[0]?.shipmentId, state: "BOOKED" },
    ]);
  });
});

describe("an address that changes", () => {
  const addressOf = async (id: string) => {
    const [shipment] = await line.shipments(id);
    const client = new EasyPostClient("EZTKtest", { baseUrl: line.easypost.baseUrl });
    return (await client.Shipment.retrieve(shipment?.carrierId ?? "")).to_address;
  };
  const sentTo = async (id: string) => (await addressOf(id)).street1;

  test("while it is announced is the one that the label has", async () => {
    const id = await line.paid();
    const order = await line.order(id);
    await patch(id);
    // A worker that has read the order before.
    const late = line.ports.carrier.ship({ order, attempt: 1, signal: AbortSignal.timeout(20_000) });
    await expect(late).rejects.toThrow("parcel 1 was changed meanwhile");
    // Another worker, that does not remember the order from when it was paid.
    expect(await line.step(id, { by: line.executorOf(line.ports) })).toMatchObject({ status: "SHIPPED" });
    expect(await sentTo(id)).toBe("1 MAIN ST");
    expect(labelsOf(line, id)).toHaveLength(1);
  });

  test("after an announcement whose answer was lost is the one that the label has", async () => {
    const id = await line.paid();
    loseAnswer(line, "/shipments");
    await expect(line.step(id)).rejects.toThrow("EasyPost answered 502");
    await patch(id);
    expect(await line.step(id, { attempt: 2 })).toMatchObject({ status: "SHIPPED" });
    expect(await sentTo(id)).toBe("1 MAIN ST");
  });

  test("only in its city is another one", async () => {
    const id = await line.paid();
    loseAnswer(line, "/shipments");
    await expect(line.step(id)).rejects.toThrow("EasyPost answered 502");
    await patch(id, { city: "Torrance" });
    expect(await line.step(id, { attempt: 2 })).toMatchObject({ status: "SHIPPED" });
    expect(await addressOf(id)).toMatchObject({ city: "TORRANCE" });
  });

  test("is checked also when the answer to its announcement was lost", async () => {
    const id = await line.paid({ shipTo: { ...SHIP_TO, line1: "nowhere" } });
    loseAnswer(line, "/shipments");
    await expect(line.step(id)).rejects.toThrow("EasyPost answered 502");
    expect(await line.step(id, { attempt: 2 })).toMatchObject({
      outcome: "waiting",
      for: expect.stringMatching(/^an address that can be delivered to: Address not found/),
    });
    expect(labelsOf(line, id)).toEqual([]);
  });

  test("is taken for a parcel that has come back, and is sent again", async () => {
    const id = await line.paid();
    await line.step(id);
    await expect(patch(id)).rejects.toThrow("the order is SHIPPED, and can no longer be changed");
    const [first] = await line.shipments(id);
    if (first === undefined) throw new Error("no parcel");
    await changeShipment(line.database, first, { change: { state: "RETURNED" } });
    await patch(id);
    const { lines, shipTo } = await line.order(id);
    expect(shipTo).toEqual(ELSEWHERE);
    const plan = { orderId: id, parcel: null, service: null, carrier: "easypost", actor: null };
    const again = await planShipment(line.database, { ...plan, whileIn: ["SHIPPED"] }, lines);
    if ("refused" in again) throw new Error(again.refused);
    await changeShipment(line.database, again, { change: { bookRequestedAt: new Date() } });
    // By a worker that does not remember the order from before.
    await line.step(id, { by: line.executorOf(line.ports) });
    const last = (await line.shipments(id)).at(-1);
    const client = new EasyPostClient("EZTKtest", { baseUrl: line.easypost.baseUrl });
    const { to_address: to } = await client.Shipment.retrieve(last?.carrierId ?? "");
    expect([last?.state, to.street1]).toEqual(["BOOKED", "1 MAIN ST"]);
    // Only its address is needed.
    await expect(
      amendOrder(line.database, id, (order) => patching(lifecycle, order, { note: "late" }), {
        actor: "ada",
        at: new Date(),
      }),
    ).rejects.toThrow("can no longer be changed");
  });

  test("is refused while its label is bought, and taken again once the parcel is called off", async () => {
    const id = await line.paid();
    loseAnswer(line, "/buy");
    await expect(line.step(id)).rejects.toThrow("EasyPost answered 502");
    await expect(patch(id)).rejects.toThrow(
      "the label of parcel 1 is being bought for the address; call the parcel off first",
    );
    expect((await line.order(id)).shipTo).toEqual(SHIP_TO);
    const [planned] = await line.shipments(id);
    if (planned === undefined) throw new Error("no parcel");
    await changeShipment(line.database, planned, { change: { voiding: "requested" } });
    // The operator who has called it off plans it again, with the right address.
    expect(await line.step(id, { attempt: 2 })).toMatchObject({
      outcome: "waiting",
      for: "an operator: 2 pieces are to be shipped",
    });
    await patch(id);
    const parcels = parcelsOf(line);
    const again = await parcels.plan(await line.order(id), {}, "ada");
    await parcels.book(await line.order(id), again, "ada");
    expect(await line.step(id, { by: line.executorOf(line.ports) })).toMatchObject({ status: "SHIPPED" });
    expect((await line.shipments(id)).map(({ state }) => state)).toEqual(["VOIDED", "BOOKED"]);
    const last = await shipmentOf(line, id, 2);
    const client = new EasyPostClient("EZTKtest", { baseUrl: line.easypost.baseUrl });
    expect((await client.Shipment.retrieve(last.carrierId ?? "")).to_address.street1).toBe("1 MAIN ST");
  });
});

test("a parcel that the warehouse plans while the rest is announced leaves that its own pieces", async () => {
  const id = await line.paid();
  const order = await line.order(id);
  const { sku } = order.lines[0] ?? { sku: "" };
  const plan = { orderId: id, lines: [{ sku, quantity: 1 }], parcel: null, service: null };
  const given = { ...plan, carrier: "easypost", whileIn: ["PAID"], actor: null };
  const handle = line.easypost.easypost.handle.bind(line.easypost.easypost);
  let planned: Promise<unknown> | undefined;
  const meanwhile = new Promise<void>((resolve) => {
    line.easypost.easypost.handle = (call) => {
      planned ??= planShipment(line.database, given, order.lines).then(() => resolve());
      return handle(call);
    };
  });
  line.easypost.setFault({ kind: "late", ms: 300 });
  await expect(line.step(id)).rejects.toThrow("parcel 1 was changed meanwhile");
  await meanwhile;
  line.easypost.easypost.handle = handle;
  line.easypost.setFault({ kind: "none" });
  await line.step(id);
  const [first] = await line.shipments(id);
  if (first === undefined) throw new Error("no parcel");
  await changeShipment(line.database, first, { change: { bookRequestedAt: new Date() } });
  expect(await line.step(id)).toMatchObject({ status: "SHIPPED" });
  const shipments = await line.shipments(id);
  expect(shipments.flatMap(({ lines }) => lines.map(({ quantity }) => quantity))).toEqual([1, 1]);
  expect(labelsOf(line, id)).toHaveLength(2);
});

describe("cancelling what EasyPost ships", () => {
  /** An order whose label is bought, and whose worker has died before it could say so. */
  async function labelled(): Promise<string> {
    const id = await line.paid();
    const shipped = await line.ports.carrier.ship({
      order: await line.order(id),
      attempt: 1,
      signal: AbortSignal.timeout(20_000),
    });
    expect(shipped).toMatchObject({ change: { state: "BOOKED" } });
    return id;
  }

  test("gives the label back, and the stock", async () => {
    const [onHand, reserved = 0] = await level("MUG-BLUE");
    const id = await labelled();
    expect(await level("MUG-BLUE")).toEqual([onHand, reserved + 2]);
    expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
    expect(labelsOf(line, id)).toMatchObject([{ refundStatus: "refunded" }]);
    expect(await line.shipments(id)).toMatchObject([{ state: "VOIDED" }]);
    expect(await level("MUG-BLUE")).toEqual([onHand, reserved]);
  });

  test("waits with a reason while the carrier decides, and goes on at once when its webhook comes", async () => {
    const id = await labelled();
    // Read anew each time.
    const { books } = line.environment.providers;
    line.easypost.easypost.behave({ refundMs: 48 * HOUR_MS });
    expect(await line.cancel(id)).toMatchObject({ outcome: "waiting" });
    expect(await line.shipments(id)).toMatchObject([{ voiding: "pending" }]);
    expect((await line.order(id)).waiting).toMatchObject({
      stage: "cancel",
      for: "the carrier to decide on the label of parcel 1",
    });
    expect(await line.eventTypes(id)).toContain("waiting");
    // The carrier may still refuse: then nothing was undone for goods that are on their way.
    expect(books.refunds.filter(({ orderId }) => orderId === id)).toEqual([]);

    line.easypost.easypost.advance(49 * HOUR_MS);
    const revived: DueJob[] = [];
    const calls = new BackgroundCalls({ log: createLogger({ name: "test", level: "silent" }) });
    const waking = new Waking({
      store: line.store,
      lifecycle,
      calls,
      dispatcher: {
        revive: (due) => {
          revived.push(...due);
          return Promise.resolve(due.length);
        },
      },
    });
    const provider = { ...carrierOf(line), parseWebhook: await webhookOf(id) };
    const parcels = parcelsOf(line, { provider, wake: (orderId) => waking.wake(orderId) });
    await parcels.receive(Buffer.from("{}"), {});
    await calls.idle();
    expect(revived).toMatchObject([{ orderId: id, transition: { step: { name: "cancel" } } }]);
    expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
    expect(await line.shipments(id)).toMatchObject([{ state: "VOIDED", voiding: null }]);
    expect((await line.order(id)).waiting).toBeNull();
    expect(books.refunds.filter(({ orderId }) => orderId === id)).toHaveLength(1);
  });

  /** Reads a webhook about the order's parcel. */
  async function webhookOf(id: string) {
    const carrierId = (await line.shipments(id))[0]?.carrierId ?? "";
    return () => Promise.resolve({ carrierId });
  }

  test("rests with the reason when the carrier takes the label back no more; nothing earlier is undone", async () => {
    const [onHand, reserved = 0] = await level("MUG-BLUE");
    const id = await labelled();
    line.easypost.easypost.behave({ refundsRefused: 1 });
    const refused = await line.cancel(id).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(UndoRefusedError);
    expect(refused).toMatchObject({
      message: expect.stringMatching(/^parcel 1 can't be called off: .*shipped/),
    });
    expect(await line.shipments(id)).toMatchObject([{ voiding: "refused", reason: expect.any(String) }]);
    expect(await line.eventTypes(id)).toContain("shipment.void_refused");
    expect(await level("MUG-BLUE")).toEqual([onHand, reserved + 2]);
  });

  test("keeps a label from being bought later, by a worker presumed dead", async () => {
    const id = await line.paid();
    const order = await line.order(id);
    expect(await line.cancel(id)).toMatchObject({ outcome: "cancelled" });
    await expect(
      line.ports.carrier.ship({ order, attempt: 1, signal: AbortSignal.timeout(20_000) }),
    ).rejects.toThrow(/called off/);
    expect(labelsOf(line, id)).toEqual([]);
  });

  test("gives back the label that was bought while the order was cancelled", async () => {
    const id = await line.paid();
    const { easypost } = line.easypost;
    const handle = easypost.handle.bind(easypost);
    let meanwhile: Promise<unknown> | undefined;
    // The order is cancelled after its shipment was announced, and before the label is bought.
    const late = line.ports.carrier;
    const order = await line.order(id);
    easypost.handle = (call) => {
      if (call.path.endsWith("/buy")) meanwhile ??= line.cancel(id);
      return handle(call);
    };
    await late.ship({ order, attempt: 1, signal: AbortSignal.timeout(20_000) });
    await meanwhile;
    easypost.handle = handle;
    await late.undo({ order, attempt: 1, signal: AbortSignal.timeout(20_000) });
    expect(labelsOf(line, id)).toMatchObject([{ refundStatus: "refunded" }]);
  });
});

describe("EasyPost as a service", () => {
  const carrierAt = (url: string, options: Partial<Parameters<typeof easypostCarrier>[0]> = {}) =>
    easypostCarrier({
      apiKey: "EZTKtest",
      webhookSecrets: [],
      url,
      timeoutMs: 500,
      parcel: { weight: 500 },
      ...options,
    });
  const request = () => ({
    orderId: "o1",
    reference: "o1:ship",
    from: SHIP_TO,
    to: SHIP_TO,
    parcel: null,
    items: [{ sku: "MUG-BLUE", quantity: 1, unitPrice: 1000 }],
    currency: "USD",
    signal: AbortSignal.timeout(20_000),
  });

  test.each([
    [401, {}, ServiceMisconfiguredError],
    [
      402,
      { error: { code: "PAYMENT_REQUIRED", message: "Insufficient balance" } },
      ServiceMisconfiguredError,
    ],
    [422, { error: { code: "PARAMETER.INVALID", message: "Bad", errors: [] } }, RequestRefusedError],
    [429, { error: { code: "RATE_LIMITED", message: "Slow down" } }, NotNowError],
    [500, {}, ServiceUnavailableError],
    [503, { error: { code: "X", message: "Y" } }, ServiceUnavailableError],
    [200, { hello: "world" }, ServiceUnavailableError],
  ])("that answers %p %j", async (status, body, kind) => {
    const server = await startAnswering((response) => {
      response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    });
    const error = await carrierAt(server.url)
      .create(request())
      .catch((thrown: unknown) => thrown);
    await server.close();
    expect(error).toBeInstanceOf(kind);
    expect(String(error)).not.toContain(SHIP_TO.line1);
  });

  test("that answers HTML, nothing, or too late is unavailable", async () => {
    const answers: ((response: ServerResponse) => void)[] = [
      (response) => response.writeHead(502, { "Content-Type": "text/html" }).end("<h1>Bad gateway</h1>"),
      (response) => response.destroy(),
      () => undefined,
    ];
    const server = await startAnswering((response) => answers.shift()?.(response));
    for (let left = answers.length; left > 0; left--)
      await expect(carrierAt(server.url).create(request())).rejects.toThrow(ServiceUnavailableError);
    await server.close();
  });

  test("ends a call with the caller's reason", async () => {
    const server = await startAnswering(() => undefined);
    const reason = new Error("the worker is shutting down");
    const caller = new AbortController();
    const failed = carrierAt(server.url, { timeoutMs: 20_000 })
      .create({ ...request(), signal: caller.signal })
      .catch((error: unknown) => error);
    setImmediate(() => caller.abort(reason));
    expect(await failed).toBe(reason);
    await server.close();
  });

  test("tells what its services take, and sells the one that is chosen", async () => {
    const carrier = carrierAt(`${line.easypost.url}/v2`, { timeoutMs: 10_000 });
    const { carrierId, rates } = await carrier.create(request());
    expect(rates).toEqual([
      { service: "USPS Express", cost: { amount: 3_378, currency: "USD" }, days: 2 },
      { service: "USPS Priority", cost: { amount: 716, currency: "USD" }, days: 2 },
      { service: "USPS GroundAdvantage", cost: { amount: 610, currency: "USD" }, days: 3 },
    ]);
    expect((await carrier.find({ ...request(), carrierId }))?.rates).toEqual(rates);
    const bought = await carrier.buy({ ...request(), carrierId, service: "USPS Priority" });
    expect(bought).toMatchObject({ service: "USPS Priority", cost: { amount: 716 } });
  });

  test("is asked for its prices of today before a shipment is bought that was announced days ago", async () => {
    const carrier = carrierAt(`${line.easypost.url}/v2`, { timeoutMs: 10_000 });
    const { easypost } = line.easypost;
    // Whatever other tests have set it to.
    const ahead = easypost.now().getTime() - Date.now();
    easypost.advance(-72 * HOUR_MS - ahead);
    const { carrierId } = await carrier.create(request());
    easypost.advance(72 * HOUR_MS);
    const paths: string[] = [];
    const handle = easypost.handle.bind(easypost);
    easypost.handle = (call) => {
      paths.push(call.path);
      return handle(call);
    };
    const asked = () => paths.filter((path) => path.endsWith("/rerate")).length;
    const found = await carrier.find({ ...request(), carrierId });
    expect([found?.rates?.length, asked()]).toEqual([3, 1]);
    await carrier.find({ ...request(), carrierId });
    expect(asked()).toBe(1);
    const bought = await carrier.buy({ ...request(), carrierId, service: "USPS Priority" });
    easypost.handle = handle;
    expect(bought.service).toBe("USPS Priority");
  });

  test("sells nothing that it does not offer", async () => {
    const carrier = carrierAt(`${line.easypost.url}/v2`, { timeoutMs: 10_000 });
    const { carrierId } = await carrier.create(request());
    await expect(carrier.buy({ ...request(), carrierId, service: "DHL Air" })).rejects.toThrow(
      "EasyPost no longer offers DHL Air for this parcel",
    );
  });
});

describe("an order's label", () => {
  test.each([
    ["cheapest", "USPS GroundAdvantage"],
    ["fastest", "USPS Priority"],
    ["UPS Ground,usps express", "USPS Express"],
    ["express", "USPS Express"],
  ])("is bought of the service that is configured: %s", async (CARRIER_SERVICE, bought) => {
    const by = line.executorOf(await line.connect({ CARRIER_SERVICE }));
    const id = await line.paid();
    expect(await line.step(id, { by })).toMatchObject({ status: "SHIPPED" });
    expect((await line.shipments(id))[0]?.service).toBe(bought);
  });

  test("is not bought where no wanted service is offered: nothing is announced, and a person can read why", async () => {
    const by = line.executorOf(await line.connect({ CARRIER_SERVICE: "DHL" }));
    const id = await line.paid();
    await expect(line.step(id, { by })).rejects.toThrow(
      "the carrier does not offer DHL, but USPS GroundAdvantage, USPS Priority, USPS Express",
    );
    expect(await line.shipments(id)).toEqual([]);
  });
});
