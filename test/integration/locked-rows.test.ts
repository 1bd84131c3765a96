import { sharedReservations } from "../support/stock.ts";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { v7 as uuidv7 } from "uuid";
import type { Database } from "../../db/database.ts";
import { failureKindOf } from "../../src/platform/storage-error.ts";
import { rowLocks } from "../../db/row-locks.ts";
import { orders, stock, webhookDeliveries } from "../../db/schema.ts";
import { findStock, setStock } from "../../db/stock.ts";
import { attemptLocks, saveAttempts, type AttemptResult } from "../../db/webhook-sending.ts";
import { withoutResults } from "../../src/platform/flush.ts";
import { grouped, type Commit } from "../../src/platform/group-commit.ts";
import { BackgroundCalls } from "../../src/engine/background-calls.ts";
import { Intake } from "../../src/engine/intake.ts";
import { createLogger } from "../../src/platform/log.ts";
import { lifecycle } from "../../src/order/lifecycle.ts";
import { BatchingStore } from "../../src/engine/batching-store.ts";
import type { Dispatcher } from "../../src/engine/ports.ts";
import { orderStore } from "../../db/order-store.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { holdLocks } from "../support/locks.ts";
import { createOrder, newOrder } from "../support/orders.ts";

jest.setTimeout(60_000);

let environment: TestEnvironment;
let database: Database;
beforeAll(async () => {
  environment = await createTestEnvironment();
  database = environment.database;
});
afterAll(() => environment.close());

const ITEMS = 12;

/** Nobody loses patience while a test looks on. */
const patient: Commit = (options) => grouped({ ...options, patienceMs: 50_000 });
/** For longer than the tries that meet the lock, so that all others have theirs. */
const impatient: Commit = (options) => grouped({ ...options, patienceMs: 5_000 });
const calls = new BackgroundCalls({ log: createLogger({ name: "test", level: "silent" }) });
const nobody: Dispatcher = {
  enqueue: async () => undefined,
  revive: async () => 0,
  replace: async () => undefined,
};

/** Work of a group commit whose first item wants something that `statement` locks. */
interface Scenario {
  readonly statement: string;
  readonly submit: (index: number) => Promise<unknown>;
}

async function statusChanges(commit: Commit): Promise<Scenario> {
  const ids = await Promise.all(Array.from({ length: ITEMS }, () => createOrder(database)));
  const store = new BatchingStore({ store: orderStore(database), commit });
  const change = { from: "CREATED", to: "RESERVED", stage: "reserve", reason: null, record: null };
  return {
    statement: `SELECT id FROM orders WHERE id = '${ids[0]}' FOR UPDATE`,
    submit: (index) =>
      store.applyTransition({ ...change, orderId: ids[index] ?? "", unlessCancelled: false, at: new Date() }),
  };
}

/** The key of the first is that of an order that somebody is writing at this moment. */
async function newOrders(commit: Commit): Promise<Scenario> {
  const intake = new Intake({
    store: orderStore(database),
    dispatcher: nobody,
    lifecycle,
    commit,
    calls,
  });
  const prefix = uuidv7();
  const model = newOrder({ idempotency: { client: "c", key: `${prefix}-model`, requestHash: "h" } });
  await intake.accept(model);
  const columns = "status, customer_id, currency, total, request_hash, created_at, updated_at";
  return {
    statement: `INSERT INTO orders (id, idempotency_client, idempotency_key, ${columns})
      SELECT '${uuidv7()}', 'c', '${prefix}-0', ${columns} FROM orders WHERE id = '${model.id}'`,
    submit: (index) =>
      intake.accept(newOrder({ idempotency: { client: "c", key: `${prefix}-${index}`, requestHash: "h" } })),
  };
}

