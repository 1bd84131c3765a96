import { afterEach, describe, expect, test } from "@jest/globals";
import { z } from "zod";
import { EasyPostClient } from "../../../src/providers/easypost/client.ts";
import { faultOf } from "../../../tools/chaos/faults.ts";
import { SENDER } from "../../../tools/simulators/easypost/sender.ts";
import { startEasyPost } from "../../../tools/simulators/easypost/server.ts";
import { startProviders } from "../../../tools/simulators/providers.ts";

const open: { close: () => unknown }[] = [];
afterEach(async () => void (await Promise.all(open.splice(0).map((each) => each.close()))));

const ORDERS = Array.from(
  { length: 30 },
  (_, index) => `01900000-0000-7000-8000-${String(index).padStart(12, "0")}`,
);
const ADDRESS = { name: "A", street1: "1 Main St", city: "Springfield", zip: "62701", country: "US" };

/** About a third. */
function expectThird(hit: readonly string[]): void {
  expect(hit.length).toBeGreaterThan(ORDERS.length / 6);
  expect(hit.length).toBeLessThan(ORDERS.length / 2);
}

describe("a carrier that is poisoned for a third of the orders", () => {
  test("answers 500 to every call about these, also those by its own ids, and serves all others (EasyPost)", async () => {
    const server = await startEasyPost();
    open.push(server);
    const client = new EasyPostClient("EZTKtest", { baseUrl: server.baseUrl });
    const from_address = { ...ADDRESS, name: SENDER.name };
    const create = (orderId: string) =>
      client.Shipment.create({
        reference: `${orderId}:ship`,
        to_address: ADDRESS,
        from_address,
        parcel: { weight: 16 },
      });
    const known = new Map<string, Awaited<ReturnType<typeof create>>>();
    for (const id of ORDERS) known.set(id, await create(id));
    const isServed = (work: () => Promise<unknown>) =>
      work().then(
        () => true,
        () => false,
      );
    const servedOf = async (id: string) => {
      const shipment = known.get(id);
      return Promise.all([
        isServed(() => create(id)),
        isServed(() => client.Shipment.retrieve(shipment?.id ?? "")),
        isServed(() => client.Shipment.retrieve(`${id}:ship`)),
        isServed(() => client.Shipment.buy(shipment?.id ?? "", shipment?.rates[0]?.id ?? "")),
      ]);
    };
    server.setFault(faultOf("carrier-poisoned"));
    const hit: string[] = [];
    for (const id of ORDERS) {
      const served = await servedOf(id);
      expect(new Set(served).size).toBe(1);
      if (!served[0]) hit.push(id);
    }
    expectThird(hit);
    expect(server.easypost.bought).toHaveLength(ORDERS.length - hit.length);
    server.setFault(faultOf("carrier-poisoned"));
    // The same ones each time, until it ends.
    for (const id of hit) expect(await isServed(() => create(id))).toBe(false);
    server.setFault({ kind: "none" });
    for (const id of hit) expect(await servedOf(id)).toEqual([true, true, true, true]);
  });

  test("answers 500 to every call about these, and serves all others (over HTTP)", async () => {
    const providers = await startProviders();
    open.push(providers);
    const call = async (orderId: string, operation: string) => {
      const response = await fetch(providers.carrierUrl, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "webhook-id": `${orderId}:${operation}`,
          "webhook-timestamp": String(Math.floor(Date.now() / 1_000)),
        },
        body: JSON.stringify({
          operation,
          orderId,
          trackingNumber: "none",
          labelKey: `${orderId}:create-label`,
        }),
      });
      await response.arrayBuffer();
      return response.status;
    };
    providers.setFault("carrier", faultOf("carrier-poisoned"));
    const statuses = new Map<string, number>();
    for (const id of ORDERS) statuses.set(id, await call(id, "create-label"));
    const hit = ORDERS.filter((id) => statuses.get(id) === 500);
    expectThird(hit);
    const rest = ORDERS.filter((id) => !hit.includes(id));
    expect(new Set(rest.map((id) => statuses.get(id)))).toEqual(new Set([200]));
    for (const id of hit) expect(await call(id, "void-label")).toBe(500);
    providers.setFault("carrier", { kind: "none" });
    for (const id of hit) expect(await call(id, "create-label")).toBe(200);
    expect(z.array(z.object({ orderId: z.string() })).parse(providers.books.labels)).toHaveLength(
      ORDERS.length,
    );
  });
});
