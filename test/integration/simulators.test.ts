import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { sql } from "drizzle-orm";
import { z } from "zod";
import { findStock, setStock } from "../../db/stock.ts";
import { mysqlInventory } from "../../src/providers/inventory.ts";
import { newSecret } from "../../src/events/webhooks/signature.ts";
import { fault as faultSchema } from "../../tools/simulators/fault.ts";
import { reserveStock } from "../support/stock.ts";
import { behind } from "../../tools/simulators/inventory.ts";
import { startProviders } from "../../tools/simulators/providers.ts";
import { createOldLedger, OLD_ENTRIES } from "../support/old-ledger.ts";
import { TestClient } from "../support/client.ts";
import { startCommand } from "../support/command.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { createOrder } from "../support/orders.ts";
import { start, startApi, startWorker, untilLogged, type TestProcess } from "../support/processes.ts";

let environment: TestEnvironment;
let folder: string;
const started: TestProcess[] = [];
beforeEach(async () => {
  environment = await createTestEnvironment();
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor-simulators-"));
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((each) => each.stop()));
  await environment.close();
  rmSync(folder, { recursive: true });
});

const ledger = () => path.join(folder, "books/ledger.jsonl");
const ready = z.object({ payments: z.string(), carrier: z.string(), inventory: z.string() });

/** The process of `npm run simulators`, and requests to it. */
async function startSimulators() {
  const child = start("tools/simulators/main.ts", {
    databaseUrl: environment.databaseUrl,
    env: {
      PAYMENTS_PORT: "0",
      CARRIER_PORT: "0",
      INVENTORY_PORT: "0",
      EASYPOST_PORT: "0",
      PROVIDER_LATENCY_MS: "0",
      PROVIDERS_LEDGER: ledger(),
    },
  });
  started.push(child);
  const urls = ready.parse(await untilLogged(child, "simulators ready"));
  const post = async (url: string, key: string, body: object): Promise<[number, unknown]> => {
    const headers = { "webhook-id": key };
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
    const text = await response.text();
    return [response.status, text === "" ? undefined : JSON.parse(text)];
  };
  return {
    child,
    urls,
    charge: (key: string, given: object = {}) =>
      post(urls.payments, key, { operation: "charge", ...CHARGE, ...given }),
    refund: (key: string, chargeKey: string, orderId = "o1") =>
      post(urls.payments, key, { operation: "refund", orderId, chargeKey }),
    label: (key: string, orderId = "o1") => post(urls.carrier, key, { operation: "create-label", orderId }),
    voidLabel: (key: string, labelKey: string, orderId = "o1") =>
      post(urls.carrier, key, { operation: "void-label", orderId, labelKey }),
    track: async (trackingNumber: string) =>
      (await post(urls.carrier, "o1:deliver", { operation: "track", orderId: "o1", trackingNumber }))[0],
    entries: async () => {
      const body: unknown = await (await fetch(`${urls.payments}/ledger`)).json();
      return z.object({ entries: z.array(z.unknown()) }).parse(body).entries;
    },
  };
}

const CHARGE = { orderId: "o1", amount: 2500, currency: "EUR", token: "tok_approved" };

async function kill({ child }: { readonly child: TestProcess }): Promise<void> {
  child.process.kill("SIGKILL");
  await child.process.exited;
}

describe("the books of the simulated providers", () => {
  test("survive SIGKILL: everything answered is answered the same again, and can be undone", async () => {
    const first = await startSimulators();
    const charged = await first.charge("o1:pay");
    const labelled = await first.label("o1:ship");
    await first.charge("o2:pay", { orderId: "o2", token: "tok_declined" });
    await first.charge("o3:pay", { orderId: "o3", token: "tok_stumbles_1" });
    await first.refund("o4:pay:undo", "o4:pay", "o4");
    const entries = await first.entries();
    await kill(first);

    const second = await startSimulators();
    expect(await second.entries()).toEqual(entries);
    expect(await second.charge("o1:pay")).toEqual(charged);
    expect(await second.label("o1:ship")).toEqual(labelled);
    expect((await second.charge("o2:pay", { orderId: "o2" }))[1]).toHaveProperty("reject");
    expect((await second.charge("o3:pay", { orderId: "o3", token: "tok_stumbles_1" }))[0]).toBe(200);
    expect((await second.charge("o4:pay", { orderId: "o4" }))[0]).toBe(410);
    expect(await second.refund("o1:pay:undo", "o1:pay")).toEqual([200, { done: { refundId: "re_1" } }]);
    expect((await second.voidLabel("o1:ship:undo", "o1:ship"))[0]).toBe(200);
    // New ids are none that were given before.
    expect(await second.charge("o5:pay", { orderId: "o5" })).toEqual([200, { done: { chargeId: "ch_3" } }]);
  });

  test("leave out what was being written when the process died, and go on after it", async () => {
    const first = await startSimulators();
    await first.charge("o1:pay");
    await kill(first);
    const whole = readFileSync(ledger(), "utf8");
    writeFileSync(ledger(), `${whole}{"key":"o2:p`);

    const second = await startSimulators();
    await second.charge("o3:pay", { orderId: "o3" });
    await kill(second);
    expect(readFileSync(ledger(), "utf8").startsWith(`${whole}{"key":"o3:pay"`)).toBe(true);
    expect(await (await startSimulators()).entries()).toHaveLength(2);
  });

  test("are refused when they are damaged, with the line", async () => {
    await kill(await startSimulators());
    writeFileSync(ledger(), '{"key":"o1:pay"}\n');
    const child = start("tools/simulators/main.ts", { ...environment, env: { PROVIDERS_LEDGER: ledger() } });
    expect((await child.process.exited).code).toBe(1);
    expect(child.lines).toEqual([`${ledger()} has no entry of the providers' books in line 1`]);
  });
});

