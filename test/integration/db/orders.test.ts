import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { v7 as uuidv7 } from "uuid";
import { DatabaseError } from "../../../db/errors.ts";
import { listEvents } from "../../../db/order-events.ts";
import { applyTransitions } from "../../../db/transitions.ts";
import type { OrderTransition } from "../../../src/engine/ports.ts";
import { clearFailed, markFailed } from "../../../db/failures.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { findOrders, listOrders } from "../../../db/orders.ts";
import { listStatuses } from "../../../db/order-states.ts";
import { requestCancellation } from "../../../db/cancellations.ts";
import { findStock, setStock } from "../../../db/stock.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder, newOrder, readOrder } from "../../support/orders.ts";
import { releaseStock } from "../../support/stock.ts";

let environment: TestEnvironment;
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(() => environment.close());

function change(orderId: string, given: Partial<OrderTransition> = {}): OrderTransition {
  return {
    orderId,
    from: "CREATED",
    to: "RESERVED",
    stage: "reserve",
    reason: null,
    record: { shelf: 7 },
    unlessCancelled: false,
    at: new Date(),
    ...given,
  };
}

describe("an order that is written", () => {
  test("is read back as it was, with its lines in order, and its creation is its first event", async () => {
    const order = newOrder({
      reference: "INV-Ü-😀",
      paymentToken: "tok_approved",
      shipTo: { name: "Ada", line1: "12 Square", city: "London", postalCode: "SW1", country: "GB" },
      lines: [
        { sku: "b", quantity: 1, unitPrice: 5 },
        { sku: "a", quantity: 2, unitPrice: 10_000_000_000 },
        { sku: "a", quantity: 1, unitPrice: 0 },
      ],
    });
    await createOrders(environment.database, [order]);
    const { idempotency, ...content } = order;
    expect(await readOrder(environment.database, order.id)).toEqual({
      ...content,
      status: "CREATED",
      records: {},
      failed: null,
      waiting: null,
      wokenAt: null,
      holds: [],
      changedAt: null,
      cancellation: null,
      updatedAt: order.createdAt,
    });
    expect(await listEvents(environment.database, order.id)).toEqual([
      {
        id: expect.any(Number),
        from: null,
        to: "CREATED",
        stage: null,
        reason: null,
        record: null,
        at: order.createdAt,
        type: "status",
        actor: null,
        attempt: null,
        startedAt: null,
      },
    ]);
  });

  test("may have the largest number of lines, each the largest", async () => {
    const lines = Array.from({ length: LIMITS.lines }, (_, index) => ({
      sku: `${index}-`.padEnd(LIMITS.identifier, "é"),
      quantity: LIMITS.quantity,
      unitPrice: 1,
    }));
    const id = await createOrder(environment.database, { lines });
    expect((await readOrder(environment.database, id)).lines).toEqual(lines);
  });

  test("is written with the whole batch, or nothing is", async () => {
    const other = newOrder();
    const refused = newOrder({ currency: "EURO" });
    await expect(createOrders(environment.database, [other, refused])).rejects.toThrow(DatabaseError);
    expect(await findOrders(environment.database, [other.id])).toEqual([undefined]);
  });

  test("counts as created if its own COMMIT got through before", async () => {
    const [twice, other] = [newOrder(), newOrder()];
    await createOrders(environment.database, [twice]);
    const created = await createOrders(environment.database, [other, twice]);
    expect(created).toMatchObject([
      { id: other.id, repeated: false },
      { id: twice.id, repeated: false },
    ]);
    expect(await listEvents(environment.database, twice.id)).toHaveLength(1);
  });

  test("is found in the order that is asked for", async () => {
    const [a, b] = [await createOrder(environment.database), await createOrder(environment.database)];
    const found = await findOrders(environment.database, [b, uuidv7(), a]);
    expect(found.map((order) => order?.id)).toEqual([b, undefined, a]);
  });

  test("does not reveal its values when the database refuses it", async () => {
    const order = newOrder({ paymentToken: "tok_secret".padEnd(LIMITS.paymentToken + 1, "x") });
    const refused = await createOrders(environment.database, [order]).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(DatabaseError);
    expect(refused instanceof Error && `${refused.message}${refused.stack}`).not.toContain("tok_secret");
    expect(refused).not.toHaveProperty("cause");
  });
});

const MADE = { made: true, toBeCancelled: false };
const NOT_MADE = { made: false, toBeCancelled: false };

