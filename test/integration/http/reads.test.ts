import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { ReadDatabase } from "../../../db/reads.ts";
import { listOrders } from "../../../db/orders.ts";
import { setStock } from "../../../db/stock.ts";
import { BASIC, BEARER } from "../../support/api.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { startMysqlProxy, type MysqlProxy } from "../../support/mysql-proxy.ts";
import { createOrder } from "../../support/orders.ts";
import { startApi, type TestProcess } from "../../support/processes.ts";

/** The server for reads lags so far behind that it has other orders altogether. */
let primary: TestEnvironment;
let lagging: TestEnvironment;
let proxy: MysqlProxy;
let api: TestProcess & { readonly url: string };
let fresh: string;
let old: string;
beforeAll(async () => {
  [primary, lagging] = await Promise.all([createTestEnvironment(), createTestEnvironment()]);
  proxy = await startMysqlProxy(lagging.databaseUrl);
  api = await startApi({ ...primary, env: { DATABASE_READ_URL: proxy.url } });
  fresh = await createOrder(primary.database);
  old = await createOrder(lagging.database);
  await setStock(primary.database, [{ sku: "FRESH", onHand: 1 }]);
  await setStock(lagging.database, [{ sku: "OLD", onHand: 1 }]);
});
afterAll(async () => {
  await api?.stop();
  await proxy?.close();
  await Promise.all([primary?.close(), lagging?.close()]);
});

const get = (path: string, headers: Record<string, string> = BEARER) => fetch(api.url + path, { headers });

async function listed(): Promise<unknown> {
  const response = await get("/orders");
  const body: unknown = await response.json();
  return { status: response.status, body };
}

test("lists and the console's pages come from the server for reads, and single orders from the other", async () => {
  expect(await listed()).toMatchObject({ status: 200, body: { items: [{ id: old }] } });
  const page = await (await get("/console/orders", BASIC)).text();
  expect(page).toContain(old);
  expect(page).not.toContain(fresh);
  expect(await (await get("/stock")).json()).toMatchObject({ items: [{ sku: "OLD" }] });

  expect((await get(`/orders/${fresh}`)).status).toBe(200);
  expect((await get(`/orders/${old}`)).status).toBe(404);
  expect((await get("/stock/FRESH")).status).toBe(200);
});

test("while the server for reads is away, the other one answers, and it is left alone for some seconds", async () => {
  proxy.cutFrom(1, "before");
  expect(await listed()).toMatchObject({ status: 200, body: { items: [{ id: fresh }] } });
  const asked = proxy.packets;
  expect(await listed()).toMatchObject({ status: 200, body: { items: [{ id: fresh }] } });
  expect(proxy.packets).toBe(asked);
});

test("a database for reads takes no transactions, and a table that it lacks is read from the other one", async () => {
  const empty = await createTestEnvironment({ migrated: false });
  const reads = new ReadDatabase({ url: empty.databaseUrl }, primary.database);
  try {
    await expect(reads.transaction()).rejects.toThrow("takes no transactions");
    expect(await listOrders(reads, {}, { limit: 10 })).toMatchObject({ items: [{ id: fresh }] });
  } finally {
    await reads.close();
    await empty.close();
  }
});