async function stockOfProduct(commit: Commit): Promise<Scenario> {
  const prefix = uuidv7();
  const skus = [`${prefix}-locked`, `${prefix}-a-free`];
  await setStock(
    database,
    skus.map((sku) => ({ sku, onHand: 100 })),
  );
  const reserve = sharedReservations(database, commit);
  return {
    statement: `SELECT sku FROM stock WHERE sku = '${skus[0]}' FOR UPDATE`,
    // The first wants both: it must not hold the other one while it waits.
    submit: (index) =>
      reserve({
        orderId: uuidv7(),
        lines: (index === 0 ? skus : skus.slice(1)).map((sku) => ({ sku, quantity: 1, unitPrice: 1 })),
      }),
  };
}

async function reservationOfOrder(commit: Commit): Promise<Scenario> {
  const sku = uuidv7();
  await setStock(database, [{ sku, onHand: 100 }]);
  const reserve = sharedReservations(database, commit);
  const ids = Array.from({ length: ITEMS }, () => uuidv7());
  const lines = [{ sku, quantity: 1, unitPrice: 1 }];
  await reserve({ orderId: ids[0] ?? "", lines });
  return {
    statement: `SELECT state FROM reservations WHERE order_id = '${ids[0]}' FOR UPDATE`,
    submit: (index) => reserve({ orderId: ids[index] ?? "", lines }),
  };
}

async function webhookAttempts(commit: Commit): Promise<Scenario> {
  const endpointId = uuidv7();
  const now = new Date();
  await database.transaction(async (queries) =>
    queries.insert(webhookDeliveries).values(
      Array.from({ length: ITEMS }, (_, index) => ({
        endpointId,
        eventId: index,
        orderId: uuidv7(),
        state: "pending" as const,
        attempts: 0,
        dueAt: now,
        createdAt: now,
      })),
    ),
  );
  const rows = await database.query((queries) =>
    queries.select({ id: webhookDeliveries.id }).from(webhookDeliveries),
  );
  const ids = rows.map(({ id }) => id).slice(-ITEMS);
  const attempts = commit<AttemptResult, void>({
    flush: withoutResults((results) => saveAttempts(database, results)),
    kindOf: failureKindOf,
    locks: attemptLocks(database),
  });
  return {
    statement: `SELECT state FROM webhook_deliveries WHERE id = ${ids[0]} FOR UPDATE`,
    submit: (index) =>
      attempts.submit({
        deliveryId: ids[index] ?? 0,
        attempt: {
          at: now,
          url: "http://x.example",
          durationMs: 1,
          status: 200,
          error: null,
          response: null,
        },
        state: "delivered",
        attempts: 1,
        dueAt: now,
      }),
  };
}

/** No row is locked, but a place between rows: nothing tells who wants it. */
async function gapBetweenRows(commit: Commit): Promise<Scenario> {
  const intake = new Intake({
    store: orderStore(database),
    dispatcher: nobody,
    lifecycle,
    commit,
    calls,
  });
  const customer = uuidv7();
  for (const place of ["a", "m", "z"]) await intake.accept(newOrder({ customerId: `${customer}-${place}` }));
  return {
    statement: `COMMIT; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION;
      SELECT id FROM orders FORCE INDEX (orders_by_customer) WHERE customer_id = '${customer}-b' FOR UPDATE`,
    submit: (index) => intake.accept(newOrder({ customerId: `${customer}-${index === 0 ? "b" : "n"}` })),
  };
}

const SCENARIOS = {
  statusChanges,
  newOrders,
  stockOfProduct,
  reservationOfOrder,
  webhookAttempts,
  gapBetweenRows,
};

