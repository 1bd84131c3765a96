import { expect, test } from "@jest/globals";
import { chooseSimulators, simulatorSettings, simulatorVariables } from "../../tools/launcher/simulators.ts";
import type { StateFile } from "../../tools/launcher/state.ts";

const SIMULATORS = { payments: "http://127.0.0.1:4101", carrier: "http://127.0.0.1:4102" };

test("payments go to the simulated Stripe, whose webhooks come back with the same secret", () => {
  const { STRIPE_WEBHOOK_SECRET, ...variables } = simulatorVariables(SIMULATORS, {});
  expect(variables).toEqual({
    PAYMENTS: "stripe",
    PAYMENTS_URL: SIMULATORS.payments,
    STRIPE_API_URL: SIMULATORS.payments,
    STRIPE_SECRET_KEY: expect.stringMatching(/^sk_test_\w+$/),
    CARRIER_URL: SIMULATORS.carrier,
  });
  expect(simulatorSettings(SIMULATORS, "http://127.0.0.1:3000/shop")).toMatchObject({
    PAYMENTS_PORT: "4101",
    STRIPE_WEBHOOK_URL: "http://127.0.0.1:3000/shop/providers/payments/webhook",
    STRIPE_WEBHOOK_SECRET,
  });
});

test("parcels go to the simulated EasyPost where it is asked for, and its webhooks come back", () => {
  const simulators = { ...SIMULATORS, easypost: "http://127.0.0.1:4104" };
  const { EASYPOST_WEBHOOK_SECRET, SHIP_FROM, ...variables } = simulatorVariables(simulators, {});
  expect(variables).toMatchObject({
    CARRIER: "easypost",
    EASYPOST_API_URL: "http://127.0.0.1:4104/v2",
    EASYPOST_API_KEY: expect.stringMatching(/^EZTK\w+$/),
    TRACKING_INTERVAL: "10s",
  });
  expect(JSON.parse(SHIP_FROM ?? "")).toMatchObject({ country: "US" });
  expect(simulatorSettings(simulators, "http://127.0.0.1:3000")).toMatchObject({
    EASYPOST_PORT: "4104",
    EASYPOST_WEBHOOK_URL: "http://127.0.0.1:3000/providers/carrier/webhook",
    EASYPOST_WEBHOOK_SECRET,
  });
  const own = { SHIP_FROM: '{"name":"Shop"}', TRACKING_INTERVAL: "4h" };
  expect(simulatorVariables(simulators, own)).toMatchObject(own);
});

test("who asks for our own protocol gets it", () => {
  expect(simulatorVariables(SIMULATORS, { PAYMENTS: "http" })).toEqual({
    PAYMENTS_URL: SIMULATORS.payments,
    CARRIER_URL: SIMULATORS.carrier,
  });
});

async function chosenWith(environment: NodeJS.ProcessEnv): Promise<string[]> {
  const remembered: Record<string, number> = {};
  const state = {
    state: remembered,
    update: (change: (state: Record<string, number>) => unknown) => void change(remembered),
  };
  const chosen = await chooseSimulators(
    { variables: {}, providers: {} },
    environment,
    // oxlint-disable-next-line no-unsafe-type-assertion -- all that is used of it
    state as unknown as StateFile,
  );
  return Object.keys(chosen).toSorted();
}

test.each([
  ["Stripe's own", { PAYMENTS: "stripe", STRIPE_SECRET_KEY: "sk_test_1" }],
  ["an address", { PAYMENTS_URL: "http://pay.example" }],
])("with %s, payments are not simulated", async (_what, environment) => {
  expect(await chosenWith(environment)).toEqual(["carrier", "inventory"]);
});

test.each([
  ["no key", { CARRIER: "easypost" }, ["carrier", "easypost", "inventory", "payments"]],
  ["a key", { CARRIER: "easypost", EASYPOST_API_KEY: "EZTK1" }, ["inventory", "payments"]],
  ["a file with a key", { CARRIER: "easypost", EASYPOST_API_KEY_FILE: "/key" }, ["inventory", "payments"]],
])("EasyPost as the carrier, and %s", async (_what, environment, simulated) => {
  expect(await chosenWith(environment)).toEqual(simulated);
});
