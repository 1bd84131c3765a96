import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { Database } from "../../db/database.ts";
import type { Queries } from "../../db/queries.ts";
import { DatabaseError } from "../../db/errors.ts";
import { failureKindOf } from "../../src/platform/storage-error.ts";
import { listEvents } from "../../db/order-events.ts";
import { createOrders } from "../../db/new-orders.ts";
import { findOrders } from "../../db/orders.ts";
import { withoutResults } from "../../src/platform/flush.ts";
import { COMMITS, grouped, OverloadedError, type Commit } from "../../src/platform/group-commit.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { newOrder } from "../support/orders.ts";
import { waitFor } from "../support/wait-for.ts";

/** What group commit promises, with a real database behind it that is attacked. */
let environment: TestEnvironment;
let database: Database;
beforeAll(async () => {
  environment = await createTestEnvironment();
  database = environment.database;
  await database.query((queries) =>
    queries.execute(sql`CREATE TABLE numbers (id int PRIMARY KEY, value int, place int)`),
  );
});
beforeEach(async () => {
  await database.query((queries) => queries.execute(sql`DELETE FROM numbers`));
});
afterAll(() => environment.close());

const insert = (queries: Queries, id: number) =>
  queries.execute(sql`INSERT INTO numbers VALUES (${id}, 0, (SELECT COUNT(*) FROM numbers AS before_it))`);
const add = (queries: Queries, id: number) =>
  queries.execute(sql`UPDATE numbers SET value = value + 1 WHERE id = ${id}`);

async function column(query: ReturnType<typeof sql>): Promise<number[]> {
  const [rows] = await database.query((queries) => queries.execute(query));
  return Array.isArray(rows) ? rows.flatMap((row) => ("value" in row ? [Number(row["value"])] : [])) : [];
}
const ids = () => column(sql`SELECT id AS value FROM numbers ORDER BY place`);
const values = () => column(sql`SELECT value FROM numbers ORDER BY id`);

/** Writes rows in one transaction, in the order in which they were submitted. */
function inserter(commit: Commit, into = database, options: { maxBatch?: number; maxWaiting?: number } = {}) {
  const batches: number[] = [];
  const committer = commit({
    flush: withoutResults<number>((items) => {
      batches.push(items.length);
      return into.transaction(async (queries) => {
        for (const item of items) await insert(queries, item);
      });
    }),
    kindOf: failureKindOf,
    ...options,
  });
  return { batches, committer };
}

const count = (length: number) => Array.from({ length }, (_, index) => index);

describe.each(Object.entries(COMMITS))("with group commit %s", (_, commit) => {
  test("an order that MySQL does not take fails alone, and leaves nothing behind", async () => {
    const committer = commit({
      flush: (many: readonly ReturnType<typeof newOrder>[]) => createOrders(database, many),
      kindOf: failureKindOf,
    });
    const good = count(20).map(() => newOrder());
    const poisoned = newOrder({ currency: "EURO" });
    const submitted = [...good.slice(0, 10), poisoned, ...good.slice(10)];
    const outcomes = await Promise.allSettled(submitted.map((order) => committer.submit(order)));

    expect(outcomes.map(({ status }) => status)).toEqual(
      submitted.map((order) => (order === poisoned ? "rejected" : "fulfilled")),
    );
    expect(outcomes[10]).toMatchObject({ reason: { name: "DatabaseError", errno: 1406 } });
    const found = await findOrders(
      database,
      submitted.map(({ id }) => id),
    );
    expect(found.map((order) => order?.lines.length)).toEqual(
      submitted.map((order) => (order === poisoned ? undefined : 1)),
    );
    expect(await listEvents(database, poisoned.id)).toEqual([]);
    for (const { id } of good) expect(await listEvents(database, id)).toHaveLength(1);
  });

  test("a process that shuts down while work is inside closes after all of it is written", async () => {
    const own = new Database({ url: environment.databaseUrl, poolSize: 2 });
    const { committer } = inserter(commit, own, { maxBatch: 20 });
    const all = Promise.allSettled(count(150).map((id) => committer.submit(id)));
    await committer.idle();
    await own.close();
    expect((await all).filter(({ status }) => status === "rejected")).toEqual([]);
    expect((await ids()).toSorted((a, b) => a - b)).toEqual(count(150));
  });
});

test("a deadlock runs the whole flush again: everybody gets a result, and nothing is done twice", async () => {
  await database.transaction(async (queries) => {
    for (const id of [1, 2]) await insert(queries, id);
  });
  let runs = 0;
  let holding = 0;
  let bothHoldOne: () => void = () => {};
  const gate = new Promise<void>((resolve) => (bothHoldOne = resolve));
  const adder = () =>
    grouped({
      flush: withoutResults<number>((items) =>
        database.transaction(async (queries) => {
          runs++;
          for (const item of items) {
            await add(queries, item);
            if (++holding === 2) bothHoldOne();
            await gate;
          }
        }),
      ),
      kindOf: failureKindOf,
    });
  const [one, other] = [adder(), adder()];
  await Promise.all([one.submit(1), one.submit(2), other.submit(2), other.submit(1)]);
  expect(await values()).toEqual([2, 2]);
  expect(runs).toBe(3);
});