describe("a change of status", () => {
  test("is made from the status that the order has, with its event and record", async () => {
    const id = await createOrder(environment.database);
    const at = new Date();
    expect(await applyTransitions(environment.database, [change(id, { at })])).toEqual([MADE]);
    expect(await readOrder(environment.database, id)).toMatchObject({
      status: "RESERVED",
      updatedAt: at,
      records: { reserve: { shelf: 7 } },
    });
    expect((await listEvents(environment.database, id)).at(-1)).toMatchObject({
      from: "CREATED",
      to: "RESERVED",
      stage: "reserve",
      record: { shelf: 7 },
      at,
    });
  });

  test("has its own time in a batch, as its event has", async () => {
    const ids = await Promise.all(Array.from({ length: 3 }, () => createOrder(environment.database)));
    const times = [20, 0, 10].map((later) => new Date(Date.now() + later));
    await applyTransitions(
      environment.database,
      ids.map((id, index) => change(id, { at: times[index]! })),
    );
    const orders = await findOrders(environment.database, ids);
    expect(orders.map((order) => order?.updatedAt)).toEqual(times);
    const events = await Promise.all(ids.map((id) => listEvents(environment.database, id)));
    expect(events.map((each) => each.at(-1)?.at)).toEqual(times);
  });

  test("is not made twice, nor from another status, nor of an unknown order", async () => {
    const id = await createOrder(environment.database);
    const changes = [
      change(id),
      change(id),
      change(id, { from: "PAID", to: "SHIPPED" }),
      change(uuidv7()),
      change(id, { from: "RESERVED", to: "PAID", stage: "pay" }),
    ];
    expect(await applyTransitions(environment.database, changes)).toEqual([
      MADE,
      NOT_MADE,
      NOT_MADE,
      NOT_MADE,
      MADE,
    ]);
    expect(await readOrder(environment.database, id)).toMatchObject({ status: "PAID" });
    expect(await listEvents(environment.database, id)).toHaveLength(3);
  });

  test("is made once however many ask at the same moment", async () => {
    const ids = await Promise.all(Array.from({ length: 10 }, () => createOrder(environment.database)));
    const rounds = await Promise.all(
      Array.from({ length: 8 }, (_, round) =>
        applyTransitions(
          environment.database,
          (round % 2 ? ids : ids.toReversed()).map((id) => change(id)),
        ),
      ),
    );
    expect(rounds.flat().filter(({ made }) => made)).toHaveLength(ids.length);
  });

  test("leaves an order alone whose cancellation was requested, if told to", async () => {
    const id = await createOrder(environment.database);
    await requestCancellation(environment.database, {
      orderId: id,
      whileIn: ["CREATED"],
      reason: "changed my mind",
      at: new Date(),
    });
    expect(await applyTransitions(environment.database, [change(id, { unlessCancelled: true })])).toEqual([
      { made: false, toBeCancelled: true },
    ]);
    expect(await applyTransitions(environment.database, [change(id)])).toEqual([
      { made: true, toBeCancelled: true },
    ]);
  });

  test("clears the failure", async () => {
    const id = await createOrder(environment.database);
    const at = new Date();
    await markFailed(environment.database, {
      orderId: id,
      whileIn: ["CREATED"],
      stage: "reserve",
      reason: "no answer",
      at,
    });
    expect((await readOrder(environment.database, id)).failed).toEqual({
      stage: "reserve",
      reason: "no answer",
      at,
    });
    await applyTransitions(environment.database, [change(id)]);
    expect((await readOrder(environment.database, id)).failed).toBeNull();
  });
});

