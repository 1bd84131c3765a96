import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { setProviderState, type Provider } from "../../../db/provider-states.ts";
import { setStock } from "../../../db/stock.ts";
import { mysqlInventory } from "../../../src/providers/inventory.ts";
import { simulatedPayments } from "../../../src/providers/payments.ts";
import { Simulation } from "../../../src/providers/simulation.ts";
import { startCommand } from "../../support/command.ts";
import { createTestEnvironment, type TestEnvironment } from "../../support/environment.ts";

/** Far longer than what MySQL takes, far shorter than what a test may take. */
const SLOW_MS = 1_500;

let environment: TestEnvironment;
beforeEach(async () => {
  environment = await createTestEnvironment();
  await setStock(environment.database, [{ sku: "MUG-BLUE", onHand: 10 }]);
});
afterEach(() => environment.close());

async function tookMs(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

const order = {
  orderId: "order-1",
  lines: [{ sku: "MUG-BLUE", quantity: 1, unitPrice: 100 }],
  signal: new AbortController().signal,
};
const charge = (signal = AbortSignal.timeout(60_000)) => ({
  key: "order-1:pay",
  orderId: "order-1",
  amount: 100,
  currency: "EUR",
  token: null,
  signal,
});

describe("a provider that is slow", () => {
  test.each<Provider>(["inventory", "payments"])("answers late: %s", async (provider) => {
    await setProviderState(environment.database, provider, { slowMs: SLOW_MS });
    const simulation = new Simulation(environment.database, 0);
    const inventory = mysqlInventory(environment.database, simulation);
    const payments = simulatedPayments(environment.database, simulation);
    const reserving = await tookMs(() => inventory.move("reserve", order));
    const charging = await tookMs(() => payments.charge(charge()));
    const [slow, other] = provider === "inventory" ? [reserving, charging] : [charging, reserving];
    // Timers may be a moment early.
    expect(slow).toBeGreaterThan(SLOW_MS - 5);
    expect(other).toBeLessThan(SLOW_MS);
  });

  test("is waited for no longer than an attempt may take", async () => {
    await setProviderState(environment.database, "payments", { slowMs: 60_000 });
    const payments = simulatedPayments(environment.database, new Simulation(environment.database, 0));
    await expect(payments.charge(charge(AbortSignal.timeout(10)))).rejects.toThrow("aborted");
  });

  test("is as fast as ever when it is switched back", async () => {
    await setProviderState(environment.database, "payments", { slowMs: 60_000 });
    await setProviderState(environment.database, "payments", "up");
    const payments = simulatedPayments(environment.database, new Simulation(environment.database, 0));
    expect(await tookMs(() => payments.charge(charge()))).toBeLessThan(SLOW_MS);
  });
});

test("the stock takes what MySQL takes, whatever the other providers are configured to take", async () => {
  const inventory = mysqlInventory(environment.database, new Simulation(environment.database, 60_000));
  expect(await tookMs(() => inventory.move("reserve", order))).toBeLessThan(SLOW_MS);
});

describe("npm run providers", () => {
  const providers = (...args: string[]) =>
    startCommand("tools/cli/providers.ts", args, { DATABASE_URL: environment.databaseUrl }).ended;

  test("switches a provider, and shows them all", async () => {
    expect(await providers("payments", "slow", "200")).toMatchObject({
      code: 0,
      stdout: "inventory up\npayments slow 200\ncarrier up\n",
    });
    expect(await providers("payments", "down")).toMatchObject({
      code: 0,
      stdout: "inventory up\npayments down\ncarrier up\n",
    });
    expect(await providers("payments", "up")).toMatchObject({
      code: 0,
      stdout: "inventory up\npayments up\ncarrier up\n",
    });
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
    expect((await providers()).stdout).toBe("inventory up\npayments up\ncarrier up\n");
  });
});
