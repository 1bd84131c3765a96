import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { migrateDatabase } from "../../db/migrate.ts";
import { Sql } from "../../tools/chaos/sql.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { WITHOUT_TROUBLE } from "../support/orders.ts";
import { startApi, startWorker, type TestProcess } from "../support/processes.ts";
import { commitBefore, unpackVersion, type VersionBefore } from "../support/version-before.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(300_000);

/** Milliseconds between two orders. */
const PACE_MS = 40;
/** Orders in each phase of the upgrade. */
const ORDERS = 60;
const STOCK = 1_000_000;
/** A parcel is on its way for so long that old and new workers look after the same ones. */
const TRANSIT_MS = 2_000;

const commit = commitBefore();
let before: VersionBefore;
let environment: TestEnvironment;
let sql: Sql;
const running = new Set<TestProcess>();

(commit === undefined ? describe.skip : describe)(`from ${commit}`, () => {
  beforeAll(async () => {
    before = unpackVersion(commit!);
    environment = await createTestEnvironment({ migrated: false });
    environment.providers.setTransit(TRANSIT_MS);
    before.migrate(environment.databaseUrl);
    sql = new Sql(environment.databaseUrl);
  });
  afterAll(async () => {
    await Promise.all([...running].map((each) => each.stop()));
    sql?.close();
    await environment?.close();
    before?.remove();
  });

  /** The options of a process: of this version, or of the one before. */
  const options = (folder?: string) => ({
    databaseUrl: environment.databaseUrl,
    redisUrl: environment.redisUrl,
    providers: environment.providers,
    // One attempt: none may fail. The stock is in this database.
    env: { STAGE_ATTEMPTS: "1", PROVIDERS_MODULE: "" },
    ...(folder !== undefined && { folder }),
  });
  const started = <T extends TestProcess>(process: T): T => {
    running.add(process);
    return process;
  };
  async function stop(process: TestProcess): Promise<void> {
    running.delete(process);
    expect(await process.stop()).toBe(0);
  }

  test("processes are replaced one by one under load: no request fails, and each order ends, once", async () => {
    const oldApi = started(await startApi(options(before.folder)));
    const oldWorkers = [
      started(await startWorker(options(before.folder))),
      started(await startWorker(options(before.folder))),
    ];
    /** Those that the load balancer knows; requests take turns. */
    let clients = [new TestClient(oldApi.url)];
    await clients[0]!.put("/stock/MUG-BLUE", { onHand: STOCK });
    const ids: string[] = [];
    const over = new AbortController();
    const load = (async () => {
      while (!over.signal.aborted) {
        const { id } = await clients[ids.length % clients.length]!.order(PLAIN_ORDER);
        ids.push(id);
        await sleep(PACE_MS);
      }
    })();
    const someOrders = () => {
      const sofar = ids.length;
      return Promise.race([waitFor("orders", () => ids.length > sofar + ORDERS), load]);
    };
    await someOrders();

    const applied = await migrateDatabase({ url: environment.databaseUrl });
    expect(applied).toBeGreaterThan(0);
    await someOrders();

    const api = started(await startApi(options()));
    clients = [new TestClient(oldApi.url), new TestClient(api.url)];
    await someOrders();
    const workers = [started(await startWorker(options()))];
    await someOrders();
    await stop(oldWorkers[0]!);
    workers.push(started(await startWorker(options())));
    await someOrders();
    clients = [new TestClient(api.url)];
    await stop(oldApi);
    await someOrders();
    await stop(oldWorkers[1]!);
    await someOrders();
    over.abort();
    await load;

    await waitFor(
      "all to be delivered",
      async () => (await countOf("orders WHERE status = 'DELIVERED'")) === ids.length,
    );
    expect(await countOf("orders")).toBe(ids.length);
    const types = await sql.rows("SELECT DISTINCT type FROM order_events");
    expect(types.map(({ type }) => String(type)).filter((type) => !WITHOUT_TROUBLE.has(type))).toEqual([]);
    expect(await countOf("order_events WHERE type = 'status'")).toBe(5 * ids.length);
    for (const kind of ["charge", "label"] as const) {
      const entries = environment.ledger.entries.filter((entry) => entry.kind === kind);
      expect(entries.map(({ orderId }) => orderId).toSorted()).toEqual(ids.toSorted());
    }
    const units = PLAIN_ORDER.lines[0].quantity;
    const { body } = await clients[0]!.get("/stock/MUG-BLUE");
    expect(body).toMatchObject({ onHand: STOCK - units * ids.length, reserved: 0 });
    // What old processes have left behind is no obstacle later.
    const [first] = ids;
    expect(await clients[0]!.get(`/orders/${first}`)).toMatchObject({ body: { status: "DELIVERED" } });
  });
});

async function countOf(where: string): Promise<number> {
  const [row] = await sql.rows(`SELECT COUNT(*) AS n FROM ${where}`);
  return Number(row?.["n"]);
}