describe("a change of status that moves stock", () => {
  /** Orders of two units each, with so many units in stock. */
  const given = async (onHand: number, count: number) => {
    const sku = randomUUID();
    await setStock(environment.database, [{ sku, onHand }]);
    const lines = [{ sku, quantity: 2, unitPrice: 100 }];
    const ids = await Promise.all(
      Array.from({ length: count }, () => createOrder(environment.database, { lines })),
    );
    const stockOf = async () => (await findStock(environment.database, [sku]))[0];
    return { sku, lines, ids, stockOf };
  };

  test("moves it in the same transaction, or neither", async () => {
    const { ids, lines, stockOf } = await given(10, 2);
    const reserving = ids.map((id) => change(id, { stock: { operation: "reserve", lines } }));
    await expect(
      applyTransitions(environment.database, reserving, () => {
        throw new Error("the process dies");
      }),
    ).rejects.toThrow("the process dies");
    expect(await stockOf()).toMatchObject({ onHand: 10, reserved: 0 });
    expect(await applyTransitions(environment.database, reserving)).toEqual([MADE, MADE]);
    expect(await stockOf()).toMatchObject({ onHand: 10, reserved: 4 });
    const shipping = ids.map((id) =>
      change(id, { from: "RESERVED", to: "SHIPPED", stock: { operation: "ship", lines } }),
    );
    await applyTransitions(environment.database, shipping);
    expect(await stockOf()).toMatchObject({ onHand: 6, reserved: 0 });
  });

  test("is not made where it is sold out, and the others of the batch are", async () => {
    const { sku, ids, lines, stockOf } = await given(5, 4);
    const results = await applyTransitions(
      environment.database,
      ids.map((id) => change(id, { stock: { operation: "reserve", lines } })),
    );
    const refused = { ...NOT_MADE, soldOut: [sku] };
    expect(results).toEqual([MADE, MADE, refused, refused]);
    expect(await stockOf()).toMatchObject({ onHand: 5, reserved: 4 });
    const statuses = await Promise.all(
      ids.map(async (id) => (await readOrder(environment.database, id)).status),
    );
    expect(statuses).toEqual(["RESERVED", "RESERVED", "CREATED", "CREATED"]);
  });

  test("moves nothing for an order that has moved on, or is to be cancelled and must not be then", async () => {
    const { ids, lines, stockOf } = await given(10, 3);
    const [moved = "", cancelled = "", other = ""] = ids;
    const reserving = (id: string) =>
      change(id, { stock: { operation: "reserve", lines }, unlessCancelled: id === cancelled });
    await applyTransitions(environment.database, [reserving(moved)]);
    const whileIn = ["CREATED"];
    await requestCancellation(environment.database, {
      orderId: cancelled,
      whileIn,
      reason: "no",
      at: new Date(),
    });
    const results = await applyTransitions(environment.database, ids.map(reserving));
    expect(results).toEqual([NOT_MADE, { made: false, toBeCancelled: true }, MADE]);
    expect(await stockOf()).toMatchObject({ reserved: 4 });
    expect((await readOrder(environment.database, other)).status).toBe("RESERVED");
  });

  test("is refused where the order's stock was given back, without holding up an order that has moved on", async () => {
    const { ids, lines, stockOf } = await given(10, 2);
    const [released = "", cancelled = ""] = ids;
    await releaseStock(
      environment.database,
      ids.map((orderId) => ({ orderId, lines })),
    );
    await applyTransitions(environment.database, [change(cancelled, { to: "CANCELLED", stage: null })]);
    const reserving = (id: string) => change(id, { stock: { operation: "reserve", lines } });
    expect(await applyTransitions(environment.database, [reserving(cancelled)])).toEqual([NOT_MADE]);
    await expect(applyTransitions(environment.database, [reserving(released)])).rejects.toThrow(
      "was released",
    );
    expect(await stockOf()).toMatchObject({ onHand: 10, reserved: 0 });
  });

  test("never promises more than there is, however many ask at the same moment", async () => {
    const { ids, lines, stockOf } = await given(20, 30);
    const results = await Promise.all(
      [0, 10, 20].flatMap((from) =>
        [1, 2].map(() =>
          applyTransitions(
            environment.database,
            ids.slice(from, from + 10).map((id) => change(id, { stock: { operation: "reserve", lines } })),
          ),
        ),
      ),
    );
    expect(results.flat().filter(({ made }) => made)).toHaveLength(10);
    expect(await stockOf()).toMatchObject({ onHand: 20, reserved: 20 });
  });
});

describe("a failure", () => {
  test("does not mark an order that has moved on", async () => {
    const id = await createOrder(environment.database);
    await applyTransitions(environment.database, [change(id)]);
    await markFailed(environment.database, {
      orderId: id,
      whileIn: ["CREATED"],
      stage: "reserve",
      reason: "late",
      at: new Date(),
    });
    expect((await readOrder(environment.database, id)).failed).toBeNull();
  });

  test("has its reason shortened to the column, between two characters", async () => {
    const id = await createOrder(environment.database);
    const reason = "😀".repeat(LIMITS.reason + 10);
    await markFailed(environment.database, {
      orderId: id,
      whileIn: ["CREATED"],
      stage: "reserve",
      reason,
      at: new Date(),
    });
    const kept = (await readOrder(environment.database, id)).failed?.reason ?? "";
    expect(Array.from(kept)).toHaveLength(LIMITS.reason);
    expect(kept.endsWith("😀…")).toBe(true);
    await clearFailed(environment.database, id);
    expect((await readOrder(environment.database, id)).failed).toBeNull();
  });
});

