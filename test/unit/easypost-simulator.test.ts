import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { listen } from "../../src/platform/listen.ts";
import { afterEach, describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { EasyPostClient } from "../../src/providers/easypost/client.ts";
import { startEasyPost } from "../../tools/simulators/easypost/server.ts";
import { shipmentSchema } from "../../tools/simulators/easypost/shipment.ts";
import { isJson } from "../../tools/simulators/easypost/shapes.ts";
import { waitFor } from "../support/wait-for.ts";

const HOUR_MS = 3_600_000;

const open: { close: () => unknown }[] = [];
afterEach(async () => void (await Promise.all(open.splice(0).map((each) => each.close()))));

async function start(options: Parameters<typeof startEasyPost>[0] = {}) {
  const server = await startEasyPost({ random: () => 0.5, behaviour: { transitMs: HOUR_MS }, ...options });
  open.push(server);
  const client = new EasyPostClient("EZTK-test", { baseUrl: server.baseUrl });
  const control = async (path: string, body: object) => {
    const response = await fetch(server.url + path, { method: "PUT", body: JSON.stringify(body) });
    return response.status;
  };
  return { ...server, client, control };
}

const FROM = {
  name: "Jack Sparrow",
  street1: "388 Townsend St",
  city: "San Francisco",
  state: "CA",
  zip: "94107",
  country: "US",
};
const TO = {
  name: "Elizabeth Swan",
  street1: "179 N Harbor Dr",
  city: "Redondo Beach",
  state: "CA",
  zip: "90277",
  country: "US",
};
const PARCEL = { length: 10, width: 8, height: 4, weight: 15.4 };
const SHIPMENT = { from_address: FROM, to_address: TO, parcel: PARCEL, reference: "r1" };

const event = z.object({ result: z.object({ status: z.string() }) });

/** A receiver of webhooks. */
async function receiver() {
  const received: { body: string; headers: Record<string, string> }[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      const headers = Object.entries(request.headers).map(([name, value]) => [name, String(value)]);
      received.push({ body, headers: Object.fromEntries(headers) });
      response.end();
    });
  });
  const url = await listen(server, { port: 0, host: "127.0.0.1", variable: "the port" });
  open.push(server);
  const statuses = () => received.map(({ body }) => event.parse(JSON.parse(body)).result.status);
  return { url, received, statuses };
}

