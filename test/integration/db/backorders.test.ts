import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { asc } from "drizzle-orm";
import { filling } from "../../../db/backorders.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { moveStock } from "../../../db/reservations.ts";
import { backorders, reservations } from "../../../db/schema.ts";
import { adjustStock } from "../../../db/stock-adjustments.ts";
import { findStock, setStock } from "../../../db/stock.ts";
import { applyTransitions } from "../../../db/transitions.ts";
import type { NewOrder } from "../../../src/order/order.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { newOrder } from "../../support/orders.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

const line = (sku: string, quantity: number) => ({ sku, quantity, unitPrice: 1 });
const waiting = (...lines: NewOrder["lines"]) => newOrder({ lines, whenSoldOut: "wait" });

/** As a worker does it for the stage `reserve`. @returns what was sold out for each. */
async function reserve(orders: readonly NewOrder[]) {
  const results = await applyTransitions(
    environment.database,
    orders.map(({ id, lines }) => ({
      orderId: id,
      from: "CREATED",
      to: "RESERVED",
      stage: "reserve",
      reason: null,
      record: {},
      unlessCancelled: false,
      stock: { operation: "reserve" as const, lines, orWait: true },
      at: new Date(),
    })),
  );
  return results.map(({ soldOut }) => soldOut);
}

async function arrive(sku: string, delta: number): Promise<string[]> {
  const filled: string[] = [];
  const adjustment = { sku, delta, reason: "delivery", reference: null, actor: "test", idempotency: null };
  await filling(
    environment.database,
    (alsoCommit) => adjustStock(environment.database, adjustment, alsoCommit),
    { onFilled: (ids) => filled.push(...ids) },
  );
  return filled;
}

async function reservedIds(): Promise<Set<string>> {
  const rows = await environment.database.query((queries) => queries.select().from(reservations));
  return new Set(rows.filter(({ state }) => state === "HELD").map(({ orderId }) => orderId));
}

test("300 orders for 100 pieces that come in tens: the oldest that can be filled entirely goes first", async () => {
  // Of one to four pieces; every fifth needs something besides that never comes, every seventh more than comes at once.
  const orders = Array.from({ length: 300 }, (_, index) =>
    index % 5 === 0
      ? waiting(line("TEN", 2), line("NEVER", 1))
      : waiting(line("TEN", index % 7 === 0 ? 13 : 1 + (index % 4))),
  );
  await createOrders(environment.database, orders);
  for (let start = 0; start < orders.length; start += 60)
    expect(
      (await reserve(orders.slice(start, start + 60))).every((soldOut) => soldOut?.includes("TEN")),
    ).toBe(true);

  let left = 0;
  const open = new Set(orders);
  for (let round = 0; round < 10; round++) {
    const filled = await arrive("TEN", 10);
    left += 10;
    const expected: string[] = [];
    for (const order of open) {
      const [{ quantity } = { quantity: 0 }, other] = order.lines;
      if (other !== undefined || quantity > left) continue;
      left -= quantity;
      open.delete(order);
      expected.push(order.id);
    }
    expect(filled).toEqual(expected);
    const [level] = await findStock(environment.database, ["TEN"]);
    expect(level).toEqual({ sku: "TEN", onHand: 10 * (round + 1), reserved: 10 * (round + 1) - left });
  }
  expect(left).toBeGreaterThanOrEqual(0);
  const held = await reservedIds();
  expect(new Set(orders.filter((order) => !open.has(order)).map(({ id }) => id))).toEqual(held);
  const rows = await environment.database.query((queries) =>
    queries.selectDistinct({ orderId: backorders.orderId }).from(backorders).orderBy(asc(backorders.orderId)),
  );
  expect(rows.map(({ orderId }) => orderId)).toEqual([...open].map(({ id }) => id));
});

describe("an order that waits for stock", () => {
  test("takes all of its lines or none, and holds up nobody who lacks less", async () => {
    const both = waiting(line("A", 1), line("B", 1));
    const onlyB = waiting(line("B", 1));
    await createOrders(environment.database, [both, onlyB]);
    expect(await reserve([both, onlyB])).toEqual([["A", "B"], ["B"]]);
    expect(await arrive("B", 1)).toEqual([onlyB.id]);
    expect(await arrive("A", 1)).toEqual([]);
    expect(await arrive("B", 1)).toEqual([both.id]);
    expect(await findStock(environment.database, ["A", "B"])).toMatchObject([
      { reserved: 1 },
      { reserved: 2 },
    ]);
    // The stage asks again, and is done.
    expect(await reserve([both])).toEqual([undefined]);
  });

  test("gets what is set by a total, and what a cancelled order gives back", async () => {
    const [first, second, third] = [waiting(line("C", 2)), waiting(line("C", 2)), waiting(line("C", 2))];
    await createOrders(environment.database, [first, second, third]);
    await reserve([first, second, third]);
    const { database } = environment;
    const filled: string[] = [];
    const note = { onFilled: (ids: readonly string[]) => void filled.push(...ids) };
    await filling(
      database,
      (alsoCommit) => setStock(database, [{ sku: "C", onHand: 3 }], { alsoCommit }),
      note,
    );
    expect(filled).toEqual([first.id]);
    const released = { orderId: first.id, lines: first.lines, operation: "release" as const };
    await filling(database, (alsoCommit) => moveStock(database, [released], alsoCommit), note);
    expect(filled).toEqual([first.id, second.id]);
    expect(await findStock(database, ["C"])).toEqual([{ sku: "C", onHand: 3, reserved: 2 }]);
  });

  test("gets nothing twice, and never below nothing, while stock arrives from all sides", async () => {
    const orders = Array.from({ length: 60 }, () => waiting(line("D", 1), line("E", 1)));
    await createOrders(environment.database, orders);
    await reserve(orders);
    // They wait for each other's rows, and a second at most.
    const filled = await Promise.all(
      Array.from({ length: 8 }, (_, index) => arrive(index % 2 === 0 ? "D" : "E", 10)),
    );
    const all = filled.flat();
    expect(new Set(all).size).toBe(all.length);
    expect(all).toHaveLength(40);
    expect(await findStock(environment.database, ["D", "E"])).toMatchObject([
      { onHand: 40, reserved: 40 },
      { onHand: 40, reserved: 40 },
    ]);
  });
});
