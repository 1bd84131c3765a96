import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import type { Holding } from "../../../db/reservations.ts";
import { findStock, setStock, StockReservedError } from "../../../db/stock.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { releaseStock, reserveStock, shipStock } from "../../support/stock.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

let count = 0;
/** A SKU that no other test knows. */
async function stocked(onHand: number): Promise<string> {
  const sku = `sku-${++count}`;
  await setStock(environment.database, [{ sku, onHand }]);
  return sku;
}

/** What an order wants, as `[sku, quantity]`. */
function holding(...wanted: [string, number][]): Holding {
  const orderId = `order-${++count}`;
  return { orderId, lines: wanted.map(([sku, quantity]) => ({ sku, quantity, unitPrice: 1 })) };
}

async function level(sku: string): Promise<{ onHand: number; reserved: number }> {
  const [found] = await findStock(environment.database, [sku]);
  if (found === undefined) throw new Error(`there is no ${sku}`);
  return { onHand: found.onHand, reserved: found.reserved };
}

describe("stock", () => {
  test("is set for known and new SKUs together, and told apart by case", async () => {
    const sku = await stocked(5);
    await setStock(environment.database, [
      { sku, onHand: 9 },
      { sku: sku.toUpperCase(), onHand: 1 },
    ]);
    expect(await findStock(environment.database, [sku.toUpperCase(), "unknown", sku])).toEqual([
      { sku: sku.toUpperCase(), onHand: 1, reserved: 0 },
      undefined,
      { sku, onHand: 9, reserved: 0 },
    ]);
  });

  test("is not set below what is reserved, and then nothing changes", async () => {
    const [sku, other] = [await stocked(5), await stocked(5)];
    await reserveStock(environment.database, [holding([sku, 4])]);
    const lower = setStock(environment.database, [
      { sku: other, onHand: 1 },
      { sku, onHand: 3 },
    ]);
    await expect(lower).rejects.toThrow(StockReservedError);
    await expect(lower).rejects.toThrow(`4 of ${sku}`);
    expect(await level(sku)).toEqual({ onHand: 5, reserved: 4 });
    expect(await level(other)).toEqual({ onHand: 5, reserved: 0 });
    await setStock(environment.database, [{ sku, onHand: 4 }]);
    expect(await level(sku)).toEqual({ onHand: 4, reserved: 4 });
  });
});