describe("the books that earlier versions kept in MySQL", () => {
  const tables = async () => {
    const [rows] = await environment.database.query((queries) =>
      queries.execute(sql`SHOW TABLES LIKE 'provider%'`),
    );
    return Array.isArray(rows) ? rows.length : undefined;
  };
  const isMoved = async (simulators: Awaited<ReturnType<typeof startSimulators>>) => {
    const { paid, declined, refunded, voided, called } = OLD_ENTRIES;
    expect(await simulators.charge(`${paid}:pay`, { orderId: paid })).toEqual([
      200,
      { done: { chargeId: "ch_old" } },
    ]);
    expect(await simulators.label(`${paid}:ship`, paid)).toEqual([
      200,
      { done: { trackingNumber: "CVOLD-1" } },
    ]);
    expect(await simulators.track("CVOLD-1")).toBe(200);
    expect(await simulators.refund(`${paid}:pay:undo`, `${paid}:pay`, paid)).toEqual([
      200,
      { done: { refundId: "re_2" } },
    ]);
    expect((await simulators.voidLabel(`${paid}:ship:undo`, `${paid}:ship`, paid))[0]).toBe(200);
    expect(await simulators.track("CVOLD-1")).toBe(422);
    expect((await simulators.charge(`${declined}:pay`, { orderId: declined }))[1]).toHaveProperty("reject");
    // What was refunded or voided stays so, under the same key and under no other.
    expect(await simulators.refund(`${refunded}:pay:undo`, `${refunded}:pay`, refunded)).toEqual([
      200,
      { done: { refundId: "re_old" } },
    ]);
    expect((await simulators.refund("another", `${refunded}:pay`, refunded))[0]).toBe(409);
    expect((await simulators.label(`${voided}:ship`, voided))[0]).toBe(410);
    expect((await simulators.charge(`${called}:pay`, { orderId: called }))[0]).toBe(410);
  };

  test("are taken over once, and their tables dropped", async () => {
    await createOldLedger(environment.database);
    const simulators = await startSimulators();
    await isMoved(simulators);
    expect(await tables()).toBe(0);
    await kill(simulators);
    const again = await startSimulators();
    expect(
      (await again.refund(`${OLD_ENTRIES.paid}:pay:undo`, `${OLD_ENTRIES.paid}:pay`, OLD_ENTRIES.paid))[0],
    ).toBe(200);
  });

  test("are taken over by the next start when one was cut short, before or after it had copied them", async () => {
    await createOldLedger(environment.database);
    await environment.database.transaction((queries) =>
      queries.execute(sql`RENAME TABLE provider_ledger TO provider_ledger_taken`),
    );
    const first = await startSimulators();
    const entries = await first.entries();
    await kill(first);
    await createOldLedger(environment.database);
    const second = await startSimulators();
    expect(await second.entries()).toEqual(entries);
    await isMoved(second);
    expect(await tables()).toBe(0);
  });
});

test("orders that an earlier version had charged and labelled are delivered, or refunded and voided", async () => {
  const { database } = environment;
  await createOldLedger(database);
  const { paid, shipped } = OLD_ENTRIES;
  await setStock(database, [{ sku: "MUG-BLUE", onHand: 10 }]);
  // Whoever charged it died before it could write that down.
  await createOrder(database, { id: paid });
  await createOrder(database, { id: shipped });
  await database.transaction((queries) =>
    queries.execute(sql`UPDATE orders SET status = 'PAID' WHERE id = ${shipped}`),
  );
  const migration = start("tools/cli/migrate.ts", environment);
  expect((await migration.process.exited).code).toBe(0);
  expect(migration.lines[0]).toMatch(/^provider_ledger has the books of .*npm run simulators/);

  const simulators = await startSimulators();
  const { payments, carrier, inventory } = simulators.urls;
  const providers = { paymentsUrl: payments, carrierUrl: carrier, inventoryUrl: inventory };
  const api = await startApi({ ...environment, providers });
  started.push(api);
  const client = new TestClient(api.url);
  expect((await client.post(`/orders/${shipped}/cancel`, { reason: "by mistake" })).status).toBe(202);
  started.push(await startWorker({ ...environment, providers }));

  await client.orderIn(paid, "DELIVERED");
  await client.orderIn(shipped, "CANCELLED");
  const entries = z.array(z.looseObject({ key: z.string() })).parse(await simulators.entries());
  const of = (id: string) => entries.filter(({ key }) => key.startsWith(id));
  expect(of(paid)).toMatchObject([
    { kind: "charge", providerId: "ch_old", amount: 2500 },
    { kind: "label", providerId: "CVOLD-1" },
  ]);
  expect(of(shipped)).toMatchObject([
    { kind: "charge", providerId: "ch_older" },
    { kind: "label", providerId: "CVOLD-3" },
    { kind: "label-void", outcome: "approved", reverses: `${shipped}:ship` },
    { kind: "refund", outcome: "approved", amount: 2500, reverses: `${shipped}:pay` },
  ]);
});