describe("a connection that is lost in the middle of a flush", () => {
  test("costs nobody anything: the flush goes over another one", async () => {
    let flushes = 0;
    const committer = grouped({
      flush: withoutResults<number>((items) => {
        const isLost = ++flushes % 2 === 1;
        return database.transaction(async (queries) => {
          for (const item of items) await insert(queries, item);
          if (isLost) await queries.execute(sql`KILL CONNECTION_ID()`);
        });
      }),
      kindOf: failureKindOf,
      maxBatch: 3,
    });
    await Promise.all(count(8).map((id) => committer.submit(id)));
    expect(flushes).toBe(6);
    expect(await ids()).toEqual(count(8));
  });

  test("and another one in its place, fails all who wait, at once; nothing is half written", async () => {
    let lost = true;
    let flushes = 0;
    const committer = grouped({
      flush: withoutResults<number>((items) => {
        flushes++;
        return database.transaction(async (queries) => {
          for (const item of items) await insert(queries, item);
          if (lost) await queries.execute(sql`KILL CONNECTION_ID()`);
        });
      }),
      kindOf: failureKindOf,
      maxBatch: 3,
    });
    const outcomes = await Promise.allSettled(count(8).map((id) => committer.submit(id)));
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ reason: { name: "DatabaseError", kind: "away" } });
    }
    expect(flushes).toBe(2);
    expect(await ids()).toEqual([]);
    lost = false;
    await Promise.all(count(8).map((id) => committer.submit(id)));
    expect(await ids()).toEqual(count(8));
  });

  test("after COMMIT has made orders that are told as created, with a key and without one", async () => {
    let flushes = 0;
    const committer = grouped({
      flush: async (many: readonly ReturnType<typeof newOrder>[]) => {
        const created = await createOrders(database, many);
        if (++flushes === 1) throw new DatabaseError("ECONNRESET", undefined);
        return created;
      },
      kindOf: failureKindOf,
    });
    const withKey = newOrder({ idempotency: { client: "test", key: "once-lost", requestHash: "same" } });
    const submitted = [newOrder(), withKey, newOrder(), { ...newOrder(), idempotency: withKey.idempotency }];
    const created = await Promise.all(submitted.map((order) => committer.submit(order)));
    expect(created.map(({ id, repeated }) => ({ id, repeated }))).toEqual([
      ...submitted.slice(0, 3).map(({ id }) => ({ id, repeated: false })),
      { id: withKey.id, repeated: true },
    ]);
    for (const { id } of created) expect(await listEvents(database, id)).toHaveLength(1);
  });

  test("after COMMIT, again and again, leaves orders that are found under their keys", async () => {
    let lost = true;
    const committer = grouped({
      flush: async (many: readonly ReturnType<typeof newOrder>[]) => {
        const created = await createOrders(database, many);
        if (lost) throw new DatabaseError("ECONNRESET", undefined);
        return created;
      },
      kindOf: failureKindOf,
    });
    const requested = count(5).map((index) =>
      newOrder({ idempotency: { client: "test", key: `lost-${index}`, requestHash: "same" } }),
    );
    const first = await Promise.allSettled(requested.map((order) => committer.submit(order)));
    expect(first.map(({ status }) => status)).toEqual(requested.map(() => "rejected"));
    lost = false;
    const again = await Promise.all(
      requested.map((order) => committer.submit({ ...newOrder(), idempotency: order.idempotency })),
    );
    expect(again).toMatchObject(requested.map(({ id }) => ({ id, repeated: true })));
  });
});

test("a database that stands still makes later callers be refused, and all that was taken is written in order", async () => {
  const { batches, committer } = inserter(grouped, database, { maxBatch: 20, maxWaiting: 50 });
  await committer.submit(-1);
  let release: () => void = () => {};
  let stands: () => void = () => {};
  const standing = new Promise<void>((resolve) => (stands = resolve));
  const blocker = database.transaction(async (queries) => {
    await queries.execute(sql`SELECT id FROM numbers WHERE id = -1 FOR UPDATE`);
    await queries.execute(sql`INSERT INTO numbers VALUES (0, 0, 0)`);
    stands();
    await new Promise<void>((resolve) => (release = resolve));
    await queries.execute(sql`DELETE FROM numbers WHERE id = 0`);
  });
  await standing;

  // The first waits for the row that is being written, and all others for the first.
  const first = committer.submit(0);
  await waitFor("the flush to wait", () => batches.length === 2);
  const taken = count(50).map((index) => committer.submit(index + 1));
  const refused = await Promise.allSettled(count(30).map((index) => committer.submit(index + 100)));
  for (const outcome of refused) expect(outcome).toMatchObject({ reason: expect.any(OverloadedError) });
  expect(batches).toHaveLength(2);

  release();
  await Promise.all([blocker, first, ...taken]);
  expect(await ids()).toEqual([-1, ...count(51)]);
  expect(batches).toEqual([1, 1, 20, 20, 10]);
  await committer.submit(200);
  expect((await ids()).at(-1)).toBe(200);
});