describe("the simulated EasyPost, spoken to by EasyPost's own client", () => {
  test.each([
    ["parcelsLost", ["failure", "lost"]],
    ["parcelsReturned", ["return_to_sender", "return"]],
  ] as const)("has parcels end as %s says", async (fault, end) => {
    const { client, easypost } = await start({ behaviour: { transitMs: HOUR_MS, [fault]: 1 } });
    const { id, rates } = await client.Shipment.create(SHIPMENT);
    await client.Shipment.buy(id, rates[0]?.id ?? "");
    easypost.advance(HOUR_MS);
    const { tracker } = await client.Shipment.retrieve(id);
    expect([tracker.status, tracker.status_detail]).toEqual(end);
  });

  test("knows after a restart what it has sold, where it is, and what it took back", async () => {
    const lines: string[] = [];
    const keep = (shipment: object) => void lines.push(JSON.stringify(shipment));
    const first = await start({
      book: { entries: [], append: keep },
      behaviour: { transitMs: HOUR_MS, refundMs: HOUR_MS },
    });
    const ids = await Promise.all(
      ["a", "b", "c"].map(
        async (reference) => (await first.client.Shipment.create({ ...SHIPMENT, reference })).id,
      ),
    );
    const [sold = "", moved = "", back = ""] = ids;
    for (const id of ids) {
      const { rates } = await first.client.Shipment.retrieve(id);
      const { tracking_code } = await first.client.Shipment.buy(id, rates[0]?.id ?? "");
      if (id === moved) first.easypost.move(tracking_code, "in_transit", "departed_facility");
      if (id === back) await first.client.Shipment.refund(id);
    }
    const before = await Promise.all(ids.map((id) => first.client.Shipment.retrieve(id)));
    const entries = lines.map((line) => shipmentSchema.parse(JSON.parse(line)));
    const second = await start({ book: { entries, append: keep } });
    expect(await Promise.all(ids.map((id) => second.client.Shipment.retrieve(id)))).toEqual(before);
    expect((await second.client.Shipment.retrieve("a")).id).toBe(sold);
    await expect(second.client.Shipment.buy(sold, before[0]?.rates[0]?.id ?? "")).rejects.toMatchObject({
      code: "SHIPMENT.POSTAGE.EXISTS",
    });
    second.easypost.advance(HOUR_MS);
    const after = await Promise.all(ids.map((id) => second.client.Shipment.retrieve(id)));
    expect(after.map(({ tracker, refund_status }) => [tracker.status, refund_status])).toEqual([
      ["delivered", null],
      ["in_transit", null],
      ["cancelled", "refunded"],
    ]);
  });

  test("sells labels without an answer, on request", async () => {
    const { client, easypost } = await start({ behaviour: { purchasesUnanswered: 1 } });
    const { id, rates } = await client.Shipment.create(SHIPMENT);
    await expect(client.Shipment.buy(id, rates[0]?.id ?? "")).rejects.toThrow();
    expect((await client.Shipment.retrieve(id)).tracking_code).not.toBeNull();
    expect(easypost.counts).toEqual({ unanswered: 1, boughtAgain: 0 });
    await expect(client.Shipment.buy(id, rates[0]?.id ?? "")).rejects.toThrow();
    expect(easypost.bought).toHaveLength(1);
  });

  test("sells the label of a shipment once", async () => {
    const { client, easypost } = await start();
    const { id, rates, tracking_code } = await client.Shipment.create(SHIPMENT);
    expect([tracking_code, rates.map(({ service }) => service)]).toEqual([
      null,
      ["Express", "Priority", "GroundAdvantage"],
    ]);
    const bought = await client.Shipment.buy(id, rates[2]?.id ?? "");
    expect(bought.selected_rate.service).toBe("GroundAdvantage");
    await expect(client.Shipment.buy(id, rates[0]?.id ?? "")).rejects.toMatchObject({
      statusCode: 422,
      code: "SHIPMENT.POSTAGE.EXISTS",
    });
    expect((await client.Shipment.retrieve(id)).tracking_code).toBe(bought.tracking_code);
    expect(easypost.bought).toMatchObject([{ shipmentId: id, reference: "r1", rate: "5.93" }]);
  });

  test("sells a second shipment to whoever asks again instead of looking it up", async () => {
    const { client, easypost, setFault } = await start();
    setFault({ kind: "lost-reply", rate: 1 });
    await expect(client.Shipment.create(SHIPMENT)).rejects.toThrow();
    setFault({ kind: "none" });
    const second = await client.Shipment.create(SHIPMENT);
    const first = await client.Shipment.retrieve("r1");
    expect(first.id).not.toBe(second.id);
    for (const { id, rates } of [first, second]) await client.Shipment.buy(id, rates[0]?.id ?? "");
    expect(easypost.bought.map(({ reference }) => reference)).toEqual(["r1", "r1"]);
  });

  test("checks addresses if asked to, and refuses what it can't deliver to", async () => {
    const { client } = await start();
    const bad = { ...TO, street1: "nowhere" };
    const shipment = await client.Shipment.create({
      ...SHIPMENT,
      to_address: { ...bad, verify: ["delivery"] },
    });
    expect(shipment.to_address.verifications.delivery).toMatchObject({
      success: false,
      errors: [{ code: "E.ADDRESS.NOT_FOUND" }, { code: "E.HOUSE_NUMBER.MISSING" }],
    });
    await expect(
      client.Shipment.create({ ...SHIPMENT, to_address: { ...bad, verify_strict: ["delivery"] } }),
    ).rejects.toMatchObject({ statusCode: 422, code: "ADDRESS.VERIFY.FAILURE" });
    const checked = await client.Shipment.create({
      ...SHIPMENT,
      to_address: { ...TO, verify: ["delivery"] },
    });
    expect(checked.to_address.verifications.delivery.success).toBe(true);
  });

  test("has no rates for another country without customs data", async () => {
    const { client } = await start();
    const abroad = { ...SHIPMENT, to_address: { ...TO, country: "CA" } };
    const without = await client.Shipment.create(abroad);
    expect([without.rates, without.messages.length]).toEqual([[], 1]);
    const customs_info = { customs_items: [{ description: "Shirt", quantity: 1, weight: 5, value: 10 }] };
    expect((await client.Shipment.create({ ...abroad, customs_info })).rates).toHaveLength(3);
  });

  test("refunds what was not used: at once, after days, never", async () => {
    const { client, easypost, control } = await start();
    const buy = async () => {
      const { id, rates } = await client.Shipment.create(SHIPMENT);
      return client.Shipment.buy(id, rates[0]?.id ?? "");
    };
    const first = await buy();
    expect((await client.Shipment.refund(first.id)).refund_status).toBe("refunded");

    await control("/behaviour", { refundMs: 24 * HOUR_MS, refundsRejected: 1 });
    const second = await buy();
    expect((await client.Shipment.refund(second.id)).refund_status).toBe("submitted");
    easypost.advance(25 * HOUR_MS);
    expect((await client.Shipment.retrieve(second.id)).refund_status).toBe("rejected");

    const third = await buy();
    easypost.advance(HOUR_MS / 2);
    await expect(client.Shipment.refund(third.id)).rejects.toMatchObject({
      code: "SHIPMENT.REFUND.UNAVAILABLE",
    });
  });

  test("moves parcels on its clock, and where it is told", async () => {
    const { client, control } = await start();
    const { id, rates } = await client.Shipment.create(SHIPMENT);
    const { tracking_code, status } = await client.Shipment.buy(id, rates[0]?.id ?? "");
    const seen: string[] = [status];
    for (const minutes of [10, 10, 30, 20]) {
      await control("/clock", { advanceMs: minutes * 60_000 });
      seen.push((await client.Shipment.retrieve(id)).status);
    }
    expect(seen).toEqual(["unknown", "pre_transit", "in_transit", "out_for_delivery", "delivered"]);
    expect(await control(`/parcels/${tracking_code}`, { status: "return_to_sender" })).toBe(200);
    const { tracker } = await client.Shipment.retrieve(id);
    expect([tracker.status, tracker.tracking_details.length]).toEqual(["return_to_sender", 5]);
    expect(await control("/parcels/unknown", { status: "delivered" })).toBe(404);
    expect(await control(`/parcels/${tracking_code}`, { status: "eaten" })).toBe(400);
  });

  test.each([
    ["EZ1000000001", "pre_transit"],
    ["EZ2000000002", "in_transit"],
    ["EZ3000000003", "out_for_delivery"],
    ["EZ4000000004", "delivered"],
    ["EZ5000000005", "return_to_sender"],
    ["EZ6000000006", "failure"],
    ["EZ7000000007", "unknown"],
  ])("has the test tracking code %s: %s", async (tracking_code, status) => {
    const { client } = await start();
    const tracker = await client.Tracker.create({ tracking_code });
    expect((await client.Tracker.retrieve(tracker.id)).status).toBe(status);
  });

  test("refuses a key that it does not know, and a request without one", async () => {
    const { baseUrl } = await start({ keys: ["EZTK-other"] });
    const client = new EasyPostClient("EZTK-test", { baseUrl });
    await expect(client.Shipment.create(SHIPMENT)).rejects.toMatchObject({
      statusCode: 403,
      code: "APIKEY.INACTIVE",
    });
    expect((await fetch(`${baseUrl}shipments`)).status).toBe(401);
  });

  test("signs its webhooks as EasyPost's client checks them", async () => {
    const { client, easypost } = await start();
    const { url, received, statuses } = await receiver();
    await client.Webhook.create({ url, webhook_secret: "sécret" });
    const { id, rates } = await client.Shipment.create(SHIPMENT);
    await client.Shipment.buy(id, rates[0]?.id ?? "");
    easypost.advance(2 * HOUR_MS);
    await waitFor("all arrive", () => received.length === 5);
    expect(new Set(statuses())).toEqual(
      new Set(["delivered", "in_transit", "out_for_delivery", "pre_transit", "unknown"]),
    );
    for (const { body, headers } of received) {
      expect(client.Utils.validateWebhook(Buffer.from(body), headers, "sécret")).toMatchObject({
        result: { shipment_id: id },
      });
      expect(() => client.Utils.validateWebhook(Buffer.from(body), headers, "other")).toThrow();
    }
  });

  test("loses, doubles and delays webhooks on request, so that later ones overtake them", async () => {
    // The first decides about doubling, the next two about loss and delay.
    const { client, easypost, control } = await start({ random: () => 0.5 });
    const { url, statuses } = await receiver();
    await client.Webhook.create({ url, webhook_secret: "s" });
    const { id, rates } = await client.Shipment.create(SHIPMENT);
    const { tracking_code } = await client.Shipment.buy(id, rates[0]?.id ?? "");
    await waitFor("one arrives", () => statuses().length === 1);

    await control("/behaviour", { webhooks: { lost: 0, doubled: 1, late: 0, lateMs: 0 } });
    easypost.move(tracking_code, "in_transit", "x");
    await waitFor("both arrive", () => statuses().length === 3);

    await control("/behaviour", { webhooks: { lost: 0, doubled: 0, late: 1, lateMs: 300 } });
    easypost.move(tracking_code, "out_for_delivery", "x");
    await control("/behaviour", { webhooks: { lost: 0, doubled: 0, late: 0, lateMs: 0 } });
    easypost.move(tracking_code, "delivered", "x");
    await waitFor("both arrive", () => statuses().length === 5);
    expect(statuses().slice(3)).toEqual(["delivered", "out_for_delivery"]);

    await control("/behaviour", { webhooks: { lost: 1, doubled: 0, late: 0, lateMs: 0 } });
    easypost.move(tracking_code, "failure", "x");
    await control("/behaviour", { webhooks: { lost: 0, doubled: 0, late: 0, lateMs: 0 } });
    easypost.move(tracking_code, "error", "x");
    await waitFor("the next one arrives", () => statuses().includes("error"));
    expect(statuses()).not.toContain("failure");
  });

  test("sends webhooks before the answer to the call that causes them, on request", async () => {
    const { client, control } = await start();
    const { url, statuses } = await receiver();
    await client.Webhook.create({ url, webhook_secret: "s" });
    await control("/behaviour", { webhooks: { lost: 0, doubled: 0, early: 1, late: 0, lateMs: 0 } });
    const { id, rates } = await client.Shipment.create(SHIPMENT);
    await client.Shipment.buy(id, rates[0]?.id ?? "");
    expect(statuses()).toEqual(["unknown"]);
    await client.Shipment.refund(id);
    expect(statuses().slice(0, 2)).toEqual(["unknown", "cancelled"]);
  });

  test("prices a shipment anew, and no longer sells it at the prices of before", async () => {
    const { client } = await start();
    const { id, rates } = await client.Shipment.create(SHIPMENT);
    await client.Shipment.regenerateRates(id);
    await expect(client.Shipment.buy(id, rates[0]?.id ?? "")).rejects.toThrow();
    const { rates: now } = await client.Shipment.retrieve(id);
    expect((await client.Shipment.buy(id, now[0]?.id ?? "")).tracking_code).toBeTruthy();
  });

  test("offers nothing for what USPS does not take", async () => {
    const { client } = await start();
    const { rates, messages } = await client.Shipment.create({ ...SHIPMENT, parcel: { weight: 1_121 } });
    expect([rates, messages.length]).toEqual([[], 1]);
  });
});

