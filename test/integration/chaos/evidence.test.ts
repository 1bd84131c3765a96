import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { audit } from "../../../tools/chaos/audit.ts";
import { CUSTOMERS_REASON } from "../../../tools/chaos/customers.ts";
import { countJobs, gatherEvidence } from "../../../tools/chaos/evidence.ts";
import { Ledger } from "../../../tools/chaos/ledger.ts";
import { Sql } from "../../../tools/chaos/sql.ts";
import { Watch } from "../../../tools/chaos/watch.ts";
import { applyTransitions } from "../../../db/transitions.ts";
import { markFailed } from "../../../db/failures.ts";
import { newShipment, openShipments } from "../../../db/shipments.ts";
import { setStock } from "../../../db/stock.ts";
import { Queues } from "../../../queues/queues.ts";
import { lifecycle } from "../../../src/order/lifecycle.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { createOrder } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";
import { releaseStock, reserveStock, shipStock } from "../../support/stock.ts";

const LINES = [{ sku: "MUG", quantity: 2, unitPrice: 100 }];
const LOADED = new Map([["MUG", 10]]);

let environment: TestEnvironment;
let sql: Sql;
let ledger: Ledger;

beforeEach(async () => {
  environment = await createTestEnvironment();
  sql = new Sql(environment.databaseUrl);
  ledger = new Ledger();
  await setStock(environment.database, [{ sku: "MUG", onHand: 10 }]);
});
afterEach(async () => {
  sql.close();
  await environment.close();
});

/** An order that customers know of, brought to this status the way workers do it. */
async function place(...path: string[]): Promise<string> {
  const key = `key-${ledger.sent.size}`;
  const idempotency = { client: "client", key, requestHash: "hash" };
  const id = await createOrder(environment.database, { lines: LINES, idempotency });
  const order = {
    key,
    request: { customerId: "cust-1", currency: "EUR", lines: LINES },
    cancelAfter: path.includes("CANCELLED") ? 5 : undefined,
    isTwice: false,
  };
  ledger.sent.set(key, order);
  ledger.accept(order, JSON.stringify({ id }), false);
  let from = "CREATED";
  for (const to of path) {
    const change = { orderId: id, from, to, stage: null, reason: null, record: null, at: new Date() };
    await applyTransitions(environment.database, [{ ...change, unlessCancelled: false }]);
    from = to;
  }
  return id;
}

const books = { charges: [], refunds: [], labels: [], declines: [] };

async function gather(watch = new Watch(sql, ledger, LOADED)) {
  await watch.sample();
  return gatherEvidence(sql, environment.redis, { books, loaded: LOADED, customers: ledger, samples: watch });
}

/** What is broken, by the beginning of the promise. */
function brokenIn(evidence: Awaited<ReturnType<typeof gather>>): string[] {
  return audit(evidence)
    .filter(({ breaches }) => breaches.length > 0)
    .map(({ promise, breaches }) => `${promise}: ${breaches.join("; ")}`);
}

describe("the evidence", () => {
  test("is what MySQL holds", async () => {
    const id = await place("RESERVED");
    await reserveStock(environment.database, [{ orderId: id, lines: LINES }]);
    await markFailed(environment.database, {
      orderId: id,
      whileIn: ["RESERVED"],
      stage: "pay",
      reason: "down",
      at: new Date(),
    });
    const evidence = await gather();
    expect(evidence.orders).toEqual([
      {
        id,
        status: "RESERVED",
        total: 200,
        currency: "EUR",
        idempotencyKey: "key-0",
        failed: "pay: down",
        cancelReason: null,
      },
    ]);
    expect(evidence.lines).toEqual([{ orderId: id, sku: "MUG", quantity: 2, cancelled: 0 }]);
    expect(evidence.events).toMatchObject([
      { orderId: id, from: null, to: "CREATED" },
      { orderId: id, from: "CREATED", to: "RESERVED" },
    ]);
    expect(Math.abs((evidence.events[1]?.at ?? 0) - Date.now())).toBeLessThan(60_000);
    expect(evidence.stock).toEqual([{ sku: "MUG", onHand: 10, reserved: 2 }]);
    expect(evidence.reservations).toEqual(new Map([[id, "HELD"]]));
  });

  test("of a line at rest breaks no promise", async () => {
    const id = await place("CANCELLED");
    await releaseStock(environment.database, [{ orderId: id, lines: LINES }]);
    await sql.rows("UPDATE orders SET cancel_reason = ?", [CUSTOMERS_REASON]);
    expect(brokenIn(await gather())).toEqual([]);
  });

  test("of one that is not shows what is broken", async () => {
    const id = await place("RESERVED");
    await sql.rows("UPDATE stock SET on_hand = 9");
    await sql.rows("DELETE FROM order_events WHERE from_status IS NULL");
    const broken = brokenIn(await gather());
    expect(broken).toContainEqual(expect.stringContaining(`${id} is RESERVED`));
    expect(broken).toContainEqual(expect.stringContaining("MUG: 9 on hand and 0 sent of 10, 0 reserved"));
    expect(broken).toContainEqual(expect.stringContaining("a gap at CREATED -> RESERVED"));
  });
});

