import { describe, expect, test } from "@jest/globals";
import type { StockBody } from "../../../src/api/schemas.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { API_LIMITS } from "../../../src/api/limits.ts";
import { useApi } from "../../support/api.ts";
import { newOrder } from "../../support/orders.ts";
import { releaseStock, reserveStock } from "../../support/stock.ts";

const api = useApi();

let made = 0;
/** A SKU that no other test knows. */
function newSku(): string {
  made += 1;
  return `SKU-${made}`;
}

function reserve(sku: string, quantity: number) {
  const order = { orderId: newOrder().id, lines: [{ sku, quantity, unitPrice: 1 }] };
  return reserveStock(api.environment.database, [order]).then(() => order);
}

async function levels(...skus: string[]): Promise<StockBody[]> {
  return Promise.all(
    skus.map(async (sku) => (await api.client.get(`/stock/${encodeURIComponent(sku)}`)).body),
  );
}

function unreserved(sku: string, onHand: number): StockBody {
  return { sku, onHand, reserved: 0, available: onHand };
}

describe("PUT and GET /stock/:sku", () => {
  test("sets what is on hand, of a new SKU and of a known one", async () => {
    const sku = newSku();
    for (const onHand of [7, 0, LIMITS.onHand]) {
      const answer = await api.client.put(`/stock/${sku}`, { onHand });
      expect(answer).toMatchObject({ status: 200, body: unreserved(sku, onHand) });
      expect(await levels(sku)).toEqual([answer.body]);
    }
  });

  test("shows what is reserved and what is available", async () => {
    const sku = newSku();
    await api.client.put(`/stock/${sku}`, { onHand: 10 });
    const order = await reserve(sku, 3);
    expect(await levels(sku)).toEqual([{ sku, onHand: 10, reserved: 3, available: 7 }]);
    expect((await api.client.put(`/stock/${sku}`, { onHand: 12 })).body.available).toBe(9);
    await releaseStock(api.environment.database, [order]);
    expect(await levels(sku)).toEqual([unreserved(sku, 12)]);
  });

  test("goes down to what is reserved and not below, and says so", async () => {
    const sku = newSku();
    await api.client.put(`/stock/${sku}`, { onHand: 10 });
    await reserve(sku, 4);

    const refused = await api.client.put(`/stock/${sku}`, { onHand: 3 });

    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({
      type: "urn:conveyor:problem:stock-reserved",
      status: 409,
      detail: `reserved already: 4 of ${sku}`,
    });
    expect(await levels(sku)).toEqual([{ sku, onHand: 10, reserved: 4, available: 6 }]);
    expect((await api.client.put(`/stock/${sku}`, { onHand: 4 })).body.available).toBe(0);
  });

  test("answers 404 for a SKU that was never set", async () => {
    const { status, body } = await api.client.get("/stock/NOBODY-HAS-IT");
    expect(status).toBe(404);
    expect(body).toMatchObject({
      type: "urn:conveyor:problem:not-found",
      detail: "there is no SKU NOBODY-HAS-IT",
    });
  });

  test.each(["a/b", "Ž 100% ?&#+", "😀".repeat(LIMITS.identifier), "select '", 'quote"d', "__proto__"])(
    "takes the SKU %s",
    async (sku) => {
      await api.client.put(`/stock/${encodeURIComponent(sku)}`, { onHand: 5 });
      expect(await levels(sku)).toEqual([unreserved(sku, 5)]);
    },
  );

  test("tells SKUs apart that differ in case, accent or composition", async () => {
    const skus = ["mug", "MUG", "müg", "mu\u0308g"];
    for (const [index, sku] of skus.entries()) {
      await api.client.put(`/stock/${encodeURIComponent(sku)}`, { onHand: index });
    }
    expect(await levels(...skus)).toEqual(skus.map((sku, index) => unreserved(sku, index)));
  });

  test.each([
    ["%00", /control characters/],
    ["%0A", /control characters/],
    ["%20", /begin or end with a space/],
    ["A%20", /begin or end with a space/],
    ["x".repeat(LIMITS.identifier + 1), /<=64 characters/],
    [encodeURIComponent("😀".repeat(LIMITS.identifier + 1)), /<=64 characters/],
  ])("refuses the SKU %s by its name", async (sku, message) => {
    const read = await api.client.get(`/stock/${sku}`);
    const set = await api.client.put(`/stock/${sku}`, { onHand: 1 });
    for (const { status, body } of [read, set]) {
      expect(status).toBe(400);
      expect(body.errors).toContainEqual({ path: "sku", message: expect.stringMatching(message) });
    }
  });

  test.each<[unknown, string, RegExp]>([
    [{ onHand: -1 }, "onHand", />=0/],
    [{ onHand: LIMITS.onHand + 1 }, "onHand", /<=1000000000/],
    [{ onHand: 1.5 }, "onHand", /int/],
    [{ onHand: "5" }, "onHand", /number/],
    [{ onHand: null }, "onHand", /number/],
    [{}, "onHand", /is missing/],
    [{ onHand: 1, reserved: 0 }, "reserved", /is not a field/],
    [[], "", /object/],
    ["5", "", /object/],
  ])("refuses the level %j", async (level, path, message) => {
    const { status, body } = await api.client.put("/stock/REFUSED", JSON.stringify(level));
    expect(status).toBe(422);
    expect(body.errors).toEqual([{ path, message: expect.stringMatching(message) }]);
    expect((await api.client.get("/stock/REFUSED")).status).toBe(404);
  });
});