/** Recorded with the real service, outside the repository: `EASYPOST_RECORDINGS` has the path. */
const FILE = "shared/data/easypost-recordings.json";
const RECORDINGS =
  process.env["EASYPOST_RECORDINGS"] ?? [`../${FILE}`, `../../${FILE}`].find(existsSync) ?? `../${FILE}`;

const exchanges = z.record(
  z.string(),
  z.array(
    z.object({
      request: z.object({ method: z.string(), path: z.string(), body: z.unknown() }),
      response: z.object({ status: z.number(), body: z.unknown() }),
    }),
  ),
);

function recordings() {
  if (!existsSync(RECORDINGS)) return [];
  return Object.entries(exchanges.parse(JSON.parse(readFileSync(RECORDINGS, "utf8"))));
}

/** The shape of a value: its keys and types. What may be null has the other type. */
function faultsOf(simulated: unknown, recorded: unknown, path: string): string[] {
  if (recorded === null || simulated === null) return [];
  if (Array.isArray(recorded) && Array.isArray(simulated)) {
    const [first]: unknown[] = simulated;
    const [theirs]: unknown[] = recorded;
    return first === undefined || theirs === undefined ? [] : faultsOf(first, theirs, `${path}[0]`);
  }
  if (isJson(recorded) && isJson(simulated)) {
    const keys = new Set([...Object.keys(recorded), ...Object.keys(simulated)]);
    return [...keys].flatMap((key) => {
      if (!(key in simulated)) return [`${path}.${key} is missing`];
      if (!(key in recorded)) return [`${path}.${key} is not EasyPost's`];
      return faultsOf(simulated[key], recorded[key], `${path}.${key}`);
    });
  }
  return typeof simulated === typeof recorded
    ? []
    : [`${path} is ${typeof simulated}, not ${typeof recorded}`];
}

