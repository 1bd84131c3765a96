import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { startEasyPost, type EasyPostServer } from "../../tools/simulators/easypost/server.ts";
import { signatureOf } from "../../tools/simulators/easypost/webhooks.ts";
import { TEST_KEY } from "../support/processes.ts";
import { startLine, type TestLine } from "../support/line.ts";
import { easypostVariables, HOUR_MS, SHIP_TO, WEBHOOK_SECRET } from "../support/shipping.ts";
import { waitFor } from "../support/wait-for.ts";

/* The warehouse plans and books; EasyPost, as simulated, carries and tells by webhooks. */

let easypost: EasyPostServer;
let line: TestLine;
beforeAll(async () => {
  easypost = await startEasyPost({ behaviour: { transitMs: 10_000 * HOUR_MS } });
  line = await startLine({ env: { ...easypostVariables(easypost.url), FULFILMENT: "manual" } });
  await fetch(`${easypost.baseUrl}webhooks`, {
    method: "POST",
    headers: { Authorization: `Basic ${Buffer.from("EZTKtest:").toString("base64")}` },
    body: JSON.stringify({
      webhook: { url: `${line.api.url}/providers/carrier/webhook`, webhook_secret: WEBHOOK_SECRET },
    }),
  });
});
afterAll(async () => {
  await line.close();
  await easypost.close();
});

const shipmentsBody = z.object({
  items: z.array(
    z.object({
      number: z.number(),
      state: z.string(),
      trackingNumber: z.string().optional(),
      lines: z.array(z.object({ sku: z.string(), quantity: z.number() })),
    }),
  ),
});
const orderBody = z.looseObject({
  status: z.string(),
  waiting: z.object({ for: z.string() }).optional(),
  failed: z.object({ reason: z.string() }).optional(),
});
const eventsBody = z.object({ items: z.array(z.object({ type: z.string(), record: z.unknown() })) });

async function call(method: string, path: string, body?: object): Promise<[number, unknown]> {
  const response = await ask(method, path, body);
  const text = await response.text();
  return [response.status, text === "" ? undefined : JSON.parse(text)];
}