describe("the count of jobs", () => {
  test("finds those of every queue, and of one that no table names", async () => {
    const { redis } = environment;
    const queues = new Queues({ connection: redis, lifecycle, onError: () => {} });
    const step = lifecycle.due("CREATED");
    if (!step) throw new Error("a new order waits for something");
    await queues.enqueue([{ orderId: "order-1", transition: step }]);
    await redis.hset("{other}:other:meta", "opts.maxLenEvents", "1");
    await redis.zadd("{other}:other:failed", 1, "job");
    const counts = await countJobs(redis);
    expect([...counts].filter(([, count]) => count > 0)).toEqual([
      ["reserve wait", 1],
      ["other failed", 1],
    ]);
    for (const { name } of lifecycle.steps) expect(counts.get(`${name} delayed`)).toBe(0);
    await queues.close();
  });
});

describe("the watch", () => {
  test("sees nothing wrong while orders hold and take what there is", async () => {
    const [held, shipped] = [await place(), await place()];
    await reserveStock(environment.database, [
      { orderId: held, lines: LINES },
      { orderId: shipped, lines: LINES },
    ]);
    await shipStock(environment.database, [{ orderId: shipped, lines: LINES }]);
    const parcel = { orderId: shipped, number: 1, carrier: "http" };
    const lines = [{ position: 0, sku: "MUG", quantity: 2 }];
    await openShipments(environment.database, [
      { ...newShipment({ ...parcel, lines }, new Date()), state: "BOOKED" },
    ]);
    const watch = new Watch(sql, ledger, LOADED);
    await watch.sample();
    expect(watch).toMatchObject({ stockSamples: 1, sums: 1, breaches: [] });
  });

  test("sees pieces that are gone, and reservations that nobody holds", async () => {
    const id = await place();
    await reserveStock(environment.database, [{ orderId: id, lines: LINES }]);
    await sql.rows("UPDATE stock SET on_hand = 8, reserved = 3");
    const watch = new Watch(sql, ledger, LOADED);
    await watch.sample();
    expect(watch.breaches).toEqual([
      expect.stringContaining("MUG: 8 on hand and 0 shipped of 10, 3 reserved and 2 held"),
    ]);
  });

  test("sees a level that no level may be", async () => {
    await sql.rows("ALTER TABLE stock DROP CONSTRAINT stock_covers_reserved");
    await sql.rows("UPDATE stock SET on_hand = -1");
    const watch = new Watch(sql, ledger, LOADED);
    await watch.sample();
    expect(watch.breaches[0]).toContain("MUG: -1 on hand, 0 reserved");
  });

  test("notes when an order was first seen ended, and goes on after MySQL was away", async () => {
    const ended = await place("CANCELLED");
    const open = await place();
    const watch = new Watch(sql, ledger, LOADED);
    const stop = new AbortController();
    const looking = watch.run(stop.signal);
    await waitFor("the first look", () => ledger.accepted.get(ended)?.endedAt);
    expect(ledger.open.map(({ id }) => id)).toEqual([open]);
    sql.close();
    await applyTransitions(environment.database, [
      {
        orderId: open,
        from: "CREATED",
        to: "CANCELLED",
        stage: null,
        reason: null,
        record: null,
        unlessCancelled: false,
        at: new Date(),
      },
    ]);
    await waitFor("the second look", () => ledger.open.length === 0);
    stop.abort();
    await looking;
  });
});