describe("a request to cancel", () => {
  test("is noted once: the first reason stands", async () => {
    const id = await createOrder(environment.database);
    const request = { orderId: id, whileIn: ["CREATED"], at: new Date() };
    expect(await requestCancellation(environment.database, { ...request, reason: "first" })).toBe(true);
    expect(await requestCancellation(environment.database, { ...request, reason: "second" })).toBe(true);
    expect((await readOrder(environment.database, id)).cancellation).toEqual({
      reason: "first",
      requestedAt: request.at,
    });
  });

  test("is not noted for an order in another status, or for none", async () => {
    const id = await createOrder(environment.database);
    const request = { whileIn: ["RESERVED"], reason: "late", at: new Date() };
    expect(await requestCancellation(environment.database, { ...request, orderId: id })).toBe(false);
    expect(await requestCancellation(environment.database, { ...request, orderId: uuidv7() })).toBe(false);
    expect((await readOrder(environment.database, id)).cancellation).toBeNull();
  });
});

describe("the list of orders", () => {
  test("goes through all matches newest first, each once, while orders arrive", async () => {
    const customerId = "cust-paging";
    const ids: string[] = [];
    for (let index = 0; index < 7; index++) ids.push(await createOrder(environment.database, { customerId }));
    const seen: string[] = [];
    let before: string | undefined;
    for (;;) {
      const page = await listOrders(environment.database, { customerId }, { limit: 3, before });
      seen.push(...page.items.map((order) => order.id));
      if (page.next === null) break;
      before = page.next;
      await createOrder(environment.database, { customerId });
    }
    expect(seen).toEqual(ids.toReversed());
  });

  test("ends a page early when its orders have very many lines, and goes on behind them", async () => {
    const customerId = "cust-large";
    const lines = Array.from({ length: LIMITS.lines }, (_, index) => ({
      sku: `SKU-${index % 7}`,
      quantity: index + 1,
      unitPrice: 1,
    }));
    const ids: string[] = [];
    for (let index = 0; index < 12; index++)
      ids.push(await createOrder(environment.database, { customerId, ...(index !== 5 && { lines }) }));
    const pages: string[][] = [];
    let before: string | undefined;
    do {
      const page = await listOrders(environment.database, { customerId }, { limit: 200, before });
      for (const order of page.items) if (order.id !== ids[5]) expect(order.lines).toEqual(lines);
      pages.push(page.items.map(({ id }) => id));
      before = page.next ?? undefined;
    } while (before !== undefined);
    expect(pages.flat()).toEqual(ids.toReversed());
    expect(pages.map(({ length }) => length)).toEqual([5, 5, 2]);

    const all = await findOrders(environment.database, [...ids, uuidv7()]);
    expect(all.map((order) => order?.id)).toEqual([...ids, undefined]);
    for (const order of all) if (order && order.id !== ids[5]) expect(order.lines).toEqual(lines);
  });

  test("has no next page after a last page that is full", async () => {
    const reference = "full-page";
    for (let index = 0; index < 4; index++) await createOrder(environment.database, { reference });
    const first = await listOrders(environment.database, { reference }, { limit: 2 });
    expect(first.items).toHaveLength(2);
    const second = await listOrders(
      environment.database,
      { reference },
      { limit: 2, before: first.next ?? "" },
    );
    expect(second).toMatchObject({ items: [{}, {}], next: null });
  });

  test.each([
    ["status", { status: "RESERVED" }],
    ["customer", { customerId: "cust-filter" }],
    ["reference", { reference: "ref-filter" }],
    ["failure", { failed: true }],
    ["all of them", { status: "RESERVED", customerId: "cust-filter", reference: "ref-filter", failed: true }],
  ])("is filtered by %s", async (_, filter) => {
    const wanted = await createOrder(environment.database, {
      customerId: "cust-filter",
      reference: "ref-filter",
    });
    const other = await createOrder(environment.database, {
      customerId: "CUST-FILTER",
      reference: "REF-FILTER",
    });
    await applyTransitions(environment.database, [change(wanted)]);
    await markFailed(environment.database, {
      orderId: wanted,
      whileIn: ["RESERVED"],
      stage: "pay",
      reason: "x",
      at: new Date(),
    });
    const ids = (await listOrders(environment.database, filter, { limit: 200 })).items.map(
      (order) => order.id,
    );
    expect(ids).toContain(wanted);
    expect(ids).not.toContain(other);
  });

  test("of orders that have not failed has none that has", async () => {
    const { items } = await listOrders(environment.database, { failed: false }, { limit: 200 });
    expect(items.length).toBeGreaterThan(0);
    expect(items.filter((order) => order.failed !== null)).toEqual([]);
  });

  test("lists the statuses that occur", async () => {
    await createOrder(environment.database);
    expect(await listStatuses(environment.database)).toEqual(expect.arrayContaining(["CREATED"]));
  });
});
