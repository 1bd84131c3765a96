import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { createConnection, type Connection } from "mysql2/promise";
import { EventLog } from "../../../db/event-log.ts";
import { applyTransitions } from "../../../db/transitions.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { nextEventId } from "../../support/event-ids.ts";
import { createOrder } from "../../support/orders.ts";
import { waitFor } from "../../support/wait-for.ts";

const GRACE_MS = 5_000;

let environment: TestEnvironment;
let connections: Connection[];
let clock: number;
let log: EventLog;
beforeEach(async () => {
  environment = await createTestEnvironment();
  connections = [];
  clock = 0;
  log = new EventLog(environment.database, { graceMs: GRACE_MS, now: () => clock });
});
afterEach(async () => {
  for (const connection of connections) connection.destroy();
  await environment.close();
});

async function session(isolation = "READ COMMITTED", { databaseUrl } = environment): Promise<Connection> {
  const connection = await createConnection(databaseUrl);
  connections.push(connection);
  await connection.query(`SET SESSION TRANSACTION ISOLATION LEVEL ${isolation}`);
  await connection.query("START TRANSACTION");
  return connection;
}

/** Inserts so many events in one statement, in the session's transaction. @returns the id of the first. */
async function insert(connection: Connection, count = 1): Promise<number> {
  const row = "(UUID(), NULL, 'CREATED', NOW(3))";
  const [result] = await connection.query(
    `INSERT INTO order_events (order_id, from_status, to_status, at) VALUES ${Array(count).fill(row).join(", ")}`,
  );
  return "insertId" in result ? result.insertId : NaN;
}