describe.each(Object.entries(SCENARIOS))("what somebody else has locked (%s)", (_, prepare) => {
  test("blocks only those who want it, and they go on when it is free", async () => {
    const { statement, submit } = await prepare(patient);
    const holder = await holdLocks(database, statement);
    let isDone = false;
    const blocked = submit(0).finally(() => (isDone = true));
    await Promise.all(Array.from({ length: ITEMS - 2 }, (__, index) => submit(index + 1)));
    await submit(ITEMS - 1);
    expect(isDone).toBe(false);
    await holder.release();
    await blocked;
  });

  test("is told to those who want it when it lasts, as a row that is contended, and to nobody else", async () => {
    const { statement, submit } = await prepare(impatient);
    const holder = await holdLocks(database, statement);
    const blocked = submit(0);
    const others = Promise.all(Array.from({ length: ITEMS - 1 }, (__, index) => submit(index + 1)));
    await expect(blocked).rejects.toMatchObject({ name: "DatabaseError", kind: "contended" });
    await others;
    await holder.release();
  });
});

test("a product that everybody wants, and somebody else locks now and then, is sold to its last piece and no further", async () => {
  const [hot, other] = [`${uuidv7()}-hot`, `${uuidv7()}-other`];
  await setStock(database, [
    { sku: hot, onHand: 150 },
    { sku: other, onHand: 10_000 },
  ]);
  const shops = Array.from({ length: 4 }, () => sharedReservations(database, patient));
  const wants = (...skus: string[]) => ({
    orderId: uuidv7(),
    lines: skus.map((sku) => ({ sku, quantity: 1, unitPrice: 1 })),
  });
  const outcomes: Promise<{ readonly ok: boolean }>[] = [];
  for (const turn of ["free", "locked", "free", "locked"]) {
    const statement = `SELECT sku FROM stock WHERE sku = '${hot}' FOR UPDATE`;
    const holder = turn === "locked" ? await holdLocks(database, statement) : undefined;
    for (const shop of shops) {
      for (let index = 0; index < 20; index++) {
        outcomes.push(shop(index % 2 === 0 ? wants(hot) : wants(other, hot)));
      }
    }
    // Past the second for which a flush waits: these have no part in it.
    await Promise.all(shops.map((shop) => shop(wants(other))));
    await holder?.release();
  }
  const sold = (await Promise.all(outcomes)).filter(({ ok }) => ok).length;
  expect(sold).toBe(150);
  expect(await findStock(database, [hot])).toMatchObject([{ onHand: 150, reserved: 150 }]);
});

describe("locks of rows", () => {
  const locks = () =>
    rowLocks(database, {
      stock: { table: stock, column: stock.sku },
      order: { table: orders, column: orders.id },
    });

  test("are held by whoever has locked, changed or inserted a row and not committed it yet", async () => {
    const skus = ["selected", "updated", "inserted", "free", "absent"].map((name) => `${uuidv7()}-${name}`);
    const [selected, updated, inserted, free, absent] = skus;
    await setStock(
      database,
      [selected, updated, free].map((sku) => ({ sku: sku ?? "", onHand: 1 })),
    );
    const { held, key } = locks();
    const keys = skus.map((sku) => key("stock", sku));
    const holder = await holdLocks(
      database,
      `SELECT sku FROM stock WHERE sku = '${selected}' FOR UPDATE;
       UPDATE stock SET on_hand = 2 WHERE sku = '${updated}';
       INSERT INTO stock VALUES ('${inserted}', 1, 0)`,
    );
    expect(await held([...keys, key("order", uuidv7())])).toEqual(new Set(keys.slice(0, 3)));
    expect(absent).toBeDefined();
    await holder.release();
    expect(await held(keys)).toEqual(new Set());
  });

  test("are waited for, until they are free or for a second", async () => {
    const sku = uuidv7();
    await setStock(database, [{ sku, onHand: 1 }]);
    const { wait, key } = locks();
    await wait(key("stock", sku));
    await wait(key("stock", "absent"));
    const holder = await holdLocks(database, `SELECT sku FROM stock WHERE sku = '${sku}' FOR UPDATE`);
    await expect(wait(key("stock", sku))).rejects.toMatchObject({ kind: "contended" });
    await holder.release();
    await wait(key("stock", sku));
  });
});
