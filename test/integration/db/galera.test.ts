import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { createConnection, type RowDataPacket } from "mysql2/promise";
import { Database } from "../../../db/database.ts";
import { DatabaseError } from "../../../db/errors.ts";
import { EventLog } from "../../../db/event-log.ts";
import { migrateDatabase } from "../../../db/migrate.ts";
import { createOrders } from "../../../db/new-orders.ts";
import { findOrders } from "../../../db/orders.ts";
import { orderStore } from "../../../db/order-store.ts";
import { findStock, setStock } from "../../../db/stock.ts";
import { hasSeveralWriters } from "../../../db/writers.ts";
import { checkDatabase } from "../../../src/composition/check-database.ts";
import { BatchingStore } from "../../../src/engine/batching-store.ts";
import { grouped } from "../../../src/platform/group-commit.ts";
import {
  isDatabaseAway,
  isDatabaseUnavailable,
  isUnknownOutcome,
} from "../../../src/platform/storage-error.ts";
import { createDatabase } from "../../../tools/chaos/sql.ts";
import type { GaleraCluster } from "../../../tools/launcher/servers/galera.ts";
import { canHaveGalera, GALERA_START_MS, startTestGalera } from "../../support/galera.ts";
import { newOrder } from "../../support/orders.ts";
import { untilStopped } from "../../support/stopped.ts";
import { waitFor } from "../../support/wait-for.ts";

jest.setTimeout(GALERA_START_MS);

const ATTACK_MS = 8_000;

let cluster: GaleraCluster;
/** One for each node. */
let databases: Database[];
let address: (server: string) => string;

const describeWithGalera = canHaveGalera ? describe : describe.skip;