const idsAfter = async (after: number, reader = log) =>
  (await reader.read({ after, limit: 1_000 })).map(({ id }) => id);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe("a reader that goes on after the last id", () => {
  test("gets what is committed, in order, and nothing twice", async () => {
    const orders = [await createOrder(environment.database), await createOrder(environment.database)];
    const first = await log.read({ after: 0, limit: 1 });
    expect(first).toMatchObject([{ orderId: orders[0], type: "status", from: null, to: "CREATED" }]);
    expect(await log.read({ after: first[0]?.id ?? 0, limit: 10 })).toMatchObject([{ orderId: orders[1] }]);
  });

  test("waits for an open transaction to commit", async () => {
    const [slow, fast] = [await session(), await session()];
    const before = await insert(fast, 3);
    await fast.commit();
    const open = await insert(slow, 2);
    const after = await insert(fast, 4);
    await fast.commit();
    expect(after).toBe(open + 2);
    clock += 10 * GRACE_MS;
    expect(await idsAfter(0)).toEqual(range(before, before + 2));
    clock += 10 * GRACE_MS;
    expect(await idsAfter(0)).toEqual(range(before, before + 2));
    await slow.commit();
    expect(await idsAfter(0)).toEqual(range(before, after + 3));
  });

  test("waits for no lock, and blocks no writer", async () => {
    const [slow, fast] = [await session(), await session()];
    const open = await insert(slow);
    await insert(fast);
    await fast.commit();
    // All of it while the slow one is open: a wait for its locks would end in an error.
    expect(await idsAfter(open - 1)).toEqual([]);
    await insert(fast);
    await fast.commit();
    await slow.rollback();
  });

  test("skips what was rolled back once it can't come any more, all gaps at once", async () => {
    const [lost, kept] = [await session(), await session()];
    const kepts: number[] = [];
    for (let times = 0; times < 5; times++) {
      await insert(lost);
      kepts.push(await insert(kept));
    }
    await kept.commit();
    await lost.rollback();
    expect(await idsAfter(0)).toEqual([]);
    clock += GRACE_MS - 1;
    expect(await idsAfter(0)).toEqual([]);
    clock += 1;
    expect(await idsAfter(0)).toEqual(kepts);
  });

  test("gets every event when another reader says up to where all is settled", async () => {
    const [lost, open, kept] = [await session(), await session(), await session()];
    await insert(lost);
    const opened = await insert(open);
    const last = await insert(kept);
    await kept.commit();
    await lost.rollback();
    expect(await log.read({ after: 0, limit: 10, settled: last })).toEqual([]);
    await open.commit();
    expect(await log.read({ after: 0, limit: 10, settled: last })).toMatchObject([
      { id: opened },
      { id: last },
    ]);
  });

  /**
   * Id 1 is taken by an INSERT that stands still before it has written anything, and id 2 is committed meanwhile. The gap
   * locks that this takes are those of sessions with another isolation level than the service's.
   */
  async function takenAndNotWritten() {
    const [holder, keeper, late] = [
      await session("REPEATABLE READ"),
      await session("REPEATABLE READ"),
      await session(),
    ];
    await holder.query("SET innodb_lock_wait_timeout = 50");
    await late.query("SET innodb_lock_wait_timeout = 50");
    // MySQL would walk, and lock, the other index, which has the ids too.
    await holder.query("SELECT id FROM order_events FORCE INDEX (PRIMARY) WHERE id > 0 FOR UPDATE");
    const written = insert(late);
    await waitFor("the INSERT to take its id", async () => (await nextEventId(environment.database)) === 2);
    const seen = await insert(holder);
    await keeper.query("SELECT id FROM order_events WHERE id = 1 FOR UPDATE");
    await holder.commit();
    return {
      seen,
      async write() {
        await keeper.rollback();
        const id = await written;
        await late.commit();
        return id;
      },
    };
  }

  test("does not miss an id that is assigned but not written yet", async () => {
    const taken = await takenAndNotWritten();
    expect(taken.seen).toBe(2);
    expect(await idsAfter(0)).toEqual([]);
    clock += GRACE_MS - 1;
    expect(await idsAfter(0)).toEqual([]);
    expect(await taken.write()).toBe(1);
    expect(await idsAfter(0)).toEqual([1, 2]);
  });

  test("would miss it without the grace period", async () => {
    const taken = await takenAndNotWritten();
    const hasty = new EventLog(environment.database, { graceMs: 0, now: () => clock++ });
    await idsAfter(0, hasty);
    expect(await idsAfter(0, hasty)).toEqual([2]);
    await taken.write();
  });

  test("gets every event of many writers, of whom some are slow and some roll back", async () => {
    const reader = new EventLog(environment.database, { graceMs: 300 });
    const [read, committed]: [number[], number[]] = [[], []];
    let writing = true;
    const write = async (index: number) => {
      for (let times = 0; times < 15; times++) {
        const writer = await session();
        const ids: number[] = [];
        for (let statements = 0; statements <= index % 3; statements++) {
          const first = await insert(writer, 1 + ((index + times) % 7));
          ids.push(...range(first, first + ((index + times) % 7)));
        }
        if ((index + times) % 4 === 0) await writer.rollback();
        else {
          await writer.commit();
          committed.push(...ids);
        }
        writer.destroy();
      }
    };
    const writers = Promise.all(Array.from({ length: 8 }, (_, index) => write(index))).finally(
      () => (writing = false),
    );
    let rounds = 0;
    await waitFor("the reader to have read all", async () => {
      read.push(...(await reader.read({ after: read.at(-1) ?? 0, limit: 50 })).map(({ id }) => id));
      rounds++;
      return !writing && read.length >= committed.length;
    });
    await writers;
    expect(read).toEqual(committed.toSorted((one, other) => one - other));
    expect(rounds).toBeGreaterThan(10);
  });
});

