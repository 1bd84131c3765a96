import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { migrateDatabase } from "../../db/migrate.ts";
import { createDatabase, Sql } from "../../tools/chaos/sql.ts";
import type { GaleraCluster } from "../../tools/launcher/servers/galera.ts";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { canHaveGalera, GALERA_START_MS, startTestGalera } from "../support/galera.ts";
import { WITHOUT_TROUBLE } from "../support/orders.ts";
import { startApi, startWorker, type TestProcess } from "../support/processes.ts";
import { startTestRedis, type TestServer } from "../support/servers.ts";
import { waitFor } from "../support/wait-for.ts";

jest.setTimeout(GALERA_START_MS);

const ORDERS = 600;
const PLACED_EVERY_MS = 40;

let cluster: GaleraCluster;
let redis: TestServer;
let providers: Providers;
let databaseUrl: string;
let processes: TestProcess[];
let client: TestClient;

const describeWithGalera = canHaveGalera ? describe : describe.skip;

describeWithGalera("on a Galera cluster behind a proxy with one writer", () => {
  beforeAll(async () => {
    [cluster, redis, providers] = await Promise.all([
      startTestGalera(),
      startTestRedis(),
      startProviders({ transitMs: 0, latencyMs: 10 }),
    ]);
    databaseUrl = await createDatabase(cluster.url, "shop");
    await migrateDatabase({ url: databaseUrl });
    const readUrl = Object.assign(new URL(cluster.readUrl), { pathname: "/shop" }).href;
    const options = {
      databaseUrl,
      redisUrl: redis.url,
      providers,
      // An attempt that is used up fails the order.
      env: {
        STAGE_ATTEMPTS: "1",
        SWEEP_INTERVAL_MS: "500",
        SWEEP_AFTER_MS: "2000",
        PROBE_INTERVAL_MS: "200",
      },
    };
    const [api, ...workers] = await Promise.all([
      startApi({ ...options, env: { ...options.env, DATABASE_READ_URL: readUrl } }),
      startWorker(options),
      startWorker(options),
    ]);
    processes = [api, ...workers];
    client = new TestClient(api.url);
    await client.put("/stock/MUG-BLUE", { onHand: 10 * ORDERS });
  });
  afterAll(async () => {
    await Promise.all(processes?.map((each) => each.stop()) ?? []);
    await Promise.all([cluster?.stop(), redis?.stop(), providers?.close()]);
  });

  test("no order is lost, done twice or costs an attempt when the writer dies, and when it comes back", async () => {
    const ids = new Set<string>();
    const placing = Array.from({ length: ORDERS }, async (_, index) => {
      await delay(index * PLACED_EVERY_MS);
      ids.add(await accepted(randomUUID()));
    });
    await waitFor("orders", () => ids.size > ORDERS / 4);
    cluster.nodes[0]!.kill("SIGKILL");
    const before = ids.size;
    await waitFor("orders after the death", () => ids.size > before + 20);
    await cluster.nodes[0]!.restart();
    await Promise.all(placing);
    expect(ids.size).toBe(ORDERS);

    const sql = new Sql(databaseUrl);
    try {
      const count = async (where: string) =>
        Number((await sql.rows(`SELECT COUNT(*) AS n FROM ${where}`))[0]?.["n"]);
      await waitFor(
        "all to be delivered",
        async () => (await count("orders WHERE status = 'DELIVERED'").catch(() => 0)) === ORDERS,
        { timeoutMs: 120_000 },
      );
      expect(await count("orders WHERE failed_at IS NOT NULL")).toBe(0);
      expect(await count("order_events WHERE type = 'status'")).toBe(5 * ORDERS);
      const types = (await sql.rows("SELECT DISTINCT type FROM order_events")).map(({ type }) =>
        String(type),
      );
      expect(types.filter((type) => !WITHOUT_TROUBLE.has(type))).toEqual([]);
      expect(await count("reservations")).toBe(ORDERS);
    } finally {
      sql.close();
    }
    for (const id of ids) {
      const entries = providers.entriesOf(id).map(({ kind, outcome }) => `${kind} ${outcome}`);
      expect(entries.toSorted()).toEqual(["charge approved", "label approved"]);
    }
    const { onHand, reserved } = (await client.get("/stock/MUG-BLUE")).body;
    expect({ onHand, reserved }).toEqual({ onHand: 10 * ORDERS - 2 * ORDERS, reserved: 0 });
  });
});

/** Places an order until it is accepted. @returns its id */
async function accepted(key: string): Promise<string> {
  return waitFor("the order to be accepted", async () => {
    const { status, body } = await client.post("/orders", PLAIN_ORDER, { "idempotency-key": key });
    if (status === 202) return body.id;
    expect(status).toBe(503);
    await delay(100);
    return undefined;
  });
}