function ask(method: string, path: string, body?: object): Promise<Response> {
  return fetch(line.api.url + path, {
    method,
    redirect: "manual",
    headers: { Authorization: `Bearer ${TEST_KEY}`, "Content-Type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
}

/** An order that waits for the warehouse. */
async function waiting(lines = [{ sku: "MUG-BLUE", quantity: 3, unitPrice: 1250 }]) {
  for (const { sku } of lines) await line.client.put(`/stock/${sku}`, { onHand: 1_000 });
  const { id } = await line.client.order({
    customerId: "c1",
    currency: "USD",
    paymentToken: "tok_1",
    lines,
    shipTo: SHIP_TO,
  });
  await waitFor("the order waits", async () => (await get(id)).waiting !== undefined);
  const path = `/orders/${id}/shipments`;
  return {
    id,
    path,
    plan: async (body: object = {}) => call("POST", path, body),
    shipments: async () => await shipmentsAt(path),
    until: (number: number, state: string) =>
      waitFor(`shipment ${number} is ${state}`, async () => {
        const items = await shipmentsAt(path);
        return items.find((each) => each.number === number && each.state === state);
      }),
  };
}

const get = async (id: string) => orderBody.parse((await call("GET", `/orders/${id}`))[1]);
const eventsOf = async (id: string) => eventsBody.parse((await call("GET", `/orders/${id}/events`))[1]).items;
const shipmentsAt = async (path: string) => shipmentsBody.parse((await call("GET", path))[1]).items;

describe("an order that the warehouse ships", () => {
  test("in two parcels is SHIPPED with the last one, and DELIVERED with the last to arrive", async () => {
    const { id, path, plan, until, shipments } = await waiting();
    expect(await plan({ lines: [{ sku: "MUG-BLUE", quantity: 1 }], parcel: { weight: 400 } })).toMatchObject([
      201,
      { number: 1, state: "PLANNED", lines: [{ sku: "MUG-BLUE", quantity: 1 }] },
    ]);
    expect(await plan()).toMatchObject([201, { number: 2, lines: [{ sku: "MUG-BLUE", quantity: 2 }] }]);
    expect(await plan()).toMatchObject([409, { type: "urn:conveyor:problem:not-shippable" }]);

    expect((await call("POST", `${path}/1/book`))[0]).toBe(202);
    const first = await until(1, "BOOKED");
    expect(await get(id)).toMatchObject({ status: "PAID", fulfilment: { shipped: 1, delivered: 0, of: 2 } });
    expect(await call("GET", "/stock/MUG-BLUE")).toMatchObject([200, { onHand: 999, reserved: 2 }]);

    await call("POST", `${path}/2/book`);
    await waitFor("SHIPPED", async () => (await get(id)).status === "SHIPPED");
    expect(await call("GET", "/stock/MUG-BLUE")).toMatchObject([200, { onHand: 997, reserved: 0 }]);
    const label = await ask("GET", `${path}/1/label`);
    expect([label.status, label.headers.get("location")]).toEqual([303, expect.stringMatching(/\.png$/)]);

    easypost.easypost.move(first.trackingNumber ?? "", "delivered", "x");
    await until(1, "DELIVERED");
    expect(await get(id)).toMatchObject({
      status: "SHIPPED",
      fulfilment: { shipped: 2, delivered: 1, of: 2 },
    });
    const second = (await shipments())[1];
    easypost.easypost.move(second?.trackingNumber ?? "", "delivered", "x");
    await waitFor("DELIVERED", async () => (await get(id)).status === "DELIVERED");
    const events = await eventsOf(id);
    expect(events.filter(({ type }) => type === "shipment.delivered")).toHaveLength(2);
    expect(JSON.stringify(events)).not.toContain(SHIP_TO.line1);
  });

  test("is planned by many at once, and no piece is in two parcels", async () => {
    const { plan, shipments } = await waiting([{ sku: "CROWD", quantity: 10, unitPrice: 100 }]);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => plan({ lines: [{ sku: "CROWD", quantity: 2 }] })),
    );
    expect(answers.filter(([status]) => status === 201)).toHaveLength(5);
    const pieces = (await shipments()).flatMap(({ lines }) => lines.map(({ quantity }) => quantity));
    expect(pieces.reduce((sum, count) => sum + count, 0)).toBe(10);
  });

  test("of which a parcel is lost is shipped again, and one that comes back is closed", async () => {
    const { id, path, plan, until } = await waiting([{ sku: "LOSABLE", quantity: 2, unitPrice: 100 }]);
    for (const number of [1, 2]) {
      await plan({ lines: [{ sku: "LOSABLE", quantity: 1 }] });
      await call("POST", `${path}/${number}/book`);
      await waitFor("booked", async () => {
        const items = await shipmentsAt(path);
        return items[number - 1]?.state === "BOOKED";
      });
    }
    const [first, second] = [await until(1, "BOOKED"), await until(2, "BOOKED")];
    easypost.easypost.move(first.trackingNumber ?? "", "failure", "lost");
    easypost.easypost.move(second.trackingNumber ?? "", "return_to_sender", "refused");
    await until(1, "LOST");
    await until(2, "RETURNED");
    await waitFor("it waits for an operator", async () =>
      (await get(id)).waiting?.for.startsWith("an operator: 2 pieces are to be shipped"),
    );
    expect(await call("POST", `${path}/2/close`, { reason: "refunded" })).toMatchObject([
      200,
      { closedAt: expect.any(String) },
    ]);
    expect(await plan()).toMatchObject([201, { number: 3, lines: [{ sku: "LOSABLE", quantity: 1 }] }]);
    await call("POST", `${path}/3/book`);
    const third = await until(3, "BOOKED");
    expect(await call("GET", "/stock/LOSABLE")).toMatchObject([200, { onHand: 997, reserved: 0 }]);
    easypost.easypost.move(third.trackingNumber ?? "", "delivered", "x");
    await waitFor("DELIVERED", async () => (await get(id)).status === "DELIVERED");
    expect((await eventsOf(id)).map(({ type }) => type)).toEqual(
      expect.arrayContaining(["shipment.lost", "shipment.returned", "shipment.closed", "shipment.delivered"]),
    );
  });

  test("is cancelled while parcels are planned and booked: labels are given back, and the stock", async () => {
    const { id, path, plan, until } = await waiting([{ sku: "CALLED-OFF", quantity: 3, unitPrice: 100 }]);
    for (const quantity of [1, 2]) await plan({ lines: [{ sku: "CALLED-OFF", quantity }] });
    await call("POST", `${path}/1/book`);
    const booked = await until(1, "BOOKED");
    expect((await call("POST", `/orders/${id}/cancel`, { reason: "changed my mind" }))[0]).toBe(202);
    await waitFor("CANCELLED", async () => (await get(id)).status === "CANCELLED");
    expect(await call("GET", "/stock/CALLED-OFF")).toMatchObject([200, { onHand: 1_000, reserved: 0 }]);
    const label = easypost.easypost.bought.find(({ trackingCode }) => trackingCode === booked.trackingNumber);
    expect(label?.refundStatus).toBe("refunded");
  });

  test("can't be cancelled once a parcel was handed over, until an operator settles that", async () => {
    const { id, path, plan, until } = await waiting([{ sku: "GONE", quantity: 2, unitPrice: 100 }]);
    await plan({ lines: [{ sku: "GONE", quantity: 1 }] });
    await call("POST", `${path}/1/book`);
    const booked = await until(1, "BOOKED");
    easypost.easypost.move(booked.trackingNumber ?? "", "in_transit", "x");
    await call("POST", `/orders/${id}/cancel`, { reason: "changed my mind" });
    await waitFor("it rests", async () => (await get(id)).failed !== undefined);
    expect((await get(id)).failed?.reason).toMatch(/parcel 1 can't be called off/);
    expect((await call("GET", path))[1]).toMatchObject({
      items: [{ voiding: "refused", reason: expect.any(String) }],
    });
    expect((await call("POST", `${path}/1/close`, { reason: "the customer keeps it" }))[0]).toBe(200);
    await waitFor("CANCELLED", async () => (await get(id)).status === "CANCELLED");
    expect(await call("GET", "/stock/GONE")).toMatchObject([200, { onHand: 999, reserved: 0 }]);
    expect(await call("POST", `${path}/1/void`)).toMatchObject([
      409,
      { detail: "the order is CANCELLED: parcel 1 can no longer be called off", orderStatus: "CANCELLED" },
    ]);
  });

  test("is cancelled at once when a parcel is called off once more, whose label the carrier takes back by now", async () => {
    const { id, path, plan, until } = await waiting([{ sku: "REFUSED", quantity: 2, unitPrice: 100 }]);
    await plan({ lines: [{ sku: "REFUSED", quantity: 1 }] });
    await call("POST", `${path}/1/book`);
    await until(1, "BOOKED");
    easypost.easypost.behave({ refundsRefused: 1 });
    await call("POST", `/orders/${id}/cancel`, { reason: "changed my mind" });
    await waitFor("it rests", async () => (await get(id)).failed !== undefined);
    easypost.easypost.behave({ refundsRefused: 0 });
    expect(await call("POST", `${path}/1/void`)).toMatchObject([202, { voiding: "requested" }]);
    await waitFor("CANCELLED", async () => (await get(id)).status === "CANCELLED");
  });

  test("tells of a parcel that can't be booked, and goes on with the one that is planned in its place", async () => {
    const { id, path, plan } = await waiting([{ sku: "HEAVY", quantity: 1, unitPrice: 100 }]);
    await plan({ parcel: { weight: 40_000 } });
    await call("POST", `${path}/1/book`);
    await waitFor("it waits for an operator", async () =>
      (await get(id)).waiting?.for.startsWith("an operator"),
    );
    expect(await call("GET", path)).toMatchObject([
      200,
      { items: [{ state: "PLANNED", booking: "refused", reason: expect.stringMatching(/70 lbs/) }] },
    ]);
    expect((await eventsOf(id)).map(({ type }) => type)).toContain("shipment.booking_refused");
    await call("POST", `${path}/1/void`);
    await waitFor("the parcel is called off", async () => (await shipmentsAt(path))[0]?.state === "VOIDED");
    await plan({ parcel: { weight: 400 } });
    await call("POST", `${path}/2/book`);
    await waitFor("SHIPPED", async () => (await get(id)).status === "SHIPPED");
  });
});

describe("a webhook of the carrier", () => {
  test("without the right signature is refused, and changes nothing", async () => {
    const response = await fetch(`${line.api.url}/providers/carrier/webhook`, {
      method: "POST",
      body: JSON.stringify({ result: { shipment_id: "shp_1" } }),
      headers: { "X-Hmac-Signature": "hmac-sha256-hex=00" },
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ type: "urn:conveyor:problem:invalid-webhook" });
  });

  test("about a parcel that was called off is to be sent again while the carrier is away", async () => {
    const { id, path, plan, until } = await waiting([{ sku: "LATE", quantity: 1, unitPrice: 100 }]);
    await plan();
    await call("POST", `${path}/1/book`);
    await waitFor("SHIPPED", async () => (await get(id)).status === "SHIPPED");
    await call("POST", `${path}/1/void`);
    await until(1, "VOIDED");
    const label = easypost.easypost.bought.find(({ reference }) => reference?.startsWith(id));
    const body = JSON.stringify({ result: { shipment_id: label?.shipmentId } });
    const headers = { "X-Hmac-Signature": signatureOf(body, WEBHOOK_SECRET) };
    const send = () => fetch(`${line.api.url}/providers/carrier/webhook`, { method: "POST", body, headers });
    easypost.setFault({ kind: "down" });
    const refused = await send();
    easypost.setFault({ kind: "none" });
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
    expect((await send()).status).toBe(204);
  });
});
