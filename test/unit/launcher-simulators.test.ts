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

test("who asks for our own protocol gets it", () => {
  expect(simulatorVariables(SIMULATORS, { PAYMENTS: "http" })).toEqual({
    PAYMENTS_URL: SIMULATORS.payments,
    CARRIER_URL: SIMULATORS.carrier,
  });
});

test.each([
  ["Stripe's own", { PAYMENTS: "stripe", STRIPE_SECRET_KEY: "sk_test_1" }],
  ["an address", { PAYMENTS_URL: "http://pay.example" }],
])("with %s, payments are not simulated", async (_what, environment) => {
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
  expect(Object.keys(chosen).toSorted()).toEqual(["carrier", "inventory"]);
});
