import { randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import type { RowDataPacket } from "mysql2";
import { createConnection, type Connection } from "mysql2/promise";
import { default as Stripe } from "stripe";
import { createOrders } from "../../../db/new-orders.ts";
import { openRefund } from "../../../db/refunds.ts";
import { payments } from "../../../db/schema.ts";
import { newShipment, openShipments } from "../../../db/shipments.ts";
import { setStock } from "../../../db/stock.ts";
import { openApiDocument } from "../../../src/api/openapi.ts";
import { WITHDRAWN } from "../../../src/engine/withdrawals.ts";
import { httpStage } from "../../../src/order/http-stage.ts";
import { Lifecycle } from "../../../src/order/lifecycle.ts";
import { Callbacks } from "../../../src/providers/http/callbacks.ts";
import { PLAIN_ORDER, TestClient, type Answer } from "../../support/client.ts";
import { WEBHOOK_SECRET } from "../../support/desk.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";
import { signatureOf } from "../../../tools/simulators/easypost/webhooks.ts";
import { startMysqlProxy, type MysqlProxy } from "../../support/mysql-proxy.ts";
import { newOrder } from "../../support/orders.ts";
import { startApi, type TestProcess } from "../../support/processes.ts";
import { easypostVariables, WEBHOOK_SECRET as CARRIER_SECRET } from "../../support/shipping.ts";
import { waitFor } from "../../support/wait-for.ts";

jest.setTimeout(180_000);

let environment: TestEnvironment;
let proxy: MysqlProxy;
let api: TestProcess & { readonly url: string };
let client: TestClient;
let outsider: Connection;
let folder: string;

/** A stage whose result may come later. Nobody runs it here. */
const CHECK = { name: "check", to: "CHECKED", url: "http://check.example" };

beforeAll(async () => {
  environment = await createTestEnvironment();
  proxy = await startMysqlProxy(environment.databaseUrl);
  outsider = await createConnection(environment.databaseUrl);
  folder = await mkdtemp(join(tmpdir(), "conveyor-unknown-"));
  const file = join(folder, "conveyor.config.json");
  await writeFile(file, JSON.stringify({ pipeline: [{ http: CHECK }, "reserve", "pay", "ship", "deliver"] }));
  const env = {
    // An order is withdrawn once its transaction can't be committed any more.
    DATABASE_TIMEOUT_MS: "5000",
    CONVEYOR_CONFIG: file,
    PAYMENTS: "stripe",
    STRIPE_SECRET_KEY: "sk_test_unknown",
    STRIPE_WEBHOOK_SECRET: WEBHOOK_SECRET,
    // Nobody speaks to it here.
    ...easypostVariables("http://127.0.0.1:9"),
  };
  api = await startApi({ databaseUrl: proxy.url, redisUrl: environment.redisUrl, env });
  client = new TestClient(api.url);
});
afterAll(async () => {
  await api.stop();
  await proxy.close();
  await outsider.end();
  await environment.close();
  await rm(folder, { recursive: true });
});

const NOTHING = expect.stringContaining("nothing was done");
const UNKNOWN = expect.stringContaining("not known whether");

/** What a process without Redis writes by itself, whatever it is asked: it sends webhooks, one process at a time. */
const BY_ITSELF = /^(leases|relay_positions|webhook_\w+)$/;

/** What a checksum of everything, or of all other tables, says: the same for the same rows. */
async function everything(but?: RegExp): Promise<string> {
  const [tables] = await outsider.query<RowDataPacket[]>("SHOW TABLES");
  const names = tables
    .map((row) => Object.values(row).join(""))
    .filter((name) => !but?.test(name))
    .map((name) => `\`${name}\``);
  const [sums] = await outsider.query<RowDataPacket[]>(`CHECKSUM TABLE ${names.join(", ")} EXTENDED`);
  return JSON.stringify(sums.map(({ Checksum }) => Checksum));
}

/** What every change that the API offers is done to. */
interface Things {
  readonly order: string;
  /** The shipments of an order that the warehouse is packing: the first is planned, the second is lost. */
  readonly shipments: string;
  readonly endpoint: string;
  readonly delivery: string;
  readonly sku: string;
  /** The order's payment at the provider. */
  readonly payment: string;
  /** Address for the result of the order's stage. */
  readonly callback: string;
  readonly key: Record<string, string>;
}

async function prepare(): Promise<Things> {
  const made = newOrder();
  await createOrders(environment.database, [made]);
  await environment.database.transaction((queries) =>
    queries.execute(sql`UPDATE orders SET failed_stage = 'check', failed_reason = 'no', failed_at = NOW(3)
      WHERE id = ${made.id}`),
  );
  await client.post(`/orders/${made.id}/holds`, { name: "review", reason: "a large order" });
  const payment = `pi_${made.id}`;
  await pay(made.id, payment);
  const callbacks = new Callbacks({
    database: environment.database,
    lifecycle: new Lifecycle([httpStage(CHECK)]),
    publicUrl: "http://api.example",
  });
  const callback = new URL((await callbacks.addressFor(made.id, CHECK.name)) ?? "").pathname;
  const endpoint = await client.post("/webhook-endpoints", { url: `https://shop.example/${made.id}` });
  const delivery = await client.post(`/webhook-endpoints/${endpoint.body.id}/test`, {});
  return {
    order: made.id,
    shipments: await pack(),
    endpoint: endpoint.body.id,
    delivery: delivery.body.id,
    sku: `SKU-${made.id}`,
    payment,
    callback,
    key: { "idempotency-key": randomUUID() },
  };
}

async function pack(): Promise<string> {
  const made = newOrder({ lines: [{ sku: "MUG-BLUE", quantity: 3, unitPrice: 1250 }] });
  await createOrders(environment.database, [made]);
  const at = new Date();
  const parcel = (number: number) => ({
    ...newShipment(
      {
        orderId: made.id,
        number,
        lines: [{ position: 0, sku: "MUG-BLUE", quantity: 1 }],
        carrier: "easypost",
      },
      at,
    ),
    carrierId: `shp_${made.id}_${number}`,
  });
  await environment.database.transaction((queries) =>
    queries.commit([{ sql: "UPDATE orders SET status = 'PAID' WHERE id = ?", values: [made.id] }]),
  );
  await openShipments(environment.database, [parcel(1), { ...parcel(2), state: "LOST" }]);
  return `/orders/${made.id}/shipments`;
}

/** What EasyPost sends when something happens to a parcel. */
function easypostSays({ shipments }: Things): Promise<Answer> {
  const orderId = shipments.split("/")[2] ?? "";
  const body = JSON.stringify({ result: { object: "Tracker", shipment_id: `shp_${orderId}_2` } });
  return client.post("/providers/carrier/webhook", body, {
    "x-hmac-signature": signatureOf(body, CARRIER_SECRET),
  });
}

/** The order is paid, and a part of that is about to be paid back. */
async function pay(orderId: string, providerId: string): Promise<void> {
  const at = new Date();
  const money = { amount: 2_500, captured: 2_500, currency: "EUR", spentKeys: 0 };
  await environment.database.transaction((queries) =>
    queries.commit([
      queries.insert(payments).values({
        ...money,
        orderId,
        sequence: 1,
        state: "CAPTURED",
        provider: "stripe",
        providerId,
        createdAt: at,
        updatedAt: at,
      }),
    ]),
  );
  await openRefund(environment.database, {
    orderId,
    sequence: 1,
    cause: "requested",
    reason: "arrived late",
    lines: null,
    restock: "no",
    actor: null,
    amount: 100,
  });
}

/** What Stripe sends when something happens to a payment. */
function stripeSays({ order, payment }: Things): Promise<Answer> {
  const object = { id: payment, object: "payment_intent", metadata: { order_id: order } };
  const payload = JSON.stringify({
    id: "evt_1",
    object: "event",
    type: "payment_intent.succeeded",
    data: { object },
  });
  const signature = Stripe.webhooks.generateTestHeaderString({ payload, secret: WEBHOOK_SECRET });
  return client.post("/providers/payments/webhook", payload, { "stripe-signature": signature });
}

const CHANGES: Record<string, (things: Things) => Promise<Answer>> = {
  "POST /orders": ({ key }) => client.post("/orders", PLAIN_ORDER, key),
  "POST /orders/resume": () => client.post("/orders/resume", {}),
  "POST /orders/{id}/cancel": ({ order }) =>
    client.post(`/orders/${order}/cancel`, { reason: "changed my mind" }),
  "PATCH /orders/{id}": ({ order }) =>
    client.request("PATCH", `/orders/${order}`, { note: "ring twice", metadata: { cart: "7" } }),
  "POST /orders/{id}/holds": ({ order }) =>
    client.post(`/orders/${order}/holds`, { name: "address", reason: "no such street" }),
  "DELETE /orders/{id}/holds/{name}": ({ order }) =>
    client.request("DELETE", `/orders/${order}/holds/review`),
  "POST /orders/{id}/wake": ({ order }) => client.post(`/orders/${order}/wake`, {}),
  "POST /orders/{id}/refunds": ({ order, key }) =>
    client.post(`/orders/${order}/refunds`, { amount: 500, reason: "a scratch" }, key),
  "POST /orders/{id}/shipments": ({ shipments }) => client.post(shipments, {}),
  "POST /orders/{id}/shipments/{number}/book": ({ shipments }) => client.post(`${shipments}/1/book`, {}),
  "POST /orders/{id}/shipments/{number}/void": ({ shipments }) => client.post(`${shipments}/1/void`, {}),
  "POST /orders/{id}/shipments/{number}/close": ({ shipments }) =>
    client.post(`${shipments}/2/close`, { reason: "refunded" }),
  "POST /providers/carrier/webhook": easypostSays,
  "POST /operations/{token}": ({ callback }) => client.post(callback, { done: { score: 7 } }),
  "POST /providers/payments/webhook": stripeSays,
  "POST /stock": ({ sku }) => client.post("/stock", { items: [{ sku, onHand: 3 }] }),
  "PUT /stock/{sku}": ({ sku }) => client.put(`/stock/${sku}`, { onHand: 4 }),
  "POST /stock/{sku}/adjustments": ({ sku, key }) =>
    client.post(`/stock/${sku}/adjustments`, { delta: 3, reason: "delivery" }, key),
  "POST /webhook-endpoints": ({ order, key }) =>
    client.post("/webhook-endpoints", { url: `https://new.example/${order}` }, key),
  "PATCH /webhook-endpoints/{id}": ({ endpoint, order }) =>
    client.request("PATCH", `/webhook-endpoints/${endpoint}`, {
      url: `https://other.example/${order}`,
      enabled: false,
    }),
  "DELETE /webhook-endpoints/{id}": ({ endpoint }) =>
    client.request("DELETE", `/webhook-endpoints/${endpoint}`),
  "POST /webhook-endpoints/{id}/rotate-secret": ({ endpoint, key }) =>
    client.post(`/webhook-endpoints/${endpoint}/rotate-secret`, {}, key),
  "POST /webhook-endpoints/{id}/test": ({ endpoint }) =>
    client.post(`/webhook-endpoints/${endpoint}/test`, {}),
  "POST /webhook-deliveries/{id}/resend": ({ delivery }) =>
    client.post(`/webhook-deliveries/${delivery}/resend`, {}),
};

test("every change that the API offers is looked at here", () => {
  const operations = Object.entries(openApiDocument("").paths).flatMap(([path, methods]) =>
    Object.keys(methods)
      .filter((method) => method !== "get")
      .map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(Object.keys(CHANGES).toSorted()).toEqual(operations.toSorted());
});

/** How a connection is cut at a packet. What is tried again meets a MySQL that is back, or one that stays away. */
const CUTS: readonly ((packet: number) => void)[] = [
  (packet) => proxy.cutAt(packet, "before"),
  (packet) => proxy.cutAt(packet, "after"),
  (packet) => proxy.cutFrom(packet, "after"),
];

describe("a change whose connection to MySQL is cut, wherever that is", () => {
  test.each(Object.entries(CHANGES))(
    "%s says that nothing was done only when that is so",
    async (name, change) => {
      const outcomes = new Set<unknown>();
      for (const cutAt of CUTS) {
        let isWhole = false;
        for (let packet = 1; !isWhole; packet++) {
          const things = await prepare();
          const before = await everything();
          cutAt(packet);
          const { status, body } = await change(things);
          isWhole = proxy.packets < packet;
          proxy.cutAt(0, "before");
          if (status === 503) {
            expect(body.detail).toEqual(expect.stringMatching(/nothing was done|not known whether/));
            outcomes.add(body.detail);
            if (body.detail?.includes("nothing was done")) expect(await everything()).toBe(before);
          } else expect(status).toBeLessThan(300);
        }
      }
      // An order is tried again over another connection, and sent together with its COMMIT.
      const expected = name === "POST /orders" ? [UNKNOWN] : [NOTHING, UNKNOWN];
      expect(outcomes.size).toBe(expected.length);
      expect([...outcomes]).toEqual(expect.arrayContaining(expected));
    },
  );
});

test("a repeated request that has its order carried on says that nothing was done only when that is so", async () => {
  // The process would pay them back.
  await outsider.query("DELETE FROM refunds");
  const sync = await startApi({
    databaseUrl: proxy.url,
    providers: environment.providers,
    // Nothing goes on by itself.
    env: {
      PROCESSING: "sync",
      PROBE_INTERVAL_MS: "60000",
      SWEEP_AFTER_MS: "86400000",
    },
  });
  try {
    await setStock(
      environment.database,
      PLAIN_ORDER.lines.map(({ sku }) => ({ sku, onHand: 10_000 })),
    );
    const outcomes = new Set<unknown>();
    let isWhole = false;
    for (let packet = 1; !isWhole; packet++) {
      const key = { "idempotency-key": randomUUID() };
      expect(await client.post("/orders", PLAIN_ORDER, key)).toMatchObject({ status: 202 });
      const before = await everything(BY_ITSELF);
      proxy.cutFrom(packet, "before");
      const { status, body } = await new TestClient(sync.url).post("/orders", PLAIN_ORDER, key);
      isWhole = proxy.packets < packet;
      proxy.cutAt(0, "before");
      if (status === 503) {
        outcomes.add(body.detail);
        if ((await everything(BY_ITSELF)) !== before) expect(body.detail).toEqual(UNKNOWN);
      } else expect(status).toBeLessThan(300);
    }
    expect([...outcomes]).toEqual([NOTHING, UNKNOWN]);
  } finally {
    await sync.stop();
  }
});

describe("an order whose COMMIT got no answer", () => {
  /** Loses the answer to COMMIT, again and again. */
  async function lose(key?: Record<string, string>) {
    const before = await environment.database.query((queries) => queries.$count(sql`orders`));
    proxy.losesCommits = true;
    const answer = await client.post("/orders", PLAIN_ORDER, key);
    proxy.losesCommits = false;
    expect(answer).toMatchObject({ status: 503, body: { detail: UNKNOWN } });
    // The server may still be at it: nobody has heard how its COMMIT ended.
    await waitFor(
      "the order to be written",
      async () => (await environment.database.query((queries) => queries.$count(sql`orders`))) === before + 1,
    );
    const [newest] = (await client.get("/orders?limit=1")).body.items;
    return client.orderIn(newest?.id ?? "", "CREATED");
  }

  test("is withdrawn when its client sent no key", async () => {
    const { id } = await lose();
    const found = await waitFor("it to be withdrawn", async () => {
      const { body } = await client.get(`/orders/${id}`);
      return body.cancellation && body;
    });
    expect(found.cancellation?.reason).toBe(WITHDRAWN);
  });

  test("stays when its client sent a key, and is the answer when the request is repeated", async () => {
    const key = { "idempotency-key": randomUUID() };
    const { id } = await lose(key);
    const again = await client.post("/orders", PLAIN_ORDER, key);
    expect(again).toMatchObject({ status: 202, body: { id } });
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    // One without a key that is lost later is withdrawn after all that was lost before.
    const later = await lose();
    await waitFor("the later one to be withdrawn", async () => {
      const { body } = await client.get(`/orders/${later.id}`);
      return body.cancellation !== undefined;
    });
    expect((await client.get(`/orders/${id}`)).body).not.toHaveProperty("cancellation");
  });
});