describeWithGalera("a cluster of three Galera nodes", () => {
  beforeAll(async () => {
    cluster = await startTestGalera();
    const url = await createDatabase(cluster.url, "shop");
    address = (server) => Object.assign(new URL(server), { pathname: new URL(url).pathname }).href;
    await migrateDatabase({ url });
    databases = cluster.nodes.map((node) => new Database({ url: address(node.url) }));
    const [database] = databases;
    await run(database!, sql`CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL)`);
    await run(database!, sql`CREATE TABLE first_notes (id varchar(40) PRIMARY KEY)`);
    await run(database!, sql`CREATE TABLE second_notes (id varchar(40) PRIMARY KEY)`);
    await run(database!, sql`INSERT INTO counters VALUES (1, 0), (2, 0), (3, 0)`);
  });
  afterAll(async () => {
    await Promise.all(databases?.map((database) => database.close()) ?? []);
    await cluster?.stop();
  });

  test("has whatever was said to be committed, whole, and nothing of what was not, while nodes abort each other's", async () => {
    const committed = new Set<string>();
    const failures: unknown[] = [];
    const any = () => 1 + Math.floor(Math.random() * 3);
    await attack(async (database, id) => {
      const wrong = Math.random() < 0.05;
      try {
        await database.transaction(async (transaction) => {
          await transaction.execute(sql`SELECT value FROM counters WHERE id = ${any()} FOR UPDATE`);
          await transaction.commit([
            { sql: "INSERT INTO first_notes VALUES (?)", values: [id] },
            { sql: "UPDATE counters SET value = value + 1 WHERE id = ?", values: [any()], mustAffect: 1 },
            { sql: "INSERT INTO second_notes VALUES (?)", values: [id] },
            // What has to fail fails as elsewhere.
            {
              sql: "UPDATE counters SET value = value + 0 WHERE id = 1",
              values: [],
              mustAffect: wrong ? 2 : 1,
            },
          ]);
        });
        committed.add(id);
        expect(wrong).toBe(false);
      } catch (error) {
        if (!isDatabaseUnavailable(error) && !wrong) failures.push(error);
      }
    });
    const [database] = databases;
    const there = async (table: string) =>
      (await rows(database!, `SELECT id FROM ${table} ORDER BY id`)).map(({ id }) => id);
    expect(failures).toEqual([]);
    expect(committed.size).toBeGreaterThan(100);
    expect(await there("first_notes")).toEqual([...committed].toSorted());
    expect(await there("second_notes")).toEqual([...committed].toSorted());
    const [sum] = await rows(database!, "SELECT SUM(value) AS value FROM counters");
    expect(Number(sum?.["value"])).toBe(committed.size);
  });

  test("moves each order once, with its event and its stock, when all nodes move the same", async () => {
    const [first] = databases;
    await setStock(first!, [{ sku: "MUG", onHand: 1_000 }]);
    const made = new Map<string, number>();
    const stores = databases.map(
      (database) => new BatchingStore({ store: orderStore(database), commit: grouped }),
    );
    const orders = Array.from({ length: 200 }, () =>
      newOrder({ lines: [{ sku: "MUG", quantity: 1, unitPrice: 5 }] }),
    );
    for (let from = 0; from < orders.length; from += 50)
      await createOrders(first!, orders.slice(from, from + 50));
    const move = async (store: BatchingStore, order: (typeof orders)[number]): Promise<void> => {
      const { id, lines } = order;
      const change = { from: "CREATED", to: "RESERVED", stage: "reserve", reason: null, record: null };
      const stock = { operation: "reserve", lines } as const;
      try {
        const result = await store.applyTransition({
          ...change,
          orderId: id,
          stock,
          unlessCancelled: false,
          at: new Date(),
        });
        if (result.made) made.set(id, (made.get(id) ?? 0) + 1);
      } catch (error) {
        // As a job does that finds the database busy.
        if (!isDatabaseUnavailable(error)) throw error;
        await delay(20);
        await move(store, order);
      }
    };
    await Promise.all(stores.flatMap((store) => orders.map((order) => move(store, order))));

    expect(made.size).toBe(orders.length);
    expect([...made.values()].filter((times) => times > 1)).toEqual([]);
    expect(await findStock(first!, ["MUG"])).toMatchObject([{ onHand: 1_000, reserved: orders.length }]);
    const [held] = await rows(first!, "SELECT COUNT(*) AS n FROM reservations");
    expect(Number(held?.["n"])).toBe(orders.length);
    const [events] = await rows(
      first!,
      "SELECT COUNT(*) AS n FROM order_events WHERE to_status = 'RESERVED'",
    );
    expect(Number(events?.["n"])).toBe(orders.length);
  });

  test("has what one node accepted on the next one that is asked, which applies it first", async () => {
    const [first] = databases;
    const second = cluster.nodes[1]!;
    const admin = await createConnection(second.url);
    // It receives what others commit, and applies nothing.
    await admin.query("FLUSH TABLES WITH READ LOCK");
    const lagging = new Database({ url: address(second.url), mayLag: true });
    try {
      const order = newOrder();
      await createOrders(first!, [order]);
      const found = findOrders(databases[1]!, [order.id]);
      expect(await findOrders(lagging, [order.id])).toEqual([undefined]);
      await admin.query("UNLOCK TABLES");
      expect(await found).toMatchObject([{ id: order.id }]);
    } finally {
      admin.destroy();
      await lagging.close();
    }
  });

  test("tells every event at once, though ids step, once their steps have been seen for the grace period", async () => {
    const database = new Database({ url: address(cluster.url) });
    try {
      expect(await rows(database, "SELECT @@auto_increment_increment AS step")).toEqual([{ step: 3 }]);
      const log = new EventLog(database, { graceMs: 1_000 });
      let after = await log.newest();
      const isToldAtOnce = async (): Promise<boolean> => {
        const order = newOrder();
        await createOrders(database, [order]);
        const events = await log.read({ after, limit: 1_000 });
        after = events.at(-1)?.id ?? after;
        return events.some(({ orderId }) => orderId === order.id);
      };
      await waitFor("the steps to be believed", isToldAtOnce);
      for (let times = 0; times < 20; times++) expect(await isToldAtOnce()).toBe(true);
    } finally {
      await database.close();
    }
  });

  test("is refused at the start where connections lead to several of its nodes, and not behind one writer", async () => {
    const [writer, several] = [cluster.url, cluster.readUrl].map(
      (url) => new Database({ url: address(url) }),
    );
    try {
      expect(await hasSeveralWriters(writer!)).toBe(false);
      await expect(checkDatabase(several!, { PIPELINE_SET_BY: "start" })).rejects.toThrow(
        "DATABASE_URL leads to several servers that take writes",
      );
    } finally {
      await Promise.all([writer?.close(), several?.close()]);
    }
  });

  test("commits nothing later that was given up, when a node that stood still wakes up", async () => {
    const [node] = cluster.nodes;
    const database = new Database({ url: address(node!.url), timeoutMs: 1_000 });
    const other = databases[1]!;
    const there = async (table: string) =>
      (await rows(other, `SELECT id FROM ${table} WHERE id = 'frozen'`)).length;
    try {
      await expect(
        database.transaction(async (transaction) => {
          await transaction.execute(sql`INSERT INTO first_notes VALUES ('frozen')`);
          node!.kill("SIGSTOP");
          await untilStopped(node!.pid);
          await transaction.commit([]);
        }),
      ).rejects.toMatchObject({ code: "TIMEOUT", isUnknown: true });
      node!.kill("SIGCONT");
      // What it had received it carries out, or refuses, before it takes what comes now.
      await waitFor("the node to work again", async () => {
        const added = database.transaction((transaction) =>
          transaction.commit([{ sql: "INSERT INTO second_notes VALUES ('frozen')", values: [] }]),
        );
        return added.then(
          () => true,
          () => false,
        );
      });
      expect(await there("second_notes")).toBe(1);
      expect(await there("first_notes")).toBe(0);
    } finally {
      node!.kill("SIGCONT");
      await database.close();
    }
  });

  test("loses nothing that was committed when its writer dies, and writes go on through the proxy", async () => {
    const database = new Database({ url: address(cluster.url), timeoutMs: 5_000 });
    const committed: string[] = [];
    let last = performance.now();
    let longest = 0;
    const stopped = new AbortController();
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let turn = 0; !stopped.signal.aborted; turn++) {
        const id = `kill ${writer}-${turn}`;
        try {
          await database.transaction((transaction) =>
            transaction.commit([{ sql: "INSERT INTO first_notes VALUES (?)", values: [id] }]),
          );
          committed.push(id);
          longest = Math.max(longest, performance.now() - last);
          last = performance.now();
        } catch (error) {
          expect(isDatabaseUnavailable(error) || isUnknownOutcome(error)).toBe(true);
          await delay(50);
        }
      }
    });
    await waitFor("writes", () => committed.length > 100);
    cluster.nodes[0]!.kill("SIGKILL");
    const before = committed.length;
    await waitFor("writes after the death", () => committed.length > before + 100);
    stopped.abort();
    await Promise.all(writers);
    await database.close();
    const there = new Set((await rows(databases[1]!, "SELECT id FROM first_notes")).map(({ id }) => id));
    expect(committed.filter((id) => !there.has(id))).toEqual([]);
    process.stderr.write(`a Galera writer died: ${(longest / 1_000).toFixed(1)} s without a write\n`);
    await cluster.nodes[0]!.restart();
  });

  test("is away where a node is left alone", async () => {
    cluster.nodes[0]!.kill("SIGKILL");
    cluster.nodes[1]!.kill("SIGKILL");
    const database = databases[2]!;
    const failure = async (): Promise<unknown> => {
      try {
        await database.transaction((transaction) =>
          transaction.commit([{ sql: "INSERT INTO first_notes VALUES (UUID())", values: [] }]),
        );
        return undefined;
      } catch (error) {
        return error;
      }
    };
    const refused = await waitFor("the node to refuse", async () => {
      const error = await failure();
      return error instanceof DatabaseError && error.errno === 1047 ? error : undefined;
    });
    expect(isDatabaseAway(refused)).toBe(true);
    expect(refused).toMatchObject({ how: "MySQL takes no writes", isUnknown: false, endsConnection: true });
  });
});

/** Has two writers on each node work against each other for a while. */
async function attack(work: (database: Database, id: string) => Promise<void>): Promise<void> {
  const until = performance.now() + ATTACK_MS;
  await Promise.all(
    [...databases, ...databases].map(async (database, writer) => {
      for (let turn = 0; performance.now() < until; turn++) await work(database, `${writer}-${turn}`);
    }),
  );
}

async function run(database: Database, statement: ReturnType<typeof sql>): Promise<void> {
  await database.query((queries) => queries.execute(statement));
}

async function rows(database: Database, query: string): Promise<Record<string, unknown>[]> {
  const [found] = await database.query((queries) => queries.$client.query<RowDataPacket[]>(query));
  return found;
}