describe.each([3, 7])("where ids step by %d, as in a cluster", (step) => {
  let stepping: TestEnvironment;
  beforeAll(async () => {
    stepping = await createTestEnvironment({ ownMysql: true });
    const admin = await createConnection(stepping.databaseUrl);
    await admin.query(`SET GLOBAL auto_increment_increment = ${step}, GLOBAL auto_increment_offset = 2`);
    admin.destroy();
  });
  beforeEach(() => {
    log = new EventLog(stepping.database, { graceMs: GRACE_MS, now: () => clock });
  });
  afterAll(() => stepping.close());

  /** Lets the log see how ids are assigned, for as long as it takes to believe it. @returns the last id. */
  async function believed(writer: Connection): Promise<number> {
    const before = await log.newest();
    const first = await insert(writer);
    const last = await insert(writer);
    await writer.commit();
    expect(last).toBe(first + step);
    // At first it waits, as for any id.
    expect(await idsAfter(before)).toEqual([]);
    clock += GRACE_MS;
    expect(await idsAfter(before)).toEqual([first, last]);
    return last;
  }

  test("an event is told at once, and an open transaction is waited for", async () => {
    const [slow, fast] = [
      await session("READ COMMITTED", stepping),
      await session("READ COMMITTED", stepping),
    ];
    let last = await believed(fast);
    for (let times = 0; times < 3; times++) {
      const ids = [await insert(fast, 2), await insert(fast)];
      await fast.commit();
      expect(await idsAfter(last)).toEqual([ids[0], ids[0]! + step, ids[1]]);
      last = ids[1]!;
    }
    const open = await insert(slow);
    const after = await insert(fast);
    await fast.commit();
    expect(await idsAfter(last)).toEqual([]);
    await slow.commit();
    expect(await idsAfter(last)).toEqual([open, after]);
  });

  test("an id that was rolled back, or is not written yet, is waited for as elsewhere", async () => {
    const [lost, kept] = [
      await session("READ COMMITTED", stepping),
      await session("READ COMMITTED", stepping),
    ];
    const last = await believed(kept);
    await insert(lost);
    await lost.rollback();
    const id = await insert(kept);
    await kept.commit();
    expect(await idsAfter(last)).toEqual([]);
    clock += GRACE_MS;
    expect(await idsAfter(last)).toEqual([id]);
  });

  test("steps are not believed while somebody writes other ids", async () => {
    const [writer, stranger] = [
      await session("READ COMMITTED", stepping),
      await session("READ COMMITTED", stepping),
    ];
    const last = await believed(writer);
    await stranger.query("SET SESSION auto_increment_increment = 1, SESSION auto_increment_offset = 1");
    const strange = await insert(stranger, 2);
    await stranger.commit();
    // The first of its ids could be anybody's. It might have taken those before, too.
    expect((strange + 1 - last) % step).not.toBe(0);
    expect(await idsAfter(last)).toEqual([]);
    clock += GRACE_MS;
    expect(await idsAfter(last)).toEqual([strange, strange + 1]);
  });
});

describe("a page", () => {
  test("has only the transitions to a status, and says where to continue, however far apart they are", async () => {
    const writer = await session();
    await insert(writer, 2_500);
    await writer.commit();
    const id = await createOrder(environment.database);
    await applyTransitions(environment.database, [
      {
        orderId: id,
        from: "CREATED",
        to: "RESERVED",
        stage: "reserve",
        reason: null,
        record: null,
        unlessCancelled: false,
        at: new Date(),
      },
    ]);
    const found: string[] = [];
    let page = await log.page({ after: 0, status: "RESERVED", limit: 1 });
    for (let pages = 1; ; pages++) {
      found.push(...page.events.map(({ orderId }) => orderId));
      if (!page.more) {
        expect(pages).toBe(3);
        break;
      }
      page = await log.page({ after: page.next, status: "RESERVED", limit: 1 });
    }
    expect(found).toEqual([id]);
    expect(await log.page({ after: page.next, status: "RESERVED", limit: 1 })).toEqual({
      events: [],
      next: page.next,
      more: false,
    });
  });

  test("stops at its limit", async () => {
    const writer = await session();
    const first = await insert(writer, 10);
    await writer.commit();
    const page = await log.page({ after: 0, status: "CREATED", limit: 4 });
    expect(page.events.map(({ id }) => id)).toEqual(range(first, first + 3));
    expect(page).toMatchObject({ next: first + 3, more: true });
    const rest = await log.page({ after: page.next, status: "CREATED", limit: 6 });
    expect(rest.events.map(({ id }) => id)).toEqual(range(first + 4, first + 9));
    expect(rest).toMatchObject({ next: first + 9, more: false });
  });
});

test("the end is the last event that is settled", async () => {
  expect(await log.end()).toBe(0);
  const [open, writer] = [await session(), await session()];
  const first = await insert(writer, 3);
  await writer.commit();
  expect(await log.end()).toBe(first + 2);
  const held = await insert(open);
  await insert(writer);
  await writer.commit();
  expect(await log.end()).toBe(first + 2);
  await open.commit();
  expect(await log.end()).toBe(held + 1);
});