describe("the simulated EasyPost, against recorded exchanges", () => {
  const recorded = recordings();
  if (recorded.length === 0) {
    test.skip(`no recordings at ${RECORDINGS}: the shapes are not compared`, () => undefined);
    return;
  }
  test.each(recorded)("answers like EasyPost: %s", async (_, recordedExchanges) => {
    const { url, client } = await start();
    // Something for the events to tell of.
    await client.Tracker.create({ tracking_code: "EZ2000000002" });
    const ids = new Map<string, string>();
    for (const { request, response } of recordedExchanges) {
      let path = request.path;
      let text = JSON.stringify(request.body);
      for (const [theirs, ours] of ids) {
        path = path.replaceAll(theirs, ours);
        text = text.replaceAll(theirs, ours);
      }
      const answer = await fetch(url + path, {
        method: request.method,
        headers: { Authorization: `Basic ${Buffer.from("EZTK:").toString("base64")}` },
        ...(request.method === "POST" && { body: text }),
      });
      const body: unknown = await answer.json();
      expect(answer.status).toBe(response.status);
      expect(faultsOf(body, response.body, "")).toEqual([]);
      if (isJson(body) && isJson(body["error"]) && isJson(response.body))
        expect(body["error"]).toEqual(response.body["error"]);
      collect(ids, response.body, body);
    }
  });
});

/** Maps the recorded ids to the simulated ones, by their place. */
function collect(ids: Map<string, string>, recorded: unknown, simulated: unknown): void {
  if (typeof recorded === "string" && typeof simulated === "string") {
    if (/^[a-z]+_[0-9a-f]{32}$/.test(recorded)) ids.set(recorded, simulated);
  } else if (Array.isArray(recorded) && Array.isArray(simulated)) {
    recorded.forEach((each, index) => collect(ids, each, simulated[index]));
  } else if (isJson(recorded) && isJson(simulated)) {
    for (const key of Object.keys(recorded)) collect(ids, recorded[key], simulated[key]);
  }
}
