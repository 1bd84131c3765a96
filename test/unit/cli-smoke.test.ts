import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startProviders, type Providers } from "../../tools/simulators/providers.ts";
import { startCommand } from "../support/command.ts";

let providers: Providers;
beforeAll(async () => {
  providers = await startProviders({ transitMs: 0 });
});
afterAll(() => providers.close());

const smoke = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  startCommand("tools/cli/smoke.ts", args, env).ended;
const stripe = (env: Readonly<Record<string, string>> = {}) =>
  smoke(["stripe"], { STRIPE_API_URL: providers.paymentsUrl, ...env });

test("Stripe is tried with a test key, a line for each step", async () => {
  const { code, stdout, stderr } = await stripe({ STRIPE_SECRET_KEY: "sk_test_smoke" });
  expect([code, stderr]).toEqual([0, ""]);
  expect(stdout.split("\n").map((line) => line.replace(/ \((pi|re)_\w+\)/, ""))).toEqual([
    "ok  a card is authorized: authorized",
    "ok  it is found: authorized",
    "ok  600 of 1,000 are captured: captured",
    "ok  once, under the same key: captured",
    "ok  200 are refunded: succeeded",
    "ok  the refund is found: succeeded",
    "ok  nobody disputes it",
    "ok  a card is declined: declined",
    "ok  it is found: declined",
    "ok  a customer has to confirm: pending",
    "ok  the payment is cancelled: cancelled",
    "ok  another card is authorized: authorized",
    "ok  and released: cancelled",
    "all is well. Webhooks need an endpoint at Stripe: see docs/providers.md",
    "",
  ]);
  expect(providers.books.charges).toMatchObject([{ amount: 600 }]);
});

test.each<[string, Record<string, string>, RegExp]>([
  ["without a key", {}, /STRIPE_SECRET_KEY.*sk_test_/],
  ["with a key for real money", { STRIPE_SECRET_KEY: "sk_live_1" }, /nothing is tried with real money/],
  [
    "that does not answer",
    { STRIPE_SECRET_KEY: "sk_test_1", STRIPE_API_URL: "http://127.0.0.1:1" },
    /^a card is authorized: payments could not be reached/,
  ],
])("Stripe %s is told in one line", async (_what, env, line) => {
  const { code, stdout, stderr } = await stripe(env);
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr.trim()).toMatch(line);
  expect(stderr.trim().split("\n")).toHaveLength(1);
});

test("a provider that is unknown is answered with the usage", async () => {
  expect(await smoke(["adyen"])).toEqual({ code: 1, stdout: "", stderr: "usage: npm run smoke -- stripe\n" });
});