describe("npm run providers", () => {
  const providers = (...args: string[]) =>
    startCommand("tools/cli/providers.ts", args, {
      PAYMENTS_URL: environment.providers.paymentsUrl,
      CARRIER_URL: environment.providers.carrierUrl,
      INVENTORY_SIMULATOR_URL: environment.providers.inventoryUrl,
    }).ended;
  const told = (payments: string) => ({
    code: 0,
    stdout: `inventory up\npayments ${payments}\ncarrier up\n`,
  });

  test("switches a provider, and shows them all", async () => {
    expect(await providers("payments", "slow", "200")).toMatchObject(told("slow 200"));
    expect(await providers("payments", "down")).toMatchObject(told("down"));
    expect((await fetch(environment.providers.paymentsUrl)).status).toBe(503);
    expect(await providers("payments", "up")).toMatchObject(told("up"));
    expect((await fetch(environment.providers.paymentsUrl)).status).toBe(200);
  });

  test("tells how it is used, and switches nothing", async () => {
    const wrong = [
      ["payments"],
      ["mail", "down"],
      ["payments", "slow"],
      ["payments", "slow", "60001"],
      ["payments", "down", "200"],
    ];
    for (const { code, stderr } of await Promise.all(wrong.map((args) => providers(...args)))) {
      expect(code).not.toBe(0);
      expect(stderr).toContain("usage: npm run providers");
    }
    expect(await providers()).toMatchObject(told("up"));
  });

  test("says which provider does not answer", async () => {
    await environment.providers.close();
    expect(await providers("carrier", "down")).toMatchObject({
      code: 1,
      stderr: `no simulated carrier answers at ${environment.providers.carrierUrl}: start it with npm run simulators\n`,
    });
  });
});

test("a fault that is none is refused, and the last one stays", async () => {
  const url = `${environment.providers.paymentsUrl}/fault`;
  const set = (body: string) => fetch(url, { method: "PUT", body });
  expect((await set('{"kind":"down"}')).status).toBe(200);
  for (const wrong of ["down", '{"kind":"up"}', '{"kind":"slow"}', '{"kind":"errors","rate":2}'])
    expect((await set(wrong)).status).toBe(400);
  expect(faultSchema.parse(await (await fetch(url)).json())).toEqual({ kind: "down" });
});

describe("the inventory behind the simulators", () => {
  const order = {
    key: "order-1:reserve",
    orderId: "order-1",
    lines: [{ sku: "MUG-BLUE", quantity: 1, unitPrice: 100 }],
    signal: new AbortController().signal,
  };
  const reserved = async () => (await findStock(environment.database, ["MUG-BLUE"]))[0]?.reserved;

  test("is as it was, but fails when they say so, with nothing done", async () => {
    await setStock(environment.database, [{ sku: "MUG-BLUE", onHand: 10 }]);
    const { providers } = environment;
    const inventory = behind(mysqlInventory(environment.database), {
      INVENTORY_SIMULATOR_URL: providers.inventoryUrl,
    });
    providers.setFault("inventory", { kind: "down" });
    const failure = { name: "ServiceUnavailableError", service: "inventory" };
    await expect(inventory.move("reserve", order)).rejects.toMatchObject(failure);
    await expect(inventory.ping(order.signal)).rejects.toMatchObject(failure);
    expect(await reserved()).toBe(0);
    providers.setFault("inventory", { kind: "none" });
    await inventory.ping(order.signal);
    expect(await inventory.move("reserve", order)).toBe("at commit");
    await reserveStock(environment.database, [order]);
    expect(await reserved()).toBe(1);
    await inventory.release(order);
    expect(await reserved()).toBe(0);
  });

  test("signs what it asks them", async () => {
    const secret = newSecret();
    const providers = await startProviders({ secrets: [secret] });
    try {
      const signedWith = (SIGNING_SECRET: string) =>
        behind(mysqlInventory(environment.database), {
          INVENTORY_SIMULATOR_URL: providers.inventoryUrl,
          SIGNING_SECRET,
        });
      await setStock(environment.database, [{ sku: "MUG-BLUE", onHand: 10 }]);
      expect(await signedWith(secret).move("reserve", order)).toBe("at commit");
      await expect(signedWith("").move("reserve", order)).rejects.toThrow(
        "the signature is missing or wrong",
      );
    } finally {
      await providers.close();
    }
  });
});