describe("POST /stock", () => {
  function set(items: unknown) {
    return api.client.post<{ items: StockBody[]; errors?: unknown }>("/stock", { items });
  }

  test("sets many at once, and answers in the order asked", async () => {
    const [a, b, c] = [newSku(), newSku(), newSku()];
    await set([{ sku: b, onHand: 1 }]);
    const answer = await set([
      { sku: c, onHand: 3 },
      { sku: a, onHand: 0 },
      { sku: b, onHand: 2 },
    ]);
    expect(answer).toMatchObject({
      status: 200,
      body: { items: [unreserved(c, 3), unreserved(a, 0), unreserved(b, 2)] },
    });
    expect(await levels(c, a, b)).toEqual(answer.body.items);
  });

  test("changes nothing when one of them falls below what is reserved", async () => {
    const [known, short, fresh] = [newSku(), newSku(), newSku()];
    await set([
      { sku: known, onHand: 5 },
      { sku: short, onHand: 5 },
    ]);
    await reserve(short, 2);

    const refused = await set([
      { sku: fresh, onHand: 9 },
      { sku: short, onHand: 1 },
      { sku: known, onHand: 9 },
    ]);

    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({ detail: `reserved already: 2 of ${short}` });
    expect(await levels(known, short)).toEqual([
      unreserved(known, 5),
      { sku: short, onHand: 5, reserved: 2, available: 3 },
    ]);
    expect((await api.client.get(`/stock/${fresh}`)).status).toBe(404);
  });

  test("refuses a SKU that stands there twice, at its place, and changes nothing", async () => {
    const [a, b] = [newSku(), newSku()];
    const refused = await set([
      { sku: a, onHand: 1 },
      { sku: b, onHand: 1 },
      { sku: a, onHand: 1 },
      { sku: b, onHand: 2 },
    ]);
    expect(refused.status).toBe(422);
    expect(refused.body.errors).toEqual([
      { path: "items[2].sku", message: "is already at items[0]" },
      { path: "items[3].sku", message: "is already at items[1]" },
    ]);
    expect((await api.client.get(`/stock/${a}`)).status).toBe(404);
  });

  test("lists every fault of every item", async () => {
    const { status, body } = await set([{ sku: "", onHand: -1 }, 5, { sku: "A", onHand: 1, more: 1 }]);
    expect(status).toBe(422);
    expect(body.errors).toEqual([
      { path: "items[0].sku", message: expect.stringMatching(/>=1/) },
      { path: "items[0].onHand", message: expect.stringMatching(/>=0/) },
      { path: "items[1]", message: expect.stringMatching(/object/) },
      { path: "items[2].more", message: "is not a field of this request" },
    ]);
  });

  test("takes as many as the limit allows, and not one more or none", async () => {
    const items = Array.from({ length: API_LIMITS.stockItems + 1 }, (_, index) => ({
      sku: `M-${index}`,
      onHand: index,
    }));
    const most = await set(items.slice(1));
    expect(most.status).toBe(200);
    expect(most.body.items).toHaveLength(API_LIMITS.stockItems);
    for (const refused of [await set(items), await set([])]) {
      expect(refused.status).toBe(422);
      expect(refused.body.errors).toEqual([{ path: "items", message: expect.stringMatching(/items$/) }]);
    }
    expect((await api.client.get("/stock/M-0")).status).toBe(404);
  });

  test("answers all who set the same SKUs at once, in any order", async () => {
    const skus = Array.from({ length: 20 }, newSku);
    const asked = Array.from({ length: 24 }, (_, round) =>
      (round % 2 ? skus : skus.toReversed()).map((sku) => ({ sku, onHand: round })),
    );
    const answers = await Promise.all(asked.map(set));
    expect(answers.map((answer) => answer.status)).toEqual(asked.map(() => 200));
    // All or none: the last one to come stands in every SKU.
    expect(new Set((await levels(...skus)).map((level) => level.onHand)).size).toBe(1);
  });
});