describe("a reservation", () => {
  test("takes all lines, counting a SKU over all of them", async () => {
    const [a, b] = [await stocked(5), await stocked(5)];
    expect(await reserveStock(environment.database, [holding([a, 2], [b, 5], [a, 3])])).toEqual([
      { ok: true },
    ]);
    expect(await level(a)).toEqual({ onHand: 5, reserved: 5 });
    expect(await level(b)).toEqual({ onHand: 5, reserved: 5 });
  });

  test("takes nothing when one line falls short, and names every SKU that does", async () => {
    const [a, b] = [await stocked(5), await stocked(1)];
    const reservations = await reserveStock(environment.database, [
      holding([a, 2], [b, 2], ["no-such-sku", 1]),
    ]);
    expect(reservations).toEqual([{ ok: false, soldOut: ["no-such-sku", b] }]);
    expect(await level(a)).toEqual({ onHand: 5, reserved: 0 });
  });

  test("goes to the first of those in one batch", async () => {
    const sku = await stocked(5);
    const reservations = await reserveStock(
      environment.database,
      [3, 3, 2, 1].map((pieces) => holding([sku, pieces])),
    );
    expect(reservations.map((reservation) => reservation.ok)).toEqual([true, false, true, false]);
    expect(await level(sku)).toEqual({ onHand: 5, reserved: 5 });
  });

  test("is made once for an order, however often it is asked for", async () => {
    const sku = await stocked(5);
    const order = holding([sku, 2]);
    expect(await reserveStock(environment.database, [order, order])).toEqual([{ ok: true }, { ok: true }]);
    await Promise.all(Array.from({ length: 5 }, () => reserveStock(environment.database, [order])));
    expect(await level(sku)).toEqual({ onHand: 5, reserved: 2 });
  });

  test("never sells a piece twice, whatever runs at once", async () => {
    const skus = await Promise.all(Array.from({ length: 6 }, () => stocked(20)));
    const orders = Array.from({ length: 120 }, (_, index) =>
      holding([skus[index % 6] ?? "", 1], [skus[(index * 5 + 1) % 6] ?? "", 1]),
    );
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, (_, batch) =>
        reserveStock(environment.database, orders.slice(batch * 10, batch * 10 + 10)),
      ),
    );
    const sold = orders.filter((_, index) => outcomes.flat()[index]?.ok);
    for (const sku of skus) {
      const pieces = sold.flatMap((order) => order.lines).filter((line) => line.sku === sku).length;
      expect(await level(sku)).toEqual({ onHand: 20, reserved: pieces });
    }
    expect(sold.length).toBe(60);
  });

  test("leaves the warehouse once when it is shipped", async () => {
    const sku = await stocked(5);
    const order = holding([sku, 2]);
    await reserveStock(environment.database, [order]);
    await shipStock(environment.database, [order]);
    await shipStock(environment.database, [order]);
    expect(await level(sku)).toEqual({ onHand: 3, reserved: 0 });
    expect(await reserveStock(environment.database, [order])).toEqual([{ ok: true }]);
    expect(await level(sku)).toEqual({ onHand: 3, reserved: 0 });
  });

  test("cannot be shipped when there is none", async () => {
    const sku = await stocked(5);
    await expect(shipStock(environment.database, [holding([sku, 1])])).rejects.toThrow(
      "holds no reservation",
    );
    expect(await level(sku)).toEqual({ onHand: 5, reserved: 0 });
  });

  test.each([
    ["held", false],
    ["shipped", true],
  ])("is given back once when it was %s", async (_, shipped) => {
    const sku = await stocked(5);
    const order = holding([sku, 2]);
    await reserveStock(environment.database, [order]);
    if (shipped) await shipStock(environment.database, [order]);
    await releaseStock(environment.database, [order]);
    await releaseStock(environment.database, [order]);
    expect(await level(sku)).toEqual({ onHand: 5, reserved: 0 });
  });

  test("is refused for an order that was released before", async () => {
    const sku = await stocked(5);
    const order = holding([sku, 2]);
    await releaseStock(environment.database, [order]);
    await expect(reserveStock(environment.database, [order])).rejects.toThrow("was released");
    expect(await level(sku)).toEqual({ onHand: 5, reserved: 0 });
  });

  test("keeps the stock right through any sequence of steps", async () => {
    const step = fc.record({
      order: fc.nat(5),
      does: fc.constantFrom("reserve", "ship", "release"),
      pieces: fc.integer({ min: 1, max: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const sku = await stocked(8);
        const orders = Array.from({ length: 6 }, (_, index) => holding([sku, 1 + (index % 4)]));
        const books = new Map<string, "held" | "shipped" | "released">();
        for (const { order: index, does } of steps) {
          const order = orders[index] ?? holding([sku, 1]);
          const pieces = (id: string) => orders.find((each) => each.orderId === id)?.lines[0]?.quantity ?? 0;
          const taken = [...books]
            .filter(([, state]) => state !== "released")
            .reduce((sum, [id]) => sum + pieces(id), 0);
          const state = books.get(order.orderId);
          if (does === "reserve") {
            const outcome = await reserveStock(environment.database, [order]).catch(() => undefined);
            const fits = taken + pieces(order.orderId) <= 8;
            expect(outcome?.[0]?.ok).toBe(
              state === "released" ? undefined : state === undefined ? fits : true,
            );
            if (state === undefined && fits) books.set(order.orderId, "held");
          } else if (does === "ship") {
            const shipped = await shipStock(environment.database, [order]).then(
              () => true,
              () => false,
            );
            expect(shipped).toBe(state === "held" || state === "shipped");
            if (shipped) books.set(order.orderId, "shipped");
          } else {
            await releaseStock(environment.database, [order]);
            books.set(order.orderId, "released");
          }
          const sum = (which: string) =>
            [...books].filter(([, each]) => each === which).reduce((total, [id]) => total + pieces(id), 0);
          expect(await level(sku)).toEqual({ onHand: 8 - sum("shipped"), reserved: sum("held") });
        }
      }),
      { numRuns: 30 },
    );
  });
});
